"""What real clients sent: see PROVENANCE.toml beside the messages."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ca.csr import Csr, parse_csr
from ca.names import DnsName
from server.cms.algorithms import Cipher, Digest
from server.cms.enveloped import decipher
from server.cms.signed import message_digest_algorithm
from server.scep.codec import read_message_parameter, read_pki_message
from server.scep.gate import Sealed, authenticate, sealed
from server.scep.messages import PRESETS, MessageType, PkiMessage
from server.scep.observation import UNKNOWN_CARRIER, looks_like, observe
from server.scep.problems import Rejected
from server.scep.ra import load_ra_key

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab

VECTORS = Path(__file__).parents[2] / "vectors" / "scep"
RA = x509.load_der_x509_certificate((VECTORS / "ra.der").read_bytes())
KEY_PEM = (VECTORS / "ra-key.pem").read_bytes()
COMPATIBLE = PRESETS["compatible"]


def recorded(name: str) -> bytes:
    data = (VECTORS / name).read_bytes()
    if name.endswith(".der"):
        return data
    parameters = dict(part.partition(b"=")[::2] for part in data.partition(b"?")[2].split(b"&"))
    assert parameters[b"operation"] == b"PKIOperation"
    return read_message_parameter(unquote_to_bytes(parameters[b"message"]))


def opened(name: str) -> tuple[PkiMessage, Sealed, bytes]:
    message = read_pki_message(recorded(name))
    ra = load_ra_key(RA.public_bytes(Encoding.PEM), KEY_PEM, None)
    envelope = sealed(authenticate(message, COMPATIBLE), [ra.addressed], COMPATIBLE)
    key = load_pem_private_key(KEY_PEM, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    unwrapped = key.decrypt(envelope.wrapped.encrypted_key, envelope.transport.padding())
    return message, envelope, decipher(envelope.envelope, unwrapped, bytes)


def csr_in(name: str) -> Csr:
    return parse_csr(opened(name)[2], allow_sha1=True)


def test_every_recording_has_a_provenance() -> None:
    known = tomllib.loads((VECTORS / "PROVENANCE.toml").read_text())
    assert known.keys() == {path.name for path in VECTORS.iterdir()} - {"PROVENANCE.toml", "ra.der", "ra-key.pem"}


@pytest.mark.parametrize(
    ("name", "kind", "digest", "cipher", "version"),
    [
        ("strongswan-pkcsreq.der", MessageType.PKCS_REQ, Digest.SHA256, Cipher.AES128, 3),
        ("strongswan-renewalreq.der", MessageType.RENEWAL_REQ, Digest.SHA256, Cipher.AES128, 3),
        ("strongswan-certpoll.der", MessageType.CERT_POLL, Digest.SHA256, Cipher.AES128, 3),
        ("strongswan-sha1-3des.der", MessageType.PKCS_REQ, Digest.SHA1, Cipher.DES3, 3),
        ("strongswan-sha512-pss.der", MessageType.PKCS_REQ, Digest.SHA512, Cipher.AES128, 3),
        ("certmonger-pkcsreq.query", MessageType.PKCS_REQ, Digest.SHA256, Cipher.AES256, 1),
        ("certmonger-renewal.query", MessageType.PKCS_REQ, Digest.SHA256, Cipher.AES256, 3),
    ],
)
def test_the_message_verifies_and_opens(
    name: str, kind: MessageType, digest: Digest, cipher: Cipher, version: int
) -> None:
    message, envelope, content = opened(name)
    assert (message.message_type, message_digest_algorithm(message.signed)) == (kind, digest)
    assert (envelope.envelope.cipher, envelope.authentic.signer.version) == (cipher, version)
    if kind is not MessageType.CERT_POLL:
        parse_csr(content, allow_sha1=True)


def test_strongswans_unsorted_attributes_and_odd_extension_are_read() -> None:
    csr = csr_in("strongswan-pkcsreq.der")
    assert csr.names == (DnsName("router-1.example"),)
    assert csr.challenge_password == "sesame"
    assert "1.3.6.1.4.1.311.20.2" in {extension.oid for extension in csr.extensions}


def test_renewals_are_signed_by_the_old_certificate() -> None:
    for name in ("strongswan-renewalreq.der", "certmonger-renewal.query"):
        signer = opened(name)[0].signer
        assert signer is not None
        assert not signer.self_issued
        assert signer.issuer == RA.issuer.public_bytes()


def test_micromdms_single_des_is_told_by_name() -> None:
    message = read_pki_message(recorded("micromdm-des.query"))
    authentic = authenticate(message, COMPATIBLE)
    with pytest.raises(Rejected, match="DES-CBC"):
        sealed(authentic, [load_ra_key(RA.public_bytes(Encoding.PEM), KEY_PEM, None).addressed], COMPATIBLE)


def test_micromdms_single_des_is_taken_where_that_is_accepted() -> None:
    message, legacy = read_pki_message(recorded("micromdm-des.query")), PRESETS["legacy-des"]
    ra = load_ra_key(RA.public_bytes(Encoding.PEM), KEY_PEM, None)
    assert sealed(authenticate(message, legacy), [ra.addressed], legacy).envelope.cipher is Cipher.DES


async def test_certmongers_second_try_is_the_first_one_again(lab: Lab) -> None:
    lab.ra = load_ra_key(RA.public_bytes(Encoding.PEM), KEY_PEM, None)
    first, second = csr_in("certmonger-first-try.query"), csr_in("certmonger-second-try.query")
    assert first.extensions != second.extensions
    for name in ("certmonger-first-try.query", "certmonger-second-try.query"):
        answer = await lab.send(recorded(name))
        assert answer.notes["outcome"] == "pending"
    assert len(await lab.requests()) == 1


@pytest.mark.parametrize("name", [path.name for path in VECTORS.iterdir() if path.suffix in {".der", ".query"}])
def test_every_client_is_known_again(name: str) -> None:
    if name != "ra.der":
        seen = observe(read_pki_message(recorded(name)), UNKNOWN_CARRIER, None, None)
        assert looks_like(seen).lower().startswith(name.partition("-")[0])
