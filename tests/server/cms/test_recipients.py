"""EnvelopedData for recipients with RSA keys, EC keys and shared secrets, opened by OpenSSL."""

from __future__ import annotations

import secrets
import subprocess
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca import der
from server.cms.algorithms import PKCS1, Cipher, Digest, KeyTransport
from server.cms.certificates import DATA, ENVELOPED_DATA, SIGNED_DATA, open_content_info
from server.cms.passwords import Password
from server.cms.recipients import (
    AES_CIPHERS,
    AES_WRAPS,
    AGREEMENTS,
    Agreement,
    EcKey,
    Recipient,
    RsaKey,
    SharedKey,
    agrees,
    seal_for,
    usual_agreement,
)
from tests.server.scep.device import NOW, bag, common_name, rsa_key
from tests.wire.running import require_program

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric import rsa

CONTENT = b"a private key, say"
IDENTIFIER = b"who has this key"
KEY = rsa_key()
CURVES = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())
EC_KEY = ec.generate_private_key(CURVES[0])


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    builder = x509.CertificateBuilder(common_name("CA"), common_name("device"), key.public_key(), 7)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW)
    builder = builder.add_extension(x509.SubjectKeyIdentifier(IDENTIFIER), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def sealed(recipient: Recipient, cipher: Cipher = Cipher.AES256, content_type: str = DATA) -> bytes:
    return seal_for(CONTENT, content_type, recipient, cipher=cipher, random=secrets.token_bytes)


def opened(folder: Path, message: bytes, *how: str) -> bytes:
    """Return what OpenSSL finds in a message."""
    (folder / "message").write_bytes(message)
    command = [require_program("openssl"), "cms", "-decrypt", "-binary", "-inform", "DER", "-in", "message", *how]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout


def opened_by(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, folder: Path, message: bytes) -> bytes:
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "certificate").write_bytes(certificate(key))
    return opened(folder, message, "-recip", "certificate", "-inkey", "key")


@pytest.mark.parametrize("cipher", [one for one in Cipher if one is not Cipher.DES])
@pytest.mark.parametrize("transport", [PKCS1, KeyTransport((Digest.SHA256, Digest.SHA1))], ids=["PKCS1", "OAEP"])
def test_the_holder_of_an_rsa_key_opens_it(tmp_path: Path, cipher: Cipher, transport: KeyTransport) -> None:
    message = sealed(RsaKey(IDENTIFIER, KEY.public_key(), transport), cipher)
    assert opened_by(KEY, tmp_path, message) == CONTENT


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: curve.name)
@pytest.mark.parametrize("cipher", AES_CIPHERS)
@pytest.mark.parametrize("is_named", [False, True], ids=["by its key identifier", "by name and number"])
def test_the_holder_of_an_ec_key_opens_it(
    tmp_path: Path, curve: ec.EllipticCurve, cipher: Cipher, *, is_named: bool
) -> None:
    key = ec.generate_private_key(curve)
    identifier = bag(certificate(key)) if is_named else IDENTIFIER
    assert opened_by(key, tmp_path, sealed(EcKey(identifier, key.public_key()), cipher)) == CONTENT


@pytest.mark.parametrize("scheme", AGREEMENTS)
@pytest.mark.parametrize("wrap", AES_WRAPS)
def test_every_way_to_agree_on_a_key_is_one_that_openssl_knows(tmp_path: Path, scheme: str, wrap: int) -> None:
    message = sealed(EcKey(IDENTIFIER, EC_KEY.public_key(), Agreement(scheme, wrap)))
    assert (der.oid(scheme) + der.sequence(der.oid(AES_WRAPS[wrap]))) in message
    assert opened_by(EC_KEY, tmp_path, message) == CONTENT


@pytest.mark.parametrize("octets", AES_WRAPS)
def test_who_shares_the_secret_opens_it(tmp_path: Path, octets: int) -> None:
    secret = secrets.token_bytes(octets)
    message = sealed(SharedKey(IDENTIFIER, secret))
    shared = "-secretkey", secret.hex(), "-secretkeyid", IDENTIFIER.hex()
    assert opened(tmp_path, message, *shared) == CONTENT


@pytest.mark.parametrize(
    ("recipient", "version", "tag", "own_version"),
    [
        (RsaKey(IDENTIFIER, KEY.public_key(), PKCS1), 2, der.SEQUENCE, 2),
        (EcKey(IDENTIFIER, EC_KEY.public_key()), 2, 0xA1, 3),
        (SharedKey(IDENTIFIER, bytes(16)), 2, 0xA2, 4),
        (Password(b"secret", Cipher.AES128), 3, 0xA3, 0),
    ],
    ids=["RSA", "EC", "shared", "password"],
)
def test_versions_and_tags_are_those_of_rfc_5652(
    recipient: Recipient, version: int, tag: int, own_version: int
) -> None:
    message = sealed(recipient, content_type=SIGNED_DATA)
    whole = der.children(open_content_info(message, ENVELOPED_DATA))
    (info,) = der.inside(whole[1], der.SET)
    assert der.read_integer(whole[0]) == version
    assert (info.tag, der.read_integer(der.children(info)[0])) == (tag, own_version)
    assert der.dotted(der.children(whole[2])[0]) == SIGNED_DATA


@pytest.mark.parametrize(
    "recipient", [SharedKey(IDENTIFIER, bytes(16)), EcKey(IDENTIFIER, EC_KEY.public_key())], ids=["shared", "EC"]
)
def test_nothing_is_the_same_twice(recipient: Recipient) -> None:
    once, again = (der.children(open_content_info(sealed(recipient), ENVELOPED_DATA)) for _ in range(2))
    assert once[1] != again[1]
    assert once[2] != again[2]


def test_both_sides_agree_on_another_key_for_each_message_though_the_random_numbers_are_the_same() -> None:
    recipient = EcKey(IDENTIFIER, EC_KEY.public_key())
    once, again = (seal_for(CONTENT, DATA, recipient, cipher=Cipher.AES128, random=bytes) for _ in range(2))
    assert once != again


def test_keys_on_other_curves_and_of_other_kinds_agree_on_nothing() -> None:
    assert all(agrees(ec.generate_private_key(curve).public_key()) for curve in CURVES)
    for key in (
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        KEY.public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
    ):
        assert not agrees(key)


@pytest.mark.parametrize(("curve", "octets"), [(CURVES[0], 32), (CURVES[1], 48), (CURVES[2], 64)])
def test_the_digest_of_the_usual_agreement_fits_the_curve(curve: ec.EllipticCurve, octets: int) -> None:
    usual = usual_agreement(ec.generate_private_key(curve).public_key())
    assert AGREEMENTS[usual].hash.digest_size == octets
