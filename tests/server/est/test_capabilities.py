"""What devices say that they can decrypt, in the very octets that RFC 3560 and RFC 5753 give for it."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca import der
from server.cms.algorithms import PKCS1, Cipher, Digest, KeyTransport
from server.cms.recipients import Agreement
from server.est.capabilities import ANY, Capabilities, read_capabilities
from server.est.messages import Malformed

P256, P384 = (ec.generate_private_key(curve).public_key() for curve in (ec.SECP256R1(), ec.SECP384R1()))
RSA = rsa.generate_private_key(65537, 2048).public_key()
SHORT_RSA = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505 - as old devices have
STD_SHA256, STD_SHA384, STD_SHA512 = (f"1.3.132.1.11.{arc}" for arc in (1, 2, 3))
COFACTOR_SHA256 = "1.3.132.1.14.1"
STD_SHA1, MQV_SHA256 = "1.3.133.16.840.63.0.2", "1.3.132.1.15.1"
AES = {128: "2.16.840.1.101.3.4.1.2", 256: "2.16.840.1.101.3.4.1.42"}
WRAP = {128: "2.16.840.1.101.3.4.1.5", 256: "2.16.840.1.101.3.4.1.45"}
WRAP_3DES = "1.2.840.113549.1.9.16.3.6"
OAEP, PLAIN_RSA = "1.2.840.113549.1.1.7", "1.2.840.113549.1.1.1"
# RFC 4055 section 4.1: id-RSAES-OAEP with the parameters for each digest, SHA-1 being the default
OAEP_SHA1 = bytes.fromhex("300d06092a864886f70d0101073000")
OAEP_SHA256 = bytes.fromhex(
    "303c06092a864886f70d010107302fa00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500"
)
OAEP_SHA224 = OAEP_SHA256.replace(bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040204"))
# RFC 5753 section 8: dhSinglePass-stdDH-sha256kdf-scheme with AES-128 key wrap
ECDH_SHA256_AES128 = bytes.fromhex("301506062b8104010b01300b0609608648016503040105")


def bare(*oids: str) -> bytes:
    return b"".join(der.sequence(der.oid(oid)) for oid in oids)


def agreement(scheme: str, wrap: str) -> bytes:
    return der.sequence(der.oid(scheme), der.sequence(der.oid(wrap)))


def read(*listed: bytes) -> Capabilities:
    return read_capabilities(der.sequence(*listed))


@pytest.mark.parametrize(
    ("listed", "digest"),
    [
        ((), Digest.SHA256),
        ((bare(AES[128]),), Digest.SHA256),
        ((bare(OAEP),), Digest.SHA256),
        ((der.sequence(der.oid(OAEP), der.null()),), Digest.SHA256),
        ((OAEP_SHA1,), Digest.SHA1),
        ((OAEP_SHA256,), Digest.SHA256),
        ((OAEP_SHA1, OAEP_SHA256, bare(PLAIN_RSA)), Digest.SHA256),
        ((OAEP_SHA224, OAEP_SHA1), Digest.SHA1),
        ((bare(PLAIN_RSA),), None),
        ((OAEP_SHA224, bare(PLAIN_RSA)), None),
    ],
)
def test_rsa_transports_with_the_digests_that_are_listed(listed: tuple[bytes, ...], digest: Digest | None) -> None:
    assert read(*listed).transport(RSA) == (PKCS1 if digest is None else KeyTransport((digest, digest)))


def test_an_oaep_that_is_not_known_or_too_large_is_refused() -> None:
    sha512 = OAEP_SHA256.replace(bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040203"))
    assert read(sha512).transport(RSA) == KeyTransport((Digest.SHA512, Digest.SHA512))
    for listed, key in ((OAEP_SHA224, RSA), (sha512, SHORT_RSA)):
        with pytest.raises(Malformed, match="RSAES-OAEP"):
            read(listed).transport(key)


@pytest.mark.parametrize(
    ("listed", "key", "expected"),
    [
        ((), P256, Agreement(STD_SHA256, 32)),
        ((), P384, Agreement(STD_SHA384, 32)),
        ((ECDH_SHA256_AES128,), P256, Agreement(STD_SHA256, 16)),
        ((agreement(STD_SHA256, WRAP[128]),), P384, Agreement(STD_SHA256, 16)),
        ((agreement(STD_SHA256, WRAP[128]), agreement(STD_SHA512, WRAP[256])), P384, Agreement(STD_SHA512, 32)),
        ((agreement(COFACTOR_SHA256, WRAP[256]),), P256, Agreement(COFACTOR_SHA256, 32)),
        ((agreement(STD_SHA1, WRAP[128]), agreement(STD_SHA256, WRAP[128])), P256, Agreement(STD_SHA256, 16)),
        ((agreement(STD_SHA256, WRAP[128]), bare(AES[256])), P256, Agreement(STD_SHA256, 16)),
        ((agreement(STD_SHA256, WRAP[256]), bare(AES[128])), P256, Agreement(STD_SHA256, 32)),
        ((bare(STD_SHA384, AES[128]),), P256, Agreement(STD_SHA384, 16)),
    ],
)
def test_an_ec_key_is_agreed_with_as_is_listed(
    listed: tuple[bytes, ...], key: ec.EllipticCurvePublicKey, expected: Agreement
) -> None:
    assert read(*listed).agreement(key) == expected


@pytest.mark.parametrize(
    "listed",
    [
        bare(STD_SHA1),
        agreement(MQV_SHA256, WRAP[128]),
        agreement(STD_SHA256, WRAP_3DES),
        bare(WRAP_3DES),
    ],
)
def test_a_list_without_any_agreement_or_wrap_of_ours_is_refused(listed: bytes) -> None:
    with pytest.raises(Malformed, match="known here"):
        read(listed).agreement(P256)


def test_a_shared_key_wraps_where_its_wrap_is_listed_or_none() -> None:
    assert ANY.wraps_with(16)
    assert read(bare(WRAP[128])).wraps_with(16)
    assert not read(bare(WRAP[128])).wraps_with(32)
    assert not read(bare(WRAP_3DES)).wraps_with(16)


def test_the_content_is_encrypted_with_the_strongest_that_is_listed() -> None:
    assert ANY.cipher() is Cipher.AES256
    assert read(bare(AES[128])).cipher() is Cipher.AES128
    assert read(bare(AES[128], AES[256])).cipher(frozenset({16})) is Cipher.AES256
    assert read(bare(WRAP[128])).cipher(frozenset({16})) is Cipher.AES128
    with pytest.raises(Malformed, match="AES-CBC"):
        read(bare("1.2.840.113549.3.7")).cipher()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        der.null(),
        der.sequence(der.null()),
        der.sequence(der.sequence()),
        der.sequence(der.sequence(der.oid(STD_SHA256), der.sequence())),
        der.sequence(der.sequence(der.oid(STD_SHA256), der.integer(1))),
        der.sequence(der.sequence(der.oid(OAEP), der.integer(1))),
    ],
)
def test_what_is_no_list_of_capabilities_is_told(octets: bytes) -> None:
    with pytest.raises(ValueError):
        read_capabilities(octets)
