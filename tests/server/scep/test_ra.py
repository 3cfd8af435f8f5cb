from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from server.cms.algorithms import PKCS1, Digest, KeyTransport
from server.scep.ra import RaConfigurationError, RaKey, expect_role, load_ra_key
from tests.server.scep.device import NOW, common_name, rsa_key, self_signed
from tests.server.scep.lab import ISSUING, RA

KEY = rsa_key("ra")
PEM = RA.certificate_pem()


def key_pem(key: Any = KEY, passphrase: bytes | None = b"open") -> bytes:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    encoded: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return encoded


def test_an_encrypted_key_is_loaded_with_its_passphrase() -> None:
    assert load_ra_key(PEM, key_pem(), b"open").certificate == RA.certificate
    assert load_ra_key(PEM, key_pem(passphrase=None), None).certificate == RA.certificate


def with_usage(*, encipherment: bool) -> bytes:
    names = ("content_commitment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign")
    off = dict.fromkeys((*names, "encipher_only", "decipher_only"), False)
    usage = x509.KeyUsage(digital_signature=True, key_encipherment=encipherment, **off)
    builder = x509.CertificateBuilder(common_name("RA"), common_name("RA"), KEY.public_key(), 1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1)).add_extension(usage, critical=True)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def pem(certificate: bytes) -> bytes:
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("certificate", "key", "passphrase", "text"),
    [
        (b"", key_pem(), b"open", "not a PEM certificate"),
        (PEM, b"", b"open", "can't be read"),
        (PEM, key_pem(), b"wrong", "another passphrase"),
        (PEM, key_pem(), None, "another passphrase"),
        (PEM, key_pem(ec.generate_private_key(ec.SECP256R1())), b"open", "must be RSA"),
        (PEM, key_pem(rsa_key("other")), b"open", "does not belong"),
        (pem(self_signed(rsa_key("weak", 1024))), key_pem(rsa_key("weak", 1024)), b"open", "1024 bits"),
        (with_usage(encipherment=False), key_pem(), b"open", "keyEncipherment"),
    ],
)
def test_a_pair_that_can_not_serve_is_refused_with_the_reason(
    certificate: bytes, key: bytes, passphrase: bytes | None, text: str
) -> None:
    with pytest.raises(RaConfigurationError, match=text):
        load_ra_key(certificate, key, passphrase)


def test_a_certificate_without_key_usage_is_taken() -> None:
    assert RaKey(x509.load_der_x509_certificate(self_signed(KEY)), KEY).addressed.version == 3


@pytest.mark.parametrize("transport", [PKCS1, KeyTransport((Digest.SHA256, Digest.SHA1))])
async def test_a_wrapped_key_is_unwrapped_even_when_its_leading_zeros_were_dropped(transport: KeyTransport) -> None:
    ra = RaKey(RA.certificate, KEY)
    while (wrapped := KEY.public_key().encrypt(b"key", transport.padding()))[0]:
        pass
    assert await ra.unwrap(wrapped, transport) == b"key"
    assert await ra.unwrap(wrapped[1:], transport) == b"key"


async def test_a_wrapped_key_that_is_none_gives_none_or_something_random() -> None:
    ra = RaKey(RA.certificate, KEY)
    assert await ra.unwrap(bytes(257), PKCS1) is None
    assert await ra.unwrap(bytes(256), KeyTransport((Digest.SHA1, Digest.SHA1))) is None
    assert await ra.unwrap(b"\x01" * 256, PKCS1) != b"key"


def test_an_ra_is_what_clients_are_shown() -> None:
    expect_role(RA.certificate, as_ca=False)
    expect_role(ISSUING.certificate, as_ca=True)
    plain = x509.load_der_x509_certificate(self_signed(KEY))
    expect_role(plain, as_ca=False)
    for certificate in (RA.certificate, plain):
        with pytest.raises(RaConfigurationError, match="must be the CA's own"):
            expect_role(certificate, as_ca=True)
    with pytest.raises(RaConfigurationError, match="a key of its own"):
        expect_role(ISSUING.certificate, as_ca=False)
