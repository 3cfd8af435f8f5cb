"""CAs elsewhere: each behind the contract, and each failure told as what it is."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from ca import ceremony
from ca.backends import command
from ca.backends.command import CommandUpstream, RevokingCommandUpstream
from ca.backends.est import EstUpstream
from ca.backends.http_client import HttpClient
from ca.backends.upstream import RevokingIssuer, UpstreamIssuer, issuer_of
from ca.backends.vault import VaultUpstream
from ca.check import PlanMismatch
from ca.issuer import (
    AnswerUnusable,
    IssuerConfigurationError,
    IssuerPending,
    IssuerRefused,
    IssuerUnavailable,
    Permit,
    Revoker,
)
from ca.names import DistinguishedName, dns_name
from tests.contract.issuer import IssuerContract, RevokerContract, accept, issue
from tests.fakes.issuer import NOW, csr_of, make_issuer, make_plan, with_challenge
from tests.fakes.remote_ca import sign_for
from tests.fakes.vault import FakeVault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Container

    from ca.backends.upstream import Upstream
    from ca.issuer import Issuer

CA = make_issuer()
PLAN = make_plan()
BASIC = encode_basic_auth("door", "secret")


@asynccontextmanager
async def served(application: web.Application) -> AsyncIterator[str]:
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


@asynccontextmanager
async def behind(upstream: Upstream, seconds: float = 5) -> AsyncIterator[UpstreamIssuer]:
    issuer = issuer_of(upstream, CA.chain(), seconds=seconds)
    yield issuer
    await issuer.close()


@pytest.fixture
def vault() -> FakeVault:
    return FakeVault(CA)


@asynccontextmanager
async def vault_issuer(vault: FakeVault, token: str = "s.token") -> AsyncIterator[UpstreamIssuer]:
    client = HttpClient(headers={"X-Vault-Token": token})
    async with served(vault.application) as url, behind(VaultUpstream(url, "pki", "devices", client)) as issuer:
        yield issuer


class TestVault(RevokerContract, IssuerContract):
    @pytest.fixture
    async def issuer(self, vault: FakeVault) -> AsyncIterator[Issuer]:
        async with vault_issuer(vault) as issuer:
            yield issuer

    @pytest.fixture
    def revoked(self, vault: FakeVault) -> Callable[[], Container[int]]:
        return lambda: vault.revoked

    async def test_the_names_come_from_the_plan(self, vault: FakeVault, issuer: Issuer) -> None:
        await issue(issuer, PLAN)
        (asked,) = vault.asked
        assert asked["common_name"] == "Pump 17"
        assert asked["alt_names"] == "pump-17.test,pump.test"
        assert asked["not_after"] == "2027-02-19T12:00:00Z"
        assert asked["exclude_cn_from_sans"] is True
        assert "ip_sans" not in asked

    @pytest.mark.parametrize(
        ("status", "failure"),
        [(400, IssuerRefused), (404, IssuerRefused), (429, IssuerUnavailable), (500, IssuerUnavailable),
         (503, IssuerUnavailable), (302, IssuerRefused)],
    )  # fmt: skip
    async def test_a_status_is_a_refusal_or_an_outage(
        self, vault: FakeVault, issuer: Issuer, status: int, failure: type[Exception]
    ) -> None:
        vault.status = status
        with pytest.raises(failure, match=str(status)):
            await issue(issuer, PLAN)


async def test_a_token_that_vault_does_not_take_is_no_fault_of_the_requester(vault: FakeVault) -> None:
    async with vault_issuer(vault, "other") as issuer:
        with pytest.raises(IssuerUnavailable, match="403"):
            await issue(issuer, PLAN)


@asynccontextmanager
async def est_issuer(handler: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[UpstreamIssuer]:
    application = web.Application()
    application.router.add_post("/.well-known/est/plant/simpleenroll", handler)
    async with served(application) as url:
        client = HttpClient(headers={"Authorization": BASIC})
        async with behind(EstUpstream(f"{url}/.well-known/est/plant", client)) as issuer:
            yield issuer


async def est_answer(request: web.Request) -> web.Response:
    """Enroll as RFC 7030 section 4.2.1 says, and send the CA's own certificate along."""
    assert request.headers["Authorization"] == BASIC
    assert request.content_type == "application/pkcs10"
    text = await request.text()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"
    certificate = await sign_for(CA, x509.load_pem_x509_csr(pem.encode()))
    reply = pkcs7.serialize_certificates([CA.chain()[0], certificate], Encoding.PEM)
    return web.Response(body=b"".join(reply.splitlines(keepends=True)[1:-1]), content_type="application/pkcs7-mime")


class TestEst(IssuerContract):
    @pytest.fixture
    async def issuer(self) -> AsyncIterator[Issuer]:
        async with est_issuer(est_answer) as issuer:
            yield issuer


async def test_est_that_needs_time_makes_the_request_pending() -> None:
    async def later(request: web.Request) -> web.Response:
        return web.Response(status=202, headers={"Retry-After": "33"})

    async with est_issuer(later) as issuer:
        with pytest.raises(IssuerPending) as pending:
            await issue(issuer, PLAN)
    assert pending.value.retry_after == 33
    assert pending.value.reference


@pytest.mark.parametrize(
    ("body", "text"), [(b"", "understood|no certificate"), (b"MIIB", "understood"), (b"\xff\xff", "understood")]
)
async def test_an_est_answer_without_the_certificate_is_refused(body: bytes, text: str) -> None:
    async def odd(request: web.Request) -> web.Response:
        return web.Response(body=body)

    async with est_issuer(odd) as issuer:
        with pytest.raises(AnswerUnusable, match=text):
            await issue(issuer, PLAN)


async def test_an_endless_answer_is_cut_off() -> None:
    async def endless(request: web.Request) -> web.Response:
        return web.Response(body=bytes(2 * 1024 * 1024))

    async with est_issuer(endless) as issuer:
        with pytest.raises(AnswerUnusable, match="too long"):
            await issue(issuer, PLAN)


async def test_a_ca_that_hangs_is_unavailable() -> None:
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    application = web.Application()
    application.router.add_post("/x/simpleenroll", hang)
    async with served(application) as url, behind(EstUpstream(f"{url}/x", HttpClient()), seconds=0.2) as issuer:
        with pytest.raises(IssuerUnavailable, match=r"not answered within 0\.2 s"):
            await issue(issuer, PLAN)
        released.set()


async def test_a_ca_that_is_not_there_is_unavailable() -> None:
    async with behind(EstUpstream("http://127.0.0.1:9/x", HttpClient())) as issuer:
        with pytest.raises(IssuerUnavailable, match="can't be reached"):
            await issue(issuer, PLAN)


async def test_a_ca_that_takes_names_from_the_csr_is_not_asked_for_others() -> None:
    async def never(request: web.Request) -> web.Response:
        pytest.fail("asked")

    csr = csr_of(PLAN)
    async with est_issuer(never) as issuer:
        for changes in ({"names": (dns_name("other.test"),)}, {"subject": DistinguishedName.from_text("CN=Other")}):
            plan = replace(PLAN, **changes)
            with pytest.raises(IssuerRefused, match="takes the names from the CSR"):
                await issuer.issue(Permit("request", plan, 1, csr), plan, 1)


@pytest.mark.parametrize(
    ("csr", "text"),
    [(None, "there is none"), (b"garbage", "can't be read"), (csr_of(make_plan()), "another key than planned")],
)
async def test_without_the_requesters_csr_nothing_is_asked(csr: bytes | None, text: str) -> None:
    async with est_issuer(est_answer) as issuer:
        with pytest.raises(IssuerRefused, match=text):
            await issuer.issue(Permit("request", PLAN, 1, csr), PLAN, 1)


async def test_what_a_ca_changes_does_not_pass() -> None:
    changes: dict[str, object] = {}

    async def changed(request: web.Request) -> web.Response:
        text = await request.text()
        pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{text}-----END CERTIFICATE REQUEST-----\n"
        certificate = await sign_for(CA, x509.load_pem_x509_csr(pem.encode()), **changes)
        reply = pkcs7.serialize_certificates([certificate], Encoding.PEM)
        return web.Response(body=b"".join(reply.splitlines(keepends=True)[1:-1]))

    async with est_issuer(changed) as issuer:
        for change in (
            {"names": (*PLAN.names, dns_name("more.test"))},
            {"extended_key_usage": ("1.3.6.1.5.5.7.3.2",)},
            {"not_after": PLAN.not_after + timedelta(hours=2)},
            {"subject": DistinguishedName.from_text("CN=Other")},
        ):
            changes.clear()
            changes.update(change)
            certificate = await issue(issuer, PLAN)
            with pytest.raises(PlanMismatch):
                accept(issuer, PLAN, certificate)
        changes.clear()
        changes["not_after"] = PLAN.not_after - timedelta(days=30)
        accept(issuer, PLAN, await issue(issuer, PLAN))


ASK = """
import socket, sys
s = socket.create_connection(("127.0.0.1", {port}))
s.sendall(sys.stdin.buffer.read())
s.shutdown(1)
sys.stdout.buffer.write(s.makefile("rb").read())
"""


class Behind:
    """The CA behind a command: takes its document, gives a certificate or revokes one."""

    def __init__(self) -> None:
        self.known, self.revoked = set[int](), set[int]()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.read())
        if "certificate" in asked:
            serial = int(asked["serial"], 16)
            self.revoked |= self.known & {serial}
            writer.write(b"ok" if serial in self.known else b"unknown")
        else:
            certificate = await sign_for(CA, x509.load_pem_x509_csr(asked["csr"].encode()))
            self.known.add(certificate.serial_number)
            writer.write(certificate.public_bytes(Encoding.PEM))
        writer.close()


class TestCommand(RevokerContract, IssuerContract):
    @pytest.fixture
    def ca(self) -> Behind:
        return Behind()

    @pytest.fixture
    async def issuer(self, tmp_path: Path, ca: Behind) -> AsyncIterator[Issuer]:
        server = await asyncio.start_server(ca.answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        command = (sys.executable, "-I", "-S", "-c", ASK.format(port=port))
        revoke = ("/bin/sh", "-c", '[ "$("$@")" = ok ] || exit 10', "revoke", *command)
        async with server, behind(RevokingCommandUpstream(command, tmp_path, revoke), seconds=30) as issuer:
            yield issuer

    @pytest.fixture
    def revoked(self, ca: Behind) -> Callable[[], Container[int]]:
        return lambda: ca.revoked


async def test_a_command_is_told_of_a_revocation_and_may_be_out_of_order(tmp_path: Path) -> None:
    certificate = CA.chain()[0]
    upstream = RevokingCommandUpstream(("true",), tmp_path, ("/bin/sh", "-c", "cat > told; echo ill >&2; exit 3"))
    async with behind(upstream) as issuer:
        assert isinstance(issuer, RevokingIssuer)
        with pytest.raises(IssuerUnavailable, match="ends with 3: ill"):
            await issuer.revoke(certificate, x509.ReasonFlags.key_compromise, NOW)
    told = json.loads((tmp_path / "told").read_text())
    assert told.pop("certificate").startswith("-----BEGIN CERTIFICATE-----")
    assert told == {
        "serial": format(certificate.serial_number, "x"),
        "reason": "keyCompromise",
        "revoked_at": "2026-11-21T12:00:00+00:00",
    }


async def test_a_ca_that_hangs_or_is_not_there_is_told_of_a_revocation_later() -> None:
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    application = web.Application()
    application.router.add_post("/v1/pki/revoke", hang)
    async with served(application) as url:
        for address in (url, "http://127.0.0.1:1"):
            async with behind(VaultUpstream(address, "pki", "devices", HttpClient()), 0.2) as issuer:
                assert isinstance(issuer, RevokingIssuer)
                with pytest.raises(IssuerUnavailable):
                    await issuer.revoke(CA.chain()[0], x509.ReasonFlags.superseded, NOW)


def test_est_has_no_way_to_revoke() -> None:
    assert not isinstance(issuer_of(EstUpstream("", HttpClient()), CA.chain()), Revoker)


@asynccontextmanager
async def shell(folder: Path, text: str, seconds: float = 10) -> AsyncIterator[UpstreamIssuer]:
    async with behind(CommandUpstream(("/bin/sh", "-c", text), folder), seconds) as issuer:
        yield issuer


async def test_a_command_is_told_everything(tmp_path: Path) -> None:
    async with shell(tmp_path, "cat > asked; echo '7 ticket 1'; exit 11") as issuer:
        with pytest.raises(IssuerPending) as pending:
            await issue(issuer, PLAN)
    assert (pending.value.retry_after, pending.value.reference) == (7, "ticket 1")
    asked = json.loads((tmp_path / "asked").read_text())
    assert (asked["request_id"], asked["reference"]) == ("request", None)
    assert asked["plan"] == {
        "issuer": "issuing",
        "profile": "device",
        "subject": "CN=Pump 17,O=Test",
        "names": ["dns:pump-17.test", "dns:pump.test"],
        "spki": PLAN.spki.hex(),
        "not_before": "2026-11-21T12:00:00+00:00",
        "not_after": "2027-02-19T12:00:00+00:00",
        "key_usage": ["digitalSignature"],
        "extended_key_usage": ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"],
        "extensions": [],
    }
    assert x509.load_pem_x509_csr(asked["csr"].encode()).is_signature_valid


async def test_a_command_gets_its_reference_back(tmp_path: Path) -> None:
    async with shell(tmp_path, "cat > asked; exit 10") as issuer:
        permit = Permit("request", PLAN, 1, csr_of(PLAN), "ticket 1")
        with pytest.raises(IssuerRefused):
            await issuer.issue(permit, PLAN, 1)
    assert json.loads((tmp_path / "asked").read_text())["reference"] == "ticket 1"


@pytest.mark.parametrize(
    ("text", "failure", "said"),
    [
        ("echo 'not in stock' >&2; exit 10", IssuerRefused, "refuses: not in stock"),
        ("echo later >&2; exit 75", IssuerUnavailable, "ends with 75: later"),
        ("kill -9 $$", IssuerUnavailable, "ends with -9"),
        ("echo garbage", AnswerUnusable, "can't be understood"),
        ("echo soon; exit 11", AnswerUnusable, "can't be understood"),
    ],
)
async def test_how_a_command_ends_says_what_became_of_it(
    tmp_path: Path, text: str, failure: type[Exception], said: str
) -> None:
    async with shell(tmp_path, text) as issuer:
        with pytest.raises(failure, match=said):
            await issue(issuer, PLAN)


def is_running(pid: str) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.parametrize("then", ["wait", "exit"], ids=["hangs as well", "has ended by then"])
async def test_what_a_command_has_started_is_killed_when_the_time_is_over(tmp_path: Path, then: str) -> None:
    async with shell(tmp_path, f"sleep 60 & echo $! > child; {then}", 0.5) as issuer:
        with pytest.raises(IssuerUnavailable, match="not answered"):
            await issue(issuer, PLAN)
    await asyncio.sleep(0.1)
    assert not is_running((tmp_path / "child").read_text().strip())


@pytest.mark.parametrize("stream", [1, 2], ids=["output", "complaints"])
async def test_what_a_command_writes_without_end_is_not_kept(tmp_path: Path, stream: int) -> None:
    tracemalloc.start()
    try:
        async with shell(tmp_path, f"head -c 50000000 /dev/zero >&{stream}", 30) as issuer:
            with pytest.raises((AnswerUnusable, IssuerUnavailable)):
                await issue(issuer, PLAN)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_command_need_not_read_what_it_is_told(tmp_path: Path) -> None:
    complaints: list[object] = []
    told = {"more than a pipe holds": "x" * 1_000_000}

    async def run() -> tuple[int | None, bytes, str]:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
        return await command._run(("/bin/sh", "-c", "exec <&-; sleep 0.1; echo said; exit 10"), tmp_path, told)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the server runs
        assert runner.run(run()) == (10, b"said\n", "")
        gc.collect()
    assert complaints == []


async def test_a_command_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    async with behind(CommandUpstream(("/nonexistent",), tmp_path)) as issuer:
        with pytest.raises(IssuerUnavailable):
            await issue(issuer, PLAN)


def test_a_ca_whose_key_can_not_be_verified_is_no_issuer() -> None:
    root = ceremony.make_root(
        DistinguishedName.from_text("CN=Odd"), now=NOW, key=ec.generate_private_key(ec.SECP256K1())
    )
    with pytest.raises(IssuerConfigurationError, match="can't be used"):
        UpstreamIssuer(EstUpstream("", HttpClient()), (root.certificate,))


async def test_a_command_gets_requests_whose_challenge_is_not_passed_on(tmp_path: Path) -> None:
    plan, csr = with_challenge()
    upstream = CommandUpstream(("/bin/sh", "-c", "cat > told; exit 10"), tmp_path)
    async with behind(upstream) as issuer:
        with pytest.raises(IssuerRefused, match="the command refuses"):
            await issuer.issue(Permit("request", plan, 7, csr), plan, 7)
    told = json.loads((tmp_path / "told").read_text())
    assert told["csr_proven"] is False
    assert told["plan"]["spki"] == plan.spki.hex()
    assert b"secret" not in csr


async def test_a_ca_that_verifies_the_request_is_not_asked_in_vain(vault: FakeVault) -> None:
    plan, csr = with_challenge()
    async with vault_issuer(vault) as issuer, est_issuer(est_answer) as other:
        for one in (issuer, other):
            with pytest.raises(IssuerRefused, match="challenge password that is not passed on"):
                await one.issue(Permit("request", plan, 7, csr), plan, 7)
    assert not vault.asked
