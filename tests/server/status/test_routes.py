from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.config import Limits
from server.http import create_app
from server.status import routes
from server.status.shelf import Shelf
from tests.fakes.status import DAY, Lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from server.store import Store

Client = TestClient[web.Request, web.Application]


async def _first(look: Callable[[], bytes | None]) -> bytes:
    while True:
        found = look()
        if found is not None:
            return found
        await asyncio.sleep(0.01)


@pytest.fixture
async def lab(store: Store) -> Lab:
    return Lab.make(store)


@pytest.fixture
async def client(lab: Lab) -> AsyncIterator[Client]:
    async def ready() -> Mapping[str, str]:
        return {}

    app = create_app("http", Limits(), ready, lambda: "id")
    shelf = Shelf(lab.store, ["issuing"], pause=0.01)
    routes.mount(app, routes.Status(shelf, {"issuing": lambda: (lab.ca.certificate,)}, lambda: lab.now))
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_list_is_served_with_what_caches_need(lab: Lab, client: Client) -> None:
    await lab.publish()
    reply = await client.get("/crl/issuing.crl")
    assert (reply.status, reply.content_type) == (200, "application/pkix-crl")
    assert x509.load_der_x509_crl(await reply.read()) == await lab.crl()
    assert reply.headers["Cache-Control"] == "public, max-age=300, must-revalidate"
    for condition in ("ETag", "If-None-Match"), ("Last-Modified", "If-Modified-Since"):
        again = await client.get("/crl/issuing.crl", headers={condition[1]: reply.headers[condition[0]]})
        assert (again.status, await again.read()) == (304, b"")
    lab.now += 7 * DAY - timedelta(seconds=10)
    assert "max-age=10," in (await client.get("/crl/issuing.crl")).headers["Cache-Control"]


async def test_no_list_older_than_the_record_is_served(lab: Lab, client: Client) -> None:
    await lab.publish()
    first = await client.get("/crl/issuing.crl")
    await lab.publish(DAY)
    second = await client.get("/crl/issuing.crl", headers={"If-None-Match": first.headers["ETag"]})
    assert second.status == 200
    assert x509.load_der_x509_crl(await second.read()) == await lab.crl()


async def test_the_ca_certificate_is_at_its_address(lab: Lab, client: Client) -> None:
    reply = await client.get("/ca/issuing.cer")
    assert reply.content_type == "application/pkix-cert"
    assert x509.load_der_x509_certificate(await reply.read()) == lab.ca.certificate


@pytest.mark.parametrize(
    "path",
    [
        "/crl/issuing.crl",  # not made yet
        "/crl/other.crl",
        "/crl/issuing",
        "/crl/issuing/0.crl",
        "/crl/issuing/1.crl",
        "/crl/issuing/9999-delta.crl",
        "/crl/issuing/x.crl",
        "/crl/other/1.crl",
        "/crl/..%2fissuing.crl",
        "/ca/issuing.crl",
        "/ca/other.cer",
    ],
)
async def test_what_is_not_there_is_not_found(client: Client, path: str) -> None:
    assert (await client.get(path)).status == 404


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(name=st.text(st.characters(codec="utf-8", exclude_characters="?#"), min_size=1, max_size=20))
async def test_any_name_is_answered(client: Client, name: str) -> None:
    assert (await client.get("/crl/" + name)).status in {404, 400}


async def test_trouble_of_the_store_means_later(lab: Lab, client: Client) -> None:
    await lab.publish()
    await lab.store.close()
    reply = await client.get("/crl/issuing.crl")
    assert (reply.status, reply.headers["Retry-After"]) == (503, "5")


async def test_the_complete_list_is_at_hand_soon(lab: Lab) -> None:
    shelf = Shelf(lab.store, ["issuing"], pause=0.01)
    assert shelf.current_crl("issuing") is None
    await lab.publish()
    shelf.start()
    async with asyncio.timeout(5):
        found = await _first(lambda: shelf.current_crl("issuing"))
    await shelf.stop()
    assert x509.load_der_x509_crl(found) == await lab.crl()
