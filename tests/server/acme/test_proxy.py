"""Validations through an HTTP proxy: tunnels to judged addresses, or names that the proxy looks up."""

from __future__ import annotations

import pytest

from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.http01 import Http01, http01
from server.acme.challenges.question import Question
from server.config import Http01 as Http01Config
from tests.fakes.http import raw_server
from tests.fakes.proxy import http_proxy

ASKED = Question("www.localhost", "token", "token.thumbprint")
PATH = "/.well-known/acme-challenge/token"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\ntoken.thumbprint"


def through(proxy: int, **settings: object) -> Http01:
    resolves = settings.pop("resolves_names", False)
    egress = {"url": f"http://127.0.0.1:{proxy}", "resolves_names": resolves}
    return http01(Http01Config.model_validate({"proxy": egress, "loopback_names": True, **settings}))


async def test_the_proxy_is_asked_for_a_tunnel_to_an_address_that_was_judged_here() -> None:
    async with raw_server({PATH: GOOD}) as server, http_proxy(server.port) as proxy:
        await through(proxy.port, networks=["127.0.0.0/8"], port=8888).validate(ASKED)
    assert proxy.asked == ["CONNECT 127.0.0.1:8888 HTTP/1.1"]
    assert b"\r\nHost: www.localhost:8888\r\n" in server.heads[0]


async def test_what_may_not_be_reached_is_not_asked_of_the_proxy() -> None:
    async with http_proxy(1) as proxy:
        with pytest.raises(ValidationFailed) as failed:
            await through(proxy.port, networks=["10.0.0.0/8"]).validate(ASKED)
    assert (failed.value.error, failed.value.final, proxy.asked) == ("unauthorized", True, [])


async def test_a_proxy_that_resolves_names_gets_them() -> None:
    async with raw_server({PATH: GOOD}) as server, http_proxy(server.port) as proxy:
        await through(proxy.port, resolves_names=True).validate(ASKED)
    assert proxy.asked == [f"GET http://www.localhost{PATH} HTTP/1.1"]
    assert b"\r\nHost: www.localhost\r\n" in server.heads[0]


async def test_an_address_is_judged_though_the_proxy_resolves_names() -> None:
    async with http_proxy(1) as proxy:
        with pytest.raises(ValidationFailed) as failed:
            await through(proxy.port, resolves_names=True).validate(Question("127.0.0.1", "token", "key"))
    assert (failed.value.error, proxy.asked) == ("unauthorized", [])


@pytest.mark.parametrize("refusal", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"nonsense\r\n\r\n", b"x", b"a" * 20000])
async def test_a_proxy_that_does_not_connect_is_a_failure_that_may_pass(refusal: bytes) -> None:
    async with http_proxy(1, refusal) as proxy:
        with pytest.raises(ValidationFailed) as failed:
            await through(proxy.port, networks=["127.0.0.0/8"]).validate(ASKED)
    assert (failed.value.error, failed.value.final) == ("connection", False)


@pytest.mark.parametrize("resolves", [True, False])
async def test_a_proxy_that_is_not_there_is_a_failure_that_may_pass(*, resolves: bool) -> None:
    validator = through(1, resolves_names=True) if resolves else through(1, networks=["127.0.0.0/8"])
    with pytest.raises(ValidationFailed) as failed:
        await validator.validate(ASKED)
    assert (failed.value.error, failed.value.final) == ("connection", False)
