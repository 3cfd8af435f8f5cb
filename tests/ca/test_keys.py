from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from ca import der, keys
from ca.ceremony import generate_key
from ca.keys import BadSignature, KeyShape, UnusableKey, UnusableSignature
from tests.fakes.issuer import spki_of

RSA_KEY = generate_key("rsa:2048")
EC_KEY = generate_key("P-256")
RSA_ALGORITHM = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
P256 = der.sequence(der.oid("1.2.840.10045.2.1"), der.oid("1.2.840.10045.3.1.7"))
SHA256 = der.sequence(der.oid("2.16.840.1.101.3.4.2.1"), der.null())
SHA1 = der.sequence(der.oid("1.3.14.3.2.26"), der.null())
MGF1 = "1.2.840.113549.1.1.8"


def rsa_spki(modulus: int, exponent: int, algorithm: bytes = RSA_ALGORITHM) -> bytes:
    numbers = der.sequence(der.integer(modulus), der.integer(exponent))
    return der.sequence(algorithm, der.bit_string(numbers))


def pss(*fields: bytes) -> bytes:
    return der.sequence(der.oid("1.2.840.113549.1.1.10"), der.sequence(*fields))


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "rsa:2048", "ed25519"])
def test_every_known_key_is_read_and_keeps_its_encoding(kind: str) -> None:
    key = generate_key(kind)
    read = keys.read_key(der.read(spki_of(key)))
    assert (read.public, read.spki) == (key.public_key(), spki_of(key))
    assert read.shape == keys.key_shape(key.public_key())


def test_shapes_are_written_as_policies_name_them() -> None:
    assert [str(KeyShape("rsa", 2048)), str(KeyShape("ec", 256, "P-256")), str(KeyShape("ed25519", 256))] == [
        "rsa:2048",
        "ec:P-256",
        "ed25519",
    ]


def test_an_rsa_key_without_null_gets_it() -> None:
    assert isinstance(RSA_KEY, rsa.RSAPrivateKey)
    numbers = RSA_KEY.public_key().public_numbers()
    without = rsa_spki(numbers.n, numbers.e, der.sequence(der.oid("1.2.840.113549.1.1.1")))
    assert keys.read_key(der.read(without)).spki == spki_of(RSA_KEY)


def test_a_compressed_point_is_written_out() -> None:
    point = EC_KEY.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    assert keys.read_key(der.read(der.sequence(P256, der.bit_string(point)))).spki == spki_of(EC_KEY)


@pytest.mark.parametrize("kind", ["P-256", "P-384", "rsa:2048"])
def test_the_point_of_a_p_256_key_is_found_in_its_octets_and_of_no_other(kind: str) -> None:
    key = generate_key(kind)
    point = None
    if kind == "P-256":
        form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        point = key.public_key().public_bytes(*form)[1:]
    assert keys.p256_point(spki_of(key)) == point


def test_no_other_octets_are_taken_for_a_p_256_point() -> None:
    spki = spki_of(EC_KEY)
    for other in (
        b"",
        spki[:-1],
        spki + b"\0",
        *(spki[:at] + bytes([spki[at] ^ 1]) + spki[at + 1 :] for at in range(27)),
    ):
        assert keys.p256_point(other) is None


@pytest.mark.parametrize(
    "spki",
    [
        rsa_spki((1 << 1022) | 1, 65537),  # too small
        rsa_spki((1 << 8192) | 1, 65537),  # too large
        rsa_spki((1 << 2047) | 2, 65537),  # even
        rsa_spki(-((1 << 2047) | 1), 65537),
        rsa_spki((1 << 2047) | 1, 1),
        rsa_spki((1 << 2047) | 1, 65536),
        rsa_spki((1 << 2047) | 1, (1 << 33) | 1),
        der.sequence(P256, der.bit_string(b"\x04" + bytes(64))),  # not on the curve
        der.sequence(P256, der.bit_string(b"\x00")),
        der.sequence(P256, der.bit_string(b"")),
        der.sequence(P256, der.bit_string(b"\x06" + bytes(64))),
        spki_of(generate_key("P-256")).replace(der.oid("1.2.840.10045.3.1.7"), der.oid("1.2.840.10045.3.1.1")),
        der.sequence(der.sequence(der.oid("1.2.840.10045.2.1"), der.sequence()), der.bit_string(b"\x04")),
        der.sequence(der.sequence(der.oid("1.2.840.10045.2.1")), der.bit_string(b"\x04")),
        der.sequence(der.sequence(der.oid("1.3.101.112")), der.bit_string(b"short")),
        der.sequence(der.sequence(der.oid("1.3.101.112"), der.null()), der.bit_string(bytes(32))),
        der.sequence(der.sequence(der.oid("1.2.840.10040.4.1")), der.bit_string(bytes(32))),  # DSA
    ],
)
def test_a_key_that_nothing_can_work_with_is_refused(spki: bytes) -> None:
    with pytest.raises(UnusableKey):
        keys.read_key(der.read(spki))


@pytest.mark.parametrize(
    "spki",
    [
        der.integer(1),
        der.sequence(P256),
        der.sequence(P256, der.bit_string(b"\x00", 1)),
        rsa_spki((1 << 2047) | 1, 3, der.sequence(der.oid("1.2.840.113549.1.1.1"), der.integer(1))),
        der.sequence(RSA_ALGORITHM, der.bit_string(b"")),
        der.sequence(der.sequence(der.oid("1.2"), der.null(), der.null()), der.bit_string(b"")),
        der.sequence(der.sequence(der.oid("1.2"), der.octet_string(bytes(512))), der.bit_string(b"")),
    ],
)
def test_what_is_no_public_key_is_refused(spki: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        keys.read_key(der.read(spki))


@given(st.sampled_from([spki_of(EC_KEY), spki_of(RSA_KEY)]), st.integers(0, 400), st.integers(0, 255))
def test_a_mutated_key_is_read_or_refused(spki: bytes, position: int, octet: int) -> None:
    mutated = bytearray(spki)
    mutated[position % len(mutated)] = octet
    try:
        keys.read_key(der.read(bytes(mutated)))
    except (der.MalformedDer, UnusableKey):
        return


def test_the_shape_of_an_unknown_key_is_refused() -> None:
    for key in (x25519.X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())):
        with pytest.raises(UnusableKey):
            keys.key_shape(key.public_key())


def verify(algorithm: bytes, signature: bytes, *, allow_sha1: bool = False) -> None:
    key = RSA_KEY.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    keys.verify(key, der.read(algorithm), signature, b"data", allow_sha1=allow_sha1)


def rsa_pss(digest: hashes.HashAlgorithm, salt: int) -> bytes:
    assert isinstance(RSA_KEY, rsa.RSAPrivateKey)
    return RSA_KEY.sign(b"data", padding.PSS(padding.MGF1(digest), salt), digest)


def test_pss_parameters_are_heeded() -> None:
    fields = (der.tlv(0xA0, SHA256), der.tlv(0xA1, der.sequence(der.oid(MGF1), SHA256)))
    signature = rsa_pss(hashes.SHA256(), 32)
    verify(pss(*fields, der.tlv(0xA2, der.integer(32))), signature)
    with pytest.raises(BadSignature):
        verify(pss(*fields), signature)  # the default salt is 20


def test_pss_defaults_are_sha1_and_refused() -> None:
    signature = rsa_pss(hashes.SHA1(), 20)  # noqa: S303 - the default of RFC 4055
    with pytest.raises(UnusableSignature):
        verify(pss(), signature)
    with pytest.raises(UnusableSignature):
        verify(pss(der.tlv(0xA0, SHA256)), signature)
    verify(pss(), signature, allow_sha1=True)


@pytest.mark.parametrize(
    "algorithm",
    [
        pss(der.tlv(0xA0, der.sequence(der.oid("1.2.3")))),
        pss(der.tlv(0xA0, SHA256), der.tlv(0xA1, der.sequence(der.oid("1.2.3"), SHA256))),
        pss(der.tlv(0xA0, SHA256), der.tlv(0xA1, der.sequence(der.oid(MGF1)))),
        pss(der.tlv(0xA2, der.integer(-1))),
        pss(der.tlv(0xA2, der.integer(100000))),
        der.sequence(der.oid("1.2.3")),
    ],
)
def test_an_algorithm_that_is_not_accepted_is_refused(algorithm: bytes) -> None:
    with pytest.raises(UnusableSignature):
        verify(algorithm, b"")


@pytest.mark.parametrize(
    "algorithm", [der.sequence(der.oid("1.2.840.113549.1.1.10")), pss(der.tlv(0xA0, b"")), der.null()]
)
def test_an_algorithm_that_cannot_be_read_is_refused(algorithm: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        verify(algorithm, b"")


def test_a_salt_that_does_not_fit_the_key_is_no_signature() -> None:
    fields = (
        der.tlv(0xA0, SHA256),
        der.tlv(0xA1, der.sequence(der.oid(MGF1), SHA256)),
        der.tlv(0xA2, der.integer(512)),
    )
    with pytest.raises(BadSignature):
        verify(pss(*fields), bytes(256))
