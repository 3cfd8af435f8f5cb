"""The page with one-time challenges."""

from __future__ import annotations

import json
import re
import sqlite3
from base64 import b64encode
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
import sqlalchemy as sa
from aiohttp import web
from argon2 import PasswordHasher

from policies.request import EndpointName
from server.config import Limits
from server.credentials import Authenticators
from server.http import create_app
from server.scep.pages import OtpPage, mount
from server.store.tables import credentials
from tests.server.scep.device import csr, enrollment, envelope, rsa_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.server.scep.lab import Lab

HERE = EndpointName.parse("scep/default")
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("open")


async def _ready() -> dict[str, str]:
    return {}


@pytest_asyncio.fixture
async def url(lab: Lab) -> AsyncIterator[str]:
    lab.credentials._endpoints = {HERE: Authenticators({"jamf": HASH}, None, frozenset(), stored=True)}
    app = create_app("https", Limits(), _ready, lambda: "request")
    page = OtpPage(HERE, timedelta(minutes=60), lab.store, lab.credentials, lab.issuer.chain, lambda: lab.now[0])
    mount(app, {"default": page})
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def get(
    url: str, user: str = "jamf", password: str = "open", authorization: str | None = None
) -> tuple[int, str]:
    basic = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    headers = {"Authorization": basic if authorization is None else authorization}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        body = await response.read()
        if response.status == 200:
            assert response.headers["Cache-Control"] == "no-store"
            return 200, body.decode("utf-16")
        if response.status == 401:
            assert "Basic" in response.headers["WWW-Authenticate"]
        return response.status, body.decode()


def challenge_in(page: str) -> str:
    """Find it as the programs do."""
    found = re.search(r"The enrollment challenge password is: <B> (\S+) </B>", page)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("path", ["/certsrv/mscep_admin", "/certsrv/mscep_admin/", "/scep/default/mscep_admin"])
async def test_a_challenge_of_the_page_is_good_once_for_an_hour(lab: Lab, url: str, path: str) -> None:
    status, page = await get(url + path)
    challenge = challenge_in(page)
    assert status == 200
    assert re.fullmatch(r"[0-9A-F]{32}", challenge), "Jamf takes 32 characters at most"
    assert "within 60 minutes" in page
    endpoint = lab.endpoint(challenge={"one_time": True})
    content = envelope(csr(rsa_key(), "device-1.test", challenge), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content), endpoint)).status == "0"
    content = envelope(csr(rsa_key(), "device-2.test", challenge), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content), endpoint)).status == "2"


async def test_each_visit_makes_another_challenge_and_an_old_one_expires(lab: Lab, url: str) -> None:
    first, second = [challenge_in((await get(f"{url}/certsrv/mscep_admin"))[1]) for _ in range(2)]
    assert first != second
    lab.pass_time(timedelta(minutes=61))
    content = envelope(csr(rsa_key(), "device-1.test", first), lab.ra_der)
    reply = await lab.ask(enrollment(lab.ra_der, content=content), lab.endpoint(challenge={"one_time": True}))
    assert reply.status == "2"


async def test_a_head_request_makes_no_challenge(lab: Lab, url: str) -> None:
    login = {"Authorization": "Basic " + b64encode(b"jamf:open").decode()}
    async with aiohttp.ClientSession() as session:
        for path in ("/certsrv/mscep_admin", "/certsrv/mscep_admin/", "/scep/default/mscep_admin"):
            async with session.head(url + path, headers=login) as response:
                assert response.status == 405
    assert not await lab.store.read(lambda connection: connection.execute(sa.select(credentials.c.id)).all())


@pytest.mark.parametrize("authorization", ["", "Bearer x", "Basic !", "Basic " + b64encode(b"nocolon").decode()])
async def test_who_does_not_log_in_gets_no_challenge(lab: Lab, url: str, authorization: str) -> None:
    assert (await get(f"{url}/certsrv/mscep_admin", authorization=authorization))[0] == 401


async def test_a_user_name_that_nobody_has_is_not_remembered(lab: Lab, url: str) -> None:
    for length, statuses in ((255, {401, 429}), (256, {401})):
        basic = "Basic " + b64encode(b"u" * length + b":x").decode()
        found = [(await get(f"{url}/certsrv/mscep_admin", authorization=basic))[0] for _ in range(12)]
        assert set(found) == statuses


async def test_a_wrong_password_gets_no_challenge_and_too_many_must_wait(lab: Lab, url: str) -> None:
    statuses = [(await get(f"{url}/certsrv/mscep_admin", password="guess"))[0] for _ in range(12)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert (await get(f"{url}/certsrv/mscep_admin", user="nobody"))[0] == 401


async def test_a_store_that_does_not_write_gives_no_challenge(lab: Lab, url: str) -> None:
    with closing(sqlite3.connect(lab.database)) as database, database:
        database.execute("ALTER TABLE audit_events RENAME TO elsewhere")
    assert (await get(f"{url}/certsrv/mscep_admin"))[0] in {500, 503}


def test_of_several_pages_none_is_the_default(lab: Lab) -> None:
    app = web.Application()
    page = OtpPage(HERE, timedelta(minutes=60), lab.store, lab.credentials, lab.issuer.chain, lambda: lab.now[0])
    mount(app, {"one": page, "two": page})
    assert not [route for route in app.router.routes() if "certsrv" in str(route.resource)]


EVENT: dict[str, Any] = {
    "webhook": {"webhookEvent": "SCEPChallenge", "id": 1, "eventTimestamp": 1757435578, "name": "Wi-Fi"},
    "event": {
        "scepServerUrl": "https://ca.example/scep",
        "payloadIdentifier": "CDB0BC64-F3EB-4B1A-AA5E-9A5D994CA593",
        "payloadTypes": ["com.apple.security.scep"],
    },
}


async def post(url: str, body: bytes, password: str = "open") -> tuple[int, str]:
    headers = {"Authorization": "Basic " + b64encode(f"jamf:{password}".encode()).decode()}
    where = f"{url}/scep/default/challenge"
    async with aiohttp.ClientSession() as session, session.post(where, data=body, headers=headers) as response:
        return response.status, await response.text()


async def test_jamfs_event_gets_a_challenge_and_nothing_else(lab: Lab, url: str) -> None:
    """Jamf Pro's webhook, in whose form Fleet asks too."""
    status, challenge = await post(url, json.dumps(EVENT).encode())
    assert (status, len(challenge)) == (200, 32)
    content = envelope(csr(rsa_key(), "mac-1.test", challenge), lab.ra_der)
    endpoint = lab.endpoint(challenge={"one_time": True})
    assert (await lab.ask(enrollment(lab.ra_der, content=content), endpoint)).status == "0"
    assert (await post(url, json.dumps(EVENT).encode(), "guess"))[0] == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 5000,
        json.dumps({**EVENT, "webhook": {"webhookEvent": "ComputerAdded"}}).encode(),
        json.dumps({**EVENT, "event": {"payloadTypes": ["com.apple.wifi.managed"]}}).encode(),
        json.dumps({**EVENT, "event": {"payloadTypes": 1}}).encode(),
    ],
)
async def test_other_events_get_none(url: str, body: bytes) -> None:
    assert (await post(url, body))[0] == 400


async def test_an_endless_event_is_not_read(url: str) -> None:
    assert (await post(url, b" " * 100_000))[0] == 413
