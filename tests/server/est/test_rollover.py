"""The change from one root to another: cacerts has what devices need that know one of the two."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7

from policies.document import DocumentErrors
from server.app.material import load_material
from server.app.trust import UnfitTrust, check_trust
from server.clock import system_clock
from server.config import load_config
from tests.server.est.lab import lab
from tests.server.est.test_csrattrs_routes import get
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = "est/default: {profiles: [iot-device], authenticate: {certificates: true}, other_root: other.pem}"


@dataclass
class Root:
    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def certify(self, other: Root, *, ca: bool = True) -> x509.Certificate:
        subject, issuer = (x509.Name.from_rfc4514_string(f"CN={one.name}") for one in (other, self))
        now = system_clock()
        return (
            x509.CertificateBuilder(issuer, subject, other.key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )


OLD, NEW = Root("Root"), Root("Root")  # RFC 9810 section 4.4: the name stays
ELSE = Root("Other")


def complete(own: Root, other: Root) -> list[x509.Certificate]:
    return [other.certify(other), own.certify(other), other.certify(own)]


@pytest.mark.parametrize(("own", "other"), [(OLD, NEW), (NEW, OLD), (NEW, ELSE)])
def test_the_other_root_and_both_links_fit(own: Root, other: Root) -> None:
    check_trust(complete(own, other), own.certify(own))


@pytest.mark.parametrize(
    ("found", "root", "said"),
    [
        ([], NEW.certify(NEW), "one root"),
        ([NEW.certify(NEW)], NEW.certify(NEW), "one root"),
        ([*complete(NEW, OLD), ELSE.certify(ELSE)], NEW.certify(NEW), "one root"),
        (complete(NEW, OLD)[:2], NEW.certify(NEW), "the own root signed by the other one is missing"),
        (complete(NEW, OLD)[::2], NEW.certify(NEW), "the other root signed by the own one is missing"),
        ([*complete(NEW, OLD), NEW.certify(ELSE)], NEW.certify(NEW), "link nothing"),
        (complete(NEW, OLD), ELSE.certify(NEW), "does not end in a root"),
        ([OLD.certify(OLD), NEW.certify(OLD, ca=False), OLD.certify(NEW)], NEW.certify(NEW), "not a CA's"),
    ],
)
def test_what_does_not_fit_is_told_at_load(found: list[x509.Certificate], root: x509.Certificate, said: str) -> None:
    with pytest.raises(UnfitTrust, match=said):
        check_trust(found, root)


def _for(folder: Path) -> list[x509.Certificate]:
    """Another root for the deployment of a folder, and both links."""
    own = x509.load_pem_x509_certificate((folder / "ca" / "root.pem").read_bytes())
    passphrase = (folder / "ca" / "root.passphrase").read_bytes().strip()
    key = load_pem_private_key((folder / "ca" / "root.key").read_bytes(), passphrase)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return complete(Root(own.subject.rfc4514_string().removeprefix("CN="), key), ELSE)


async def test_a_device_that_knows_one_root_comes_to_trust_the_other(folder: Path, tmp_path: Path) -> None:
    """Openssl builds both ways: the server's chain from the other root, and the other root from the server's."""
    own = x509.load_pem_x509_certificate((folder / "ca" / "root.pem").read_bytes())
    links = _for(folder)
    (folder / "other.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in links))
    async with lab(folder, ENDPOINT) as running:
        body = (await get(running, "cacerts"))[2]
    found = pkcs7.load_der_pkcs7_certificates(b64decode(body))
    assert {*links, own} < set(found)
    (tmp_path / "all.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in found))
    (tmp_path / "known.pem").write_bytes(links[0].public_bytes(Encoding.PEM))
    openssl = require_program("openssl")
    verify = ("verify", "-CAfile", tmp_path / "known.pem", "-untrusted", tmp_path / "all.pem")
    done = await asyncio.to_thread(run, openssl, *verify, folder / "ca" / "issuing.pem")
    assert done.stdout.endswith("OK\n")


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (NEW.certify(NEW).public_bytes(Encoding.PEM), "root signed by the .* one is missing"),
        (b"nothing", "no PEM certificates"),
        (None, "can't be read"),
    ],
)
def test_a_server_with_links_that_do_not_fit_does_not_start(folder: Path, octets: bytes | None, said: str) -> None:
    if octets is not None:
        (folder / "other.pem").write_bytes(octets)
    file = folder / "server.yaml"
    head, _, _ = file.read_text().partition("\nendpoints:")
    file.write_text(f"{head}\nendpoints:\n  {ENDPOINT}\n")
    with pytest.raises(DocumentErrors, match=said):
        load_material(load_config(file))
