"""The certificate of the https listener: read anew, and renewed through the one door, while connections go on."""

from __future__ import annotations

import asyncio
import re
import ssl
from datetime import timedelta
from errno import EACCES
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from ca.ceremony import generate_key, make_root, make_tls_certificate
from ca.names import DistinguishedName, DnsName, dns_name
from policies.document import DocumentErrors
from server.app.live_tls import LiveTls, Served, TlsFolder
from server.app.material import load_material
from server.app.tls_renewal import CMC_RA, TlsRenewal
from server.clock import system_clock
from server.config import load_config
from server.outcome import Issued, Problem, Reason, Refused
from server.stamps import stamps
from server.successors import Successors
from server.tls import TlsConfigurationError
from tests.fakes.running import running

if TYPE_CHECKING:
    from pathlib import Path

    from policies.request import EnrollmentRequest
    from server.config import Config
    from server.outcome import Outcome

NOW = system_clock()
CA = make_root(DistinguishedName.from_text("CN=TLS CA"), now=NOW)
RENEWAL = "renewal: {issuer: issuing, folder: tls/renewed, before: 400d, lifetime: 801d}"


def write_pair(folder: Path, kind: str = "P-256", passphrase: bytes | None = None) -> None:
    pair = make_tls_certificate(CA, DistinguishedName(), (dns_name("localhost"),), now=NOW, key=generate_key(kind))
    (folder / "server.pem").write_bytes(pair.certificate_pem())
    (folder / "server.key").write_bytes(pair.key_pem(passphrase or b""))


def live(folder: Path, passphrase: bytes | None = None) -> tuple[LiveTls, TlsFolder]:
    renewed = TlsFolder(Successors(folder / "renewed", passphrase))
    files = folder / "server.pem", folder / "server.key"

    def load() -> Served:
        certificate, key = (file.read_bytes() for file in files)
        return renewed.newest(Served.of(certificate, key, passphrase, ("server.pem", "server.key")))

    return LiveTls(load, lambda: stamps([*files, renewed.folder])), renewed


async def shown(port: int) -> x509.Certificate:
    """Return the certificate that a new connection gets."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    octets = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(octets)


def configured(folder: Path, more: str) -> Config:
    path = folder / "server.yaml"
    text = path.read_text()
    path.write_text(re.sub(r"(?m)^    renewal: .*$", f"    {more}", text, count=1))
    return load_config(path)


async def test_the_server_renews_its_own_certificate_and_new_connections_get_it(folder: Path) -> None:
    config = configured(folder, RENEWAL)
    before = x509.load_pem_x509_certificate((folder / "tls" / "server.pem").read_bytes())
    async with running(config) as (application, ports):
        renewed = await shown(ports["https"])
        assert renewed.serial_number != before.serial_number
        assert renewed.public_key() != before.public_key()
        assert renewed.subject == before.subject
        for kind in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage):
            assert renewed.extensions.get_extension_for_class(kind) == before.extensions.get_extension_for_class(kind)
        purposes = renewed.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert CMC_RA in {each.dotted_string for each in purposes}
        renewed.verify_directly_issued_by(application.services.material.issuers["issuing"].chain()[0])
    async with running(config) as (_, ports):  # a restart goes on with it
        assert await shown(ports["https"]) == renewed
    names = sorted(path.suffix for path in (folder / "tls" / "renewed").iterdir())
    assert names == [".key", ".pem"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "tls" / "renewed").iterdir())


async def test_files_that_somebody_replaces_are_taken_without_a_restart(folder: Path, config: Config) -> None:
    async with running(config) as (application, ports):
        before = await shown(ports["https"])
        write_pair(folder / "tls")
        application.reload()
        async with asyncio.timeout(60):
            while (after := await shown(ports["https"])) == before:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        assert after.issuer == CA.certificate.subject


async def test_a_process_that_starts_later_than_its_files_were_read_begins_with_those_of_today(tmp_path: Path) -> None:
    write_pair(tmp_path)
    tls, _ = live(tmp_path)
    before = tls.chain
    await tls.begin()
    assert tls.chain == before
    write_pair(tmp_path)
    await tls.begin()
    assert tls.chain != before


async def test_the_watch_takes_files_when_they_have_settled(tmp_path: Path) -> None:
    write_pair(tmp_path)
    tls, _ = live(tmp_path)
    before = tls.chain
    watching = asyncio.create_task(tls.watch(0.01))
    await asyncio.sleep(0.05)
    assert tls.chain == before
    write_pair(tmp_path)
    async with asyncio.timeout(60):
        while tls.chain == before:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    watching.cancel()


async def test_files_that_do_not_fit_leave_the_last_good_ones_in_force(tmp_path: Path) -> None:
    write_pair(tmp_path)
    tls, _ = live(tmp_path)
    context = tls.context()
    (tmp_path / "server.key").write_bytes(generate_key("P-256").private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))  # fmt: skip
    good = (tmp_path / "server.pem").read_bytes()
    (tmp_path / "server.pem").write_text("nothing")
    assert not await tls.reload()
    assert tls.context() is context
    assert "last good certificate is in force: server.pem holds no PEM" in tls.state
    (tmp_path / "server.pem").write_bytes(good)
    assert not await tls.reload()
    assert tls.context() is context
    assert "server.key can't be opened" in tls.state
    write_pair(tmp_path)
    assert await tls.reload()
    assert tls.state == "ok"
    assert tls.context() is not context


class Door:
    """Issues what is asked, or answers `instead`; `asked` are the requests."""

    def __init__(self) -> None:
        self.asked: list[EnrollmentRequest] = []
        self.instead: Outcome | None = None

    async def submit(self, request: EnrollmentRequest) -> Outcome:
        self.asked.append(request)
        if self.instead is not None:
            return self.instead
        names = [name for name in request.csr.names if isinstance(name, DnsName)]
        builder = x509.CertificateBuilder().subject_name(request.csr.subject.to_x509())
        builder = (
            builder.issuer_name(CA.certificate.subject)
            .public_key(request.csr.key)
            .serial_number(x509.random_serial_number())
        )
        builder = builder.not_valid_before(request.now).not_valid_after(request.now + timedelta(days=400))
        san = x509.SubjectAlternativeName([x509.DNSName(name.value) for name in names])
        made = builder.add_extension(san, critical=False).sign(CA.key, hashes.SHA256())
        return Issued(made.public_bytes(Encoding.DER), (CA.certificate,), "own")


@pytest.mark.parametrize(("kind", "passphrase"), [("P-256", None), ("P-384", b"horse"), ("rsa:2048", b"horse")])
async def test_a_renewed_pair_is_like_the_one_before_and_is_found_by_every_process(
    tmp_path: Path, kind: str, passphrase: bytes | None
) -> None:
    write_pair(tmp_path, kind, passphrase)
    door, pairs = Door(), [live(tmp_path, passphrase) for _ in range(2)]
    renewals = [TlsRenewal(tls, folder, timedelta(days=30), door.submit, lambda: now) for tls, folder in pairs]
    now = NOW
    for renewal in renewals:
        await renewal.check()
    assert door.asked == []
    for _ in range(2):  # twice over: each follows the one before
        now = pairs[0][0].chain[0].not_valid_after_utc - timedelta(days=29)
        before = pairs[0][0].served
        for renewal in renewals:
            await renewal.check()
        after = pairs[0][0].served
        assert pairs[1][0].chain == after.chain != before.chain
        assert type(after.key) is type(before.key)
        assert after.key.key_size == before.key.key_size
        assert (b"ENCRYPTED" in next((tmp_path / "renewed").glob("*.key")).read_bytes()) is (passphrase is not None)
    assert len({request.key for request in door.asked}) == len(door.asked) == 2  # the second process found the pair
    assert str(door.asked[0].endpoint) == "tls/https"


async def test_a_door_that_does_not_open_leaves_the_certificate_and_is_asked_again(tmp_path: Path) -> None:
    write_pair(tmp_path)
    door, (tls, folder) = Door(), live(tmp_path)
    door.instead = Refused(Problem(Reason.ISSUER_UNAVAILABLE, "later"), "own")
    end = tls.chain[0].not_valid_after_utc
    renewal = TlsRenewal(tls, folder, timedelta(days=30), door.submit, lambda: end - timedelta(days=1))
    before = tls.chain
    await renewal.check()
    assert tls.chain == before
    door.instead = None
    await renewal.check()
    assert tls.chain != before
    assert door.asked[0].csr.spki == door.asked[1].csr.spki  # the key was kept


async def test_a_folder_that_can_not_be_written_is_no_end_of_the_server(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (tmp_path / "renewed").write_text("not a folder")
    tls, folder = live(tmp_path)
    renewal = TlsRenewal(tls, folder, timedelta(days=3000), Door().submit, lambda: NOW)
    before = tls.chain
    await renewal.check()
    assert tls.chain == before


def test_a_folder_that_can_not_be_looked_into_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pair(tmp_path)

    def exists(path: Path) -> bool:
        raise PermissionError(EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.exists", exists)
    with pytest.raises(TlsConfigurationError, match=r"renewed/after-.*can't be read: Permission denied"):
        live(tmp_path)


def test_a_renewed_pair_that_is_damaged_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path)
    tls, folder = live(tmp_path)
    serial = tls.chain[0].serial_number
    folder.folder.mkdir()
    (folder.folder / f"after-{serial:x}.pem").write_text("garbage")
    with pytest.raises(TlsConfigurationError, match="can't be read"):
        live(tmp_path)
    (folder.folder / f"after-{serial:x}.key").write_text("garbage")
    with pytest.raises(TlsConfigurationError, match="holds no PEM certificate"):
        live(tmp_path)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("renewal: {issuer: isuing, folder: tls/renewed}", 'no issuer "isuing"; did you mean "issuing"'),
        ("renewal: {issuer: issuing, folder: tls/renewed, before: 30d, lifetime: 40d}", "at least twice before"),
    ],
)
def test_a_renewal_that_makes_no_sense_is_refused_with_its_place(folder: Path, settings: str, text: str) -> None:
    with pytest.raises(DocumentErrors, match=text):
        load_material(configured(folder, settings))
