"""Validations through an HTTP proxy: tunnels to judged addresses, or names that the proxy looks up."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

import pytest

from server.acme.challenges.connector import Connector
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.http01 import Http01, http01
from server.acme.challenges.networks import Networks
from server.acme.challenges.proxy import Proxy
from server.acme.challenges.question import Question
from server.config import Http01 as Http01Config
from tests.fakes.http import raw_server
from tests.fakes.proxy import http_proxy

if TYPE_CHECKING:
    from server.acme.challenges.networks import Address

BOTH = Networks((ip_network("127.0.0.0/8"), ip_network("2001:db8::/32")))
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


class Addresses:
    """A resolver that knows one answer."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = tuple(map(ip_address, addresses))

    async def resolve(self, _name: str) -> tuple[Address, ...]:
        return self._addresses


async def test_an_address_that_swallows_every_packet_leaves_time_for_the_one_of_the_other_family() -> None:
    # A broken way for IPv6 is common, and nobody refuses the connection then. Here a tunnel is what never comes.
    asked = Question("www.test", "token", "token.thumbprint")
    async with raw_server({PATH: GOOD}) as server, http_proxy(server.port, silent="2001:db8::1") as proxy:
        way_out = Proxy("127.0.0.1", proxy.port)
        connector = Connector(Addresses("2001:db8::1", "127.0.0.1"), BOTH, way_out, patience=0.2)
        await Http01(connector, 80, 10.0).validate(asked)
        await proxy.given_up.wait()
    assert asked.trail[1:3] == ["2001:db8::1 port 80: no answer in time", "127.0.0.1 port 80: connected"]


async def test_the_last_address_has_all_the_time_that_is_left() -> None:
    asked = Question("www.test", "token", "token.thumbprint")
    async with http_proxy(1, silent="2001:db8::1") as proxy:
        connector = Connector(Addresses("2001:db8::1"), BOTH, Proxy("127.0.0.1", proxy.port), patience=0.01)
        with pytest.raises(ValidationFailed, match="did not answer in time"):
            await Http01(connector, 80, 0.2).validate(asked)
        await proxy.given_up.wait()
