"""The application as a whole, in this process."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sqlite3
import ssl
from base64 import b64encode
from contextlib import closing
from datetime import timedelta
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from policies.document import DocumentErrors
from server.app import addresses
from server.app.addresses import bind_listeners
from server.app.application import Application, shared_ledger, take_up
from server.app.material import load_material
from server.app.status import StatusService
from server.clock import system_clock
from server.config import UnavailableNow, load_config
from server.store import StoreUnavailable
from tests.fakes.intune import FakeIntune
from tests.fakes.running import enrolled, running
from tests.server.scep.device import enrollment

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config


async def _get(port: int, path: str, root: Path | None = None) -> bytes:
    context = ssl.create_default_context(cafile=root) if root else None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost" if root else None
    )
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def test_each_protocol_answers_on_its_listener_and_on_no_other(config: Config, folder: Path) -> None:
    root = folder / "root.pem"
    async with running(config) as (_, ports):
        for path in ("/.well-known/est/cacerts", "/acme/directory", "/healthz"):
            assert b" 200 OK" in await _get(ports["https"], path, root)
        for path in ("/scep?operation=GetCACaps", "/readyz"):
            assert b" 200 OK" in await _get(ports["http"], path)
        assert b"/acme/new-nonce" in await _get(ports["https"], "/acme/directory", root)
        assert b" 404 " in await _get(ports["https"], "/scep?operation=GetCACaps", root)
        for path in ("/.well-known/est/cacerts", "/acme/directory"):
            assert b" 404 " in await _get(ports["http"], path)
            assert b" 404 " in await _get(ports["admin"], path)


async def test_a_clock_that_jumps_makes_no_nonce_good_or_bad(config: Config) -> None:
    """One that had gone back would make redeemed nonces good again, or refuse all new ones for hours."""
    now = [system_clock()]
    async with running(config, lambda: now[0]) as (application, _):
        nonces = application.services.nonces
        first, second = nonces.issue("acme/default"), nonces.issue("acme/default")
        assert nonces.redeem(first, "acme/default")
        for hours in (3, -6):
            now[0] += timedelta(hours=hours)
            assert not nonces.redeem(first, "acme/default")
            assert nonces.redeem(nonces.issue("acme/default"), "acme/default")
        assert nonces.redeem(second, "acme/default")


async def test_what_fails_while_it_stops_leaves_nothing_open_that_would_keep_the_process(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(StatusService, "stop", fails)
    sockets = {name: each[0] for name, each in bind_listeners(config).items()}
    application = await Application.build(config, load_material(config), sockets)
    await application.start()
    services = application.services
    with pytest.raises(OSError, match="no room"):
        await application.stop()
    for leftover in (services.store.read, services.store.write):
        with pytest.raises(StoreUnavailable, match="closed"):
            await leftover(lambda connection: connection.execute(sa.select(1)))


PROXIED = '  proxied: {port: 0, proxies: [127.0.0.1], headers: rfc9440, external_urls: ["https://pki.example"]}\n'


def with_scep_over_https(folder: Path, label: str = "default") -> Config:
    """Return the configuration with an endpoint that the listeners with TLS serve too."""
    file = folder / "server.yaml"
    text = file.read_text().replace("listeners:\n", f"listeners:\n{PROXIED}", 1)
    file.write_text(text.replace("  scep/default:\n", f"  scep/{label}:\n    https: true\n", 1))
    return load_config(file)


async def test_scep_is_served_over_https_too_where_its_endpoint_says_so(folder: Path) -> None:
    """Windows takes nothing else for certificates of users; messages that came are on record when the server stops."""
    config, root = with_scep_over_https(folder), folder / "root.pem"
    ra = x509.load_pem_x509_certificate((folder / "ra" / "ra.pem").read_bytes()).public_bytes(Encoding.DER)
    message = quote(b64encode(enrollment(ra).encode()), safe="")
    async with running(config) as (_, ports):
        for port, ca in ((ports["https"], root), (ports["proxied"], None), (ports["http"], None)):
            assert b"POSTPKIOperation" in await _get(port, "/scep/default/pkiclient.exe?operation=GetCACaps", ca)
        answer = await _get(ports["https"], f"/scep?operation=PKIOperation&message={message}", root)
        assert b"application/x-pki-message" in answer
        assert b" 404 " in await _get(ports["admin"], "/scep?operation=GetCACaps")
    with closing(sqlite3.connect(folder / "certwright.db")) as database, database:
        assert database.execute("SELECT transaction_id FROM scep_exchanges").fetchall() == [("transaction-1",)]


def with_intune(folder: Path, url: str) -> Config:
    """Return the configuration with Intune, at this origin, in place of the challenge."""
    file = folder / "server.yaml"
    (folder / "intune").write_text("s3cret")
    account = "tenant: tenant, client_id: client, client_secret: {file: intune}"
    text, replaced = re.subn(
        r"(?m)^    challenge:\n      static:.*$",
        f'    intune: {{{account}, login_url: "{url}", graph_url: "{url}"}}',
        file.read_text(),
    )
    assert replaced == 1
    file.write_text(text)
    return load_config(file)


async def test_no_connection_to_intune_is_left_when_the_server_has_stopped(folder: Path) -> None:
    fake = FakeIntune()
    intune = web.AppRunner(fake.app())
    await intune.setup()
    await web.TCPSite(intune, "127.0.0.1", 0).start()
    fake.url = f"http://127.0.0.1:{intune.addresses[0][1]}"
    config = with_intune(folder, fake.url)
    ra = x509.load_pem_x509_certificate((folder / "ra" / "ra.pem").read_bytes()).public_bytes(Encoding.DER)
    message = quote(b64encode(enrollment(ra).encode()), safe="")
    async with running(config) as (_, ports):
        await _get(ports["http"], f"/scep?operation=PKIOperation&message={message}")
        assert [action for action, _ in fake.asked] == ["validateRequest", "successNotification"]
        assert intune.server is not None
        assert intune.server.connections, "kept for the next request"
    for _ in range(500):
        if not intune.server.connections:
            break
        await asyncio.sleep(0.01)
    assert not intune.server.connections
    await intune.cleanup()


async def test_one_of_several_scep_endpoints_is_not_the_default_because_it_alone_has_https(folder: Path) -> None:
    file = folder / "server.yaml"
    (endpoint,) = re.findall(r"(?m)^  scep/default:\n(?:    .*\n)+", file.read_text())
    file.write_text(file.read_text().replace(endpoint, endpoint + endpoint.replace("/default", "/phones", 1)))
    config = with_scep_over_https(folder, "phones-first")
    async with running(config) as (_, ports):
        for path, status in (("/scep/phones-first", b" 200 "), ("/scep", b" 404 "), ("/scep/phones", b" 404 ")):
            assert status in await _get(ports["https"], f"{path}?operation=GetCACaps", folder / "root.pem")
        assert b" 200 " in await _get(ports["http"], "/scep/phones?operation=GetCACaps")


async def test_readiness_tells_details_to_the_admin_listener_alone(config: Config) -> None:
    async with running(config) as (application, ports):
        await application.services.store.read(lambda connection: None)
        told = json.loads((await _get(ports["admin"], "/readyz")).partition(b"\r\n\r\n")[2])
        assert told == {
            "ready": True,
            "parts": {"store": "ok", "policies": "ok", "secrets": "ok", "tls": "ok"},
            "configuration": str(application.services.config.file.resolve()),
        }
        assert (await _get(ports["http"], "/readyz")).endswith(b"\r\n\r\nok\n")


async def test_a_restart_keeps_what_was_issued(config: Config) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with running(config) as (application, _):
        first = await enrolled(application, key=key)
    async with running(config) as (application, _):
        again = await enrolled(application, key=key)
    assert first == again


@pytest.mark.parametrize(("left", "said"), [(2, ["took up what was left half-done"]), (0, [])])
async def test_what_was_left_half_done_is_taken_up_and_said(left: int, said: list[str]) -> None:
    async def recover() -> int:
        return left

    with capture_logs() as events:
        await take_up(recover)
    assert [event["event"] for event in events] == said


async def test_a_database_of_another_schema_says_what_to_run(folder: Path) -> None:
    (folder / "certwright.db").unlink()
    (folder / "certwright.db").touch()
    config = load_config(folder / "server.yaml")
    sockets = {name: each[0] for name, each in bind_listeners(config).items()}
    with pytest.raises(DocumentErrors, match="certwright db upgrade"):
        await Application.build(config, load_material(config), sockets)
    for sock in sockets.values():
        sock.close()


def test_addresses_that_can_not_be_had_are_told_at_once_with_the_way_out(folder: Path) -> None:
    path = folder / "server.yaml"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = path.read_text()
        http = text.index("  http: ")
        text = text[:http] + text[http:].replace("port: 0", f"port: {taken.getsockname()[1]}", 1)
        path.write_text(text.replace("address: 127.0.0.1", "address: 192.0.2.1", 1))
        with pytest.raises(DocumentErrors) as caught:
            bind_listeners(load_config(path))
    first, second = caught.value.problems
    assert "https: can't listen on 192.0.2.1" in first.message
    assert "does not have that address" in first.message
    assert "another program listens there; stop it or choose another port" in second.message


@pytest.mark.parametrize(
    ("errors", "told"),
    [((EADDRINUSE, EADDRINUSE, EADDRNOTAVAIL), UnavailableNow), ((EADDRINUSE, EACCES, EADDRNOTAVAIL), DocumentErrors)],
)
def test_a_port_that_needs_a_privilege_is_not_worth_another_try(
    config: Config, monkeypatch: pytest.MonkeyPatch, errors: tuple[int, ...], told: type[DocumentErrors]
) -> None:
    left = iter(errors)

    def refused(*_: object) -> list[socket.socket]:
        raise OSError(next(left), "as told")

    monkeypatch.setattr(addresses, "bind", refused)
    with pytest.raises(DocumentErrors) as caught:
        bind_listeners(config)
    assert type(caught.value) is told
    assert len(caught.value.problems) == 3


def test_the_shared_ledger_is_new_unless_another_server_is_there(config: Config) -> None:
    ledger, first = shared_ledger(config)
    ledger.write_text("kept")
    same, second = shared_ledger(config)
    assert (same, same.read_text()) == (ledger, "kept")
    os.close(first)
    os.close(second)
    again, third = shared_ledger(config)
    os.close(third)
    assert again == ledger
    assert not ledger.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for others")
def test_what_root_has_run_once_does_not_keep_the_owner_of_the_database_out(config: Config) -> None:
    config.file.with_name("certwright.db").touch()
    os.chown(config.file.with_name("certwright.db"), 65534, 65534)
    _, held = shared_ledger(config)
    found = os.fstat(held)
    os.close(held)
    assert (found.st_uid, found.st_gid) == (65534, 65534)
