"""What the algorithms of CMS are called, how they are written, and how they are read."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ca import der
from server.cms.algorithms import (
    PKCS1,
    RSA_ENCRYPTION,
    RSA_IDENTIFIER,
    RSAES_OAEP,
    RSASSA_PSS,
    AlgorithmIdentifier,
    Cipher,
    Digest,
    KeyTransport,
    UnsupportedAlgorithm,
    cipher_of,
    digest_of,
    pss_of,
    read_identifier,
    signature_digest,
    transport_of,
)
from tests.server.scep.device import indefinite

MGF1 = "1.2.840.113549.1.1.8"
SHA = {
    Digest.MD5: "md5",
    Digest.SHA1: "sha1",
    Digest.SHA256: "sha256",
    Digest.SHA384: "sha384",
    Digest.SHA512: "sha512",
}


@pytest.mark.parametrize("digest", Digest)
def test_a_digest_is_known_by_its_identifiers_and_makes_what_hashlib_makes(digest: Digest) -> None:
    assert digest.digest(b"abc") == hashlib.new(SHA[digest], b"abc", usedforsecurity=False).digest()
    assert digest.hash.name == SHA[digest]
    assert digest.identifier() == der.sequence(der.oid(digest.oid))
    assert digest_of(AlgorithmIdentifier(digest.oid, b"\x05\x00")) is digest
    named = {digest.rsa_oid, digest.ecdsa_oid} - {""}
    assert {signature_digest(AlgorithmIdentifier(oid, b"")) for oid in named} == {digest}


def test_what_names_no_digest_leaves_it_open_and_what_is_not_known_is_refused_by_name() -> None:
    assert signature_digest(AlgorithmIdentifier(RSA_ENCRYPTION, b"")) is None
    assert signature_digest(AlgorithmIdentifier("", b"")) is None  # MD5 has no name with ECDSA
    with pytest.raises(UnsupportedAlgorithm, match="SHA-224"):
        digest_of(AlgorithmIdentifier("2.16.840.1.101.3.4.2.4", b""))
    with pytest.raises(UnsupportedAlgorithm, match="RC4"):
        cipher_of(AlgorithmIdentifier("1.2.840.113549.3.4", b""))


@pytest.mark.parametrize("cipher", Cipher)
def test_a_cipher_takes_keys_of_its_own_length(cipher: Cipher) -> None:
    assert cipher_of(AlgorithmIdentifier(cipher.oid, b"")) is cipher
    keyed = cipher.keyed(bytes(range(cipher.key_octets)))
    assert keyed.block_size == cipher.block_octets * 8
    assert keyed.key_size == (192 if cipher in {Cipher.DES, Cipher.DES3} else cipher.key_octets * 8)


def test_an_algorithm_identifier_is_one_or_two_elements_in_der_or_ber() -> None:
    whole = der.sequence(der.oid("1.2.3"), der.sequence(der.null()))
    for encoded in (whole, indefinite(whole, 9)):
        found = read_identifier(der.read(encoded, ber=True))
        assert found.oid == "1.2.3"
        assert der.definite(der.read(found.parameters, ber=True)) == der.sequence(der.null())
    assert read_identifier(der.read(der.sequence(der.oid("1.2.3")))) == AlgorithmIdentifier("1.2.3", b"")
    for parts in ((), (der.oid("1.2.3"), der.null(), der.null()), (der.null(),)):
        with pytest.raises(der.MalformedDer):
            read_identifier(der.read(der.sequence(*parts)))
    with pytest.raises(der.MalformedDer):
        read_identifier(der.read(der.set_of(der.oid("1.2.3"))))


def oaep(*fields: bytes) -> AlgorithmIdentifier:
    return AlgorithmIdentifier(RSAES_OAEP, der.sequence(*fields))


def with_null(digest: Digest) -> bytes:
    return der.sequence(der.oid(digest.oid), der.null())


def test_defaults_of_oaep_are_not_written_and_all_else_is_read_again() -> None:
    hashed, masked = der.tlv(0xA0, with_null(Digest.SHA256)), der.sequence(der.oid(MGF1), with_null(Digest.SHA512))
    for digests, fields in (
        ((Digest.SHA1, Digest.SHA1), ()),
        ((Digest.SHA256, Digest.SHA1), (hashed,)),
        ((Digest.SHA1, Digest.SHA512), (der.tlv(0xA1, masked),)),
        ((Digest.SHA256, Digest.SHA512), (hashed, der.tlv(0xA1, masked))),
    ):
        transport = KeyTransport(digests)
        assert transport.identifier() == der.sequence(der.oid(RSAES_OAEP), der.sequence(*fields))
        assert transport_of(oaep(*fields)) == transport
        written = transport.padding()
        assert isinstance(written, padding.OAEP)
        assert (written.algorithm.name, written.mgf._algorithm.name) == tuple(SHA[each] for each in digests)
    assert (PKCS1.identifier(), transport_of(AlgorithmIdentifier(RSA_ENCRYPTION, b"\x05\x00"))) == (
        RSA_IDENTIFIER,
        PKCS1,
    )
    in_ber = AlgorithmIdentifier(RSAES_OAEP, indefinite(der.sequence(hashed, der.tlv(0xA1, masked)), 9))
    assert transport_of(in_ber) == KeyTransport((Digest.SHA256, Digest.SHA512))


def test_an_oaep_label_is_refused_unless_it_is_empty() -> None:
    specified, other = der.oid("1.2.840.113549.1.1.9"), der.oid("1.2.3")
    for source in (der.sequence(specified), der.sequence(specified, der.octet_string(b""))):
        assert transport_of(oaep(der.tlv(0xA2, source))) == KeyTransport((Digest.SHA1, Digest.SHA1))
    for source in (der.sequence(specified, der.octet_string(b"x")), der.sequence(other, der.octet_string(b""))):
        with pytest.raises(UnsupportedAlgorithm):
            transport_of(oaep(der.tlv(0xA2, source)))


def test_an_unknown_field_of_oaep_is_malformed_though_it_looks_like_a_label() -> None:
    with pytest.raises(der.MalformedDer):
        transport_of(oaep(der.tlv(0xA7, der.sequence(der.oid("1.2.840.113549.1.1.9"), der.octet_string(b"")))))


def test_md5_is_refused_inside_of_oaep_and_pss_wherever_it_stands() -> None:
    hashed, masked = der.tlv(0xA0, with_null(Digest.MD5)), der.sequence(der.oid(MGF1), with_null(Digest.MD5))
    for field in (hashed, der.tlv(0xA1, masked)):
        with pytest.raises(UnsupportedAlgorithm, match="MD5"):
            transport_of(oaep(field))
        with pytest.raises(UnsupportedAlgorithm, match="MD5"):
            pss_of(AlgorithmIdentifier(RSASSA_PSS, der.sequence(field)))


def test_the_salt_of_pss_is_twenty_octets_unless_it_is_said_and_512_at_most() -> None:
    def salt(*fields: bytes) -> object:
        return pss_of(AlgorithmIdentifier(RSASSA_PSS, der.sequence(*fields)))[1]._salt_length

    assert salt() == 20
    for octets in (0, 32, 512):
        assert salt(der.tlv(0xA2, der.integer(octets)), der.tlv(0xA3, der.integer(1))) == octets
    for field in (
        der.tlv(0xA2, der.integer(513)),
        der.tlv(0xA2, der.integer(-1)),
        der.tlv(0xA2, der.octet_string(b"\x20")),
        der.tlv(0xA3, der.integer(2)),
        der.tlv(0xA4, der.integer(1)),
    ):
        with pytest.raises(der.MalformedDer):
            salt(field)


def test_the_digests_of_pss_are_that_of_the_message_and_that_of_the_mask() -> None:
    hashed, masked = der.tlv(0xA0, with_null(Digest.SHA256)), der.sequence(der.oid(MGF1), with_null(Digest.SHA384))
    digest, scheme = pss_of(AlgorithmIdentifier(RSASSA_PSS, der.sequence(hashed, der.tlv(0xA1, masked))))
    assert (digest, scheme._mgf._algorithm.name) == (Digest.SHA256, "sha384")
    other = der.tlv(0xA1, der.sequence(der.oid("1.2.3"), with_null(Digest.SHA256)))
    with pytest.raises(UnsupportedAlgorithm, match="mask"):
        pss_of(AlgorithmIdentifier(RSASSA_PSS, der.sequence(other)))


@pytest.mark.parametrize("bits", [1025, 1032])
@pytest.mark.parametrize(
    "transport", [PKCS1, KeyTransport((Digest.SHA1, Digest.SHA256)), KeyTransport((Digest.SHA256, Digest.SHA1))]
)
def test_what_a_key_of_odd_length_holds_is_what_can_be_encrypted_with_it(bits: int, transport: KeyTransport) -> None:
    key = rsa.generate_private_key(65537, bits).public_key()
    for octets in range(50, 130):
        try:
            key.encrypt(bytes(octets), transport.padding())
        except ValueError:
            assert not transport.holds(key, octets)
        else:
            assert transport.holds(key, octets)
