from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from ca.ceremony import generate_key
from ca.csr import (
    BadProof,
    MalformedCsr,
    Proof,
    RequestedAttribute,
    RequestedExtension,
    UnsupportedKey,
    UnsupportedSignature,
    parse_csr,
    parse_keyless,
    parse_with_secret,
    with_generated_key,
)
from ca.names import DistinguishedName, DnsName
from tests.ca.requests import (
    ECDSA_SHA256,
    KEY,
    PKCS9_EXTENSIONS,
    VERISIGN_EXTENSIONS,
    attribute,
    challenge,
    extension,
    extensions,
    names,
    request,
)
from tests.fakes.issuer import spki_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

Digest = hashes.SHA256 | hashes.SHA384 | hashes.SHA512
DNS = der.tlv(0x82, b"Pump-17.test")


def built(key: CertificateIssuerPrivateKeyTypes, digest: Digest | None, *, pss: bool = False) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(DistinguishedName.from_text("CN=Pump 17").to_x509())
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("pump-17.test")]), critical=False)
    extra = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH) if pss and digest else None
    return builder.sign(key, digest, rsa_padding=extra).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("P-256", "ec:P-256"),
        ("P-384", "ec:P-384"),
        ("P-521", "ec:P-521"),
        ("rsa:2048", "rsa:2048"),
        ("rsa:3072", "rsa:3072"),
        ("ed25519", "ed25519"),
    ],
)
def test_a_request_is_read_completely(kind: str, shape: str) -> None:
    key = generate_key(kind)
    data = built(key, None if kind == "ed25519" else hashes.SHA256())
    csr = parse_csr(data)
    assert csr.der == data
    assert csr.subject == DistinguishedName.from_text("CN=Pump 17")
    assert csr.names == (DnsName("pump-17.test"),)
    assert str(csr.key_shape) == shape
    assert csr.spki == spki_of(key)
    assert csr.key == key.public_key()
    assert [extension.oid for extension in csr.extensions] == ["2.5.29.17"]
    assert (csr.attributes, csr.challenge_password, csr.proof) == ((), None, Proof.SIGNATURE)


@pytest.mark.parametrize("digest", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
@pytest.mark.parametrize("pss", [True, False])
def test_every_hash_and_padding_is_verified(digest: Digest, pss: bool) -> None:  # noqa: FBT001 - a parameter
    for key in (generate_key("rsa:2048"), KEY):
        rsa_padding = pss and isinstance(key, rsa.RSAPrivateKey)
        assert parse_csr(built(key, digest, pss=rsa_padding)).key == key.public_key()


def test_extensions_and_attributes_keep_their_order_and_octets() -> None:
    data = request(
        attribute("1.2.3", der.utf8("x"), der.integer(1)),
        extensions(
            extension("2.5.29.15", b"\x03\x02\x05\xa0", der.boolean(True)),  # noqa: FBT003 - a BOOLEAN
            extension("1.3.6.1.4.1.311.20.2", b"not DER at all", der.boolean(False)),  # noqa: FBT003 - a BOOLEAN
            names(DNS),
        ),
    )
    csr = parse_csr(data)
    assert csr.extensions == (
        RequestedExtension("2.5.29.15", critical=True, value=b"\x03\x02\x05\xa0"),
        RequestedExtension("1.3.6.1.4.1.311.20.2", critical=False, value=b"not DER at all"),
        RequestedExtension("2.5.29.17", critical=False, value=der.sequence(DNS)),
    )
    assert csr.attributes == (RequestedAttribute("1.2.3", (der.integer(1), der.utf8("x"))),)


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (der.printable("hunter2"), "hunter2"),
        (der.utf8("hünter2"), "hünter2"),
        (der.ia5("hunter@2"), "hunter@2"),
        (der.tlv(der.BMP_STRING, "hünter2".encode("utf-16-be")), "hünter2"),
        (der.tlv(der.T61_STRING, b"h\xfcnter2"), "hünter2"),
    ],
)
def test_the_challenge_password_may_be_any_string_type(encoded: bytes, text: str) -> None:
    assert parse_csr(request(challenge(encoded))).challenge_password == text


def test_attributes_may_be_unsorted_as_strongswan_sends_them() -> None:
    one, other = challenge(der.printable("secret")), extensions(names(DNS))
    for attributes in ((one, other), (other, one)):
        csr = parse_csr(request(*attributes))
        assert csr.challenge_password == "secret"
        assert csr.names == (DnsName("pump-17.test"),)


def test_extensions_may_come_in_verisigns_attribute() -> None:
    assert parse_csr(request(extensions(names(DNS), kind=VERISIGN_EXTENSIONS))).names == (DnsName("pump-17.test"),)


def test_there_may_be_no_attributes_or_empty_ones() -> None:
    info = der.sequence(der.integer(0), der.sequence(), spki_of(KEY))
    assert isinstance(KEY, ec.EllipticCurvePrivateKey)
    signature = KEY.sign(info, ec.ECDSA(hashes.SHA256()))
    csr = parse_csr(der.sequence(info, ECDSA_SHA256, der.bit_string(signature)))
    assert (csr.subject, csr.names, csr.extensions) == (DistinguishedName(), (), ())
    assert parse_csr(request(extensions())).extensions == ()


def test_repeated_names_are_kept_for_the_policy_to_see() -> None:
    assert len(parse_csr(request(extensions(names(DNS, DNS)))).names) == 2


@pytest.mark.parametrize(
    "attributes",
    [
        (extensions(), extensions()),
        (extensions(), extensions(kind=VERISIGN_EXTENSIONS)),
        (extensions(names(DNS), names(DNS)),),
        (extensions(extension("1.2.3", b""), extension("1.2.3", b"")),),
        (challenge(der.utf8("a")), challenge(der.utf8("b"))),
        (attribute("1.2.840.113549.1.9.7"),),
        (attribute("1.2.840.113549.1.9.7", der.utf8("a"), der.utf8("b")),),
        (attribute(PKCS9_EXTENSIONS),),
        (attribute(PKCS9_EXTENSIONS, der.sequence(), der.sequence()),),
        (challenge(der.integer(1)),),
        (extensions(names()),),
        (extensions(names(der.tlv(0xA3, b""))),),
        (extensions(names(DNS, der.tlv(0x82, b"a..b"))),),
        (extensions(extension("1.2.3", b"", b"\x01\x01\x01")),),
        (extensions(der.sequence(der.oid("1.2.3"))),),
        (extensions(der.sequence(der.oid("1.2.3"), der.boolean(True), der.boolean(True), der.octet_string(b""))),),  # noqa: FBT003
        (extensions(der.sequence(der.integer(1), der.octet_string(b""))),),
        (extensions(der.sequence(der.oid("1.2.3"), der.utf8("x"))),),
        (der.sequence(der.oid("1.2.3")),),
        (der.sequence(der.oid("1.2.3"), der.set_of(), der.null()),),
        (der.sequence(der.oid("1.2.3"), der.sequence()),),
        (der.tlv(der.SET, der.oid("1.2.3"), der.set_of()),),
        (extensions(der.tlv(der.SET, der.oid("1.2.3"), der.octet_string(b""))),),
        (der.sequence(der.integer(1), der.set_of()),),
        (der.integer(1),),
    ],
)
def test_what_is_there_twice_or_not_understood_is_refused(attributes: tuple[bytes, ...]) -> None:
    with pytest.raises(MalformedCsr):
        parse_csr(request(*attributes))


INFO, *PROOF = der.pieces(request())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        der.sequence(INFO, PROOF[0]),
        der.sequence(INFO, *PROOF, der.null()),
        der.sequence(der.sequence(*der.pieces(INFO)[:2]), *PROOF),
        der.sequence(der.sequence(*der.pieces(INFO), der.null()), *PROOF),
        b"-----BEGIN CERTIFICATE REQUEST-----",
        request() + b"\x00",
        request()[:-1],
        b"\x30\x80" + request()[4:] + b"\x00\x00",
        request(version=der.integer(1)),
        request(version=der.utf8("0")),
        request(subject=der.set_of()),
        request(subject=der.sequence(der.set_of(der.sequence(der.oid("2.5.4.3"), der.utf8("a\x00b"))))),
        request(signature=der.bit_string(b"\x00", 1)),
        request(signature=der.octet_string(b"")),
        request(algorithm=der.sequence()),
        request(challenge(der.utf8("x" * 65536))),
    ],
)
def test_what_is_no_certification_request_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedCsr) as refusal:
        parse_csr(data)
    assert type(refusal.value) is MalformedCsr


@pytest.mark.parametrize("parse", [parse_csr, parse_with_secret])
def test_a_request_signed_with_another_key_is_no_proof(parse: Callable[[bytes], object]) -> None:
    with pytest.raises(BadProof):
        parse(request(spki=spki_of(generate_key("P-256"))))


def test_a_changed_request_is_no_proof() -> None:
    with pytest.raises(BadProof):
        parse_csr(request(extensions(names(DNS))).replace(b"Pump-17", b"Pump-18"))


def test_a_signature_of_another_kind_of_key_is_no_proof() -> None:
    with pytest.raises(BadProof):
        parse_csr(request(spki=spki_of(generate_key("ed25519"))))


@pytest.mark.parametrize(
    ("digest", "algorithm", "allowed"),
    [(hashes.SHA1(), "1.2.840.113549.1.1.5", "allow_sha1"), (hashes.MD5(), "1.2.840.113549.1.1.4", "allow_md5")],  # noqa: S303 - what old devices do
    ids=["SHA-1", "MD5"],
)
def test_a_weak_hash_is_refused_unless_it_is_allowed(
    digest: hashes.SHA1 | hashes.MD5, algorithm: str, allowed: str
) -> None:
    key = generate_key("rsa:2048")
    assert isinstance(key, rsa.RSAPrivateKey)
    info = der.sequence(der.integer(0), der.sequence(), spki_of(key), der.tlv(0xA0))
    signature = key.sign(info, padding.PKCS1v15(), digest)
    data = der.sequence(info, der.sequence(der.oid(algorithm), der.null()), der.bit_string(signature))
    others = {"allow_sha1": True, "allow_md5": True} | {allowed: False}
    for parse in (parse_csr, parse_with_secret):
        with pytest.raises(UnsupportedSignature):
            parse(data, **others)
        parse(data, **{allowed: True})


def test_an_unknown_signature_algorithm_is_refused() -> None:
    with pytest.raises(UnsupportedSignature):
        parse_csr(request(algorithm=der.sequence(der.oid("1.2.840.113549.1.1.2"), der.null())))


def test_a_key_that_nothing_can_work_with_is_refused() -> None:
    with pytest.raises(UnsupportedKey):
        parse_csr(request(spki=der.sequence(der.sequence(der.oid("1.2.3")), der.bit_string(b""))))


def test_a_key_that_the_server_made_takes_the_place_of_any_other() -> None:
    """RFC 7030 section 4.4.1: the key and the signature of the request are not looked at."""
    nothing = request(
        extensions(names(DNS)), challenge(der.utf8("secret")), spki=der.null(), signature=der.bit_string(b"")
    )
    first, second = spki_of(KEY), spki_of(generate_key("rsa:2048"))
    csr = parse_keyless(nothing, first)
    assert (csr.spki, csr.key, csr.proof) == (first, KEY.public_key(), Proof.SERVER_GENERATED)
    assert (csr.names, csr.challenge_password) == ((DnsName("pump-17.test"),), "secret")
    bare = replace(csr, challenge_password=None)
    assert with_generated_key(bare, second) == replace(parse_keyless(nothing, second), challenge_password=None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        request() + b"\x00",
        der.sequence(INFO, PROOF[0]),
        der.sequence(INFO, *PROOF, der.null()),
        der.sequence(der.sequence(*der.pieces(INFO)[:2]), *PROOF),
        der.sequence(der.sequence(*der.pieces(INFO), der.null()), *PROOF),
        request(spki=der.octet_string(bytes(65536))),
        request(attribute("1.2.3", der.octet_string(bytes(65536)))),
    ],
)
def test_what_is_no_certification_request_gets_no_key_of_the_servers(data: bytes) -> None:
    with pytest.raises(MalformedCsr):
        parse_keyless(data, spki_of(KEY))


@given(st.binary(max_size=400))
def test_any_octets_are_refused_with_the_one_exception(data: bytes) -> None:
    with pytest.raises(MalformedCsr):
        parse_csr(data)


GOOD = request(
    challenge(der.printable("secret")),
    attribute("1.2.3", der.utf8("x")),
    extensions(
        extension("2.5.29.15", b"\x03\x02\x05\xa0", der.boolean(True)),  # noqa: FBT003 - a BOOLEAN
        names(
            DNS,
            der.tlv(0x87, b"\xc0\x00\x02\x01"),
            der.tlv(0x81, b"a@b.test"),
            der.tlv(0x86, b"spiffe://a/b"),
            der.tlv(0x88, b"\x2a\x03"),
            der.tlv(0xA4, der.sequence()),
            der.tlv(0xA0, der.oid("1.2.3"), der.tlv(0xA0, der.utf8("x"))),
        ),
    ),
)


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_mutated_request_is_refused_or_the_same(changes: list[tuple[int, int]]) -> None:
    mutated = bytearray(GOOD)
    for position, octet in changes:
        mutated[position] = octet
    try:
        csr = parse_csr(bytes(mutated))
    except MalformedCsr:
        return
    assert (csr.names, csr.subject) == (parse_csr(GOOD).names, parse_csr(GOOD).subject)


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=8))
def test_a_request_with_a_piece_exchanged_is_refused_or_the_same(start: int, end: int, piece: bytes) -> None:
    try:
        csr = parse_csr(GOOD[:start] + piece + GOOD[end:])
    except MalformedCsr:
        return
    assert csr == parse_csr(GOOD)
