from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from server.cms.algorithms import RSASSA_PSS, AlgorithmIdentifier, Digest, MalformedCms, UnsupportedAlgorithm
from server.cms.certificates import DATA, SIGNED_DATA, content_info
from server.cms.signed import (
    BadSignature,
    load_signer_key,
    message_digest_algorithm,
    read_signed,
    verify,
    verify_unsigned,
)
from server.cms.signing import attribute, signed_attributes, write_signed
from tests.server.scep.device import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    NOW,
    Message,
    bag,
    common_name,
    indefinite,
    rsa_key,
    self_signed,
    spki,
)
from tests.wire.running import require_program

if TYPE_CHECKING:
    from pathlib import Path

KEY = rsa_key()
CERTIFICATE = self_signed(KEY)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
GOOD = Message(b"hello", KEY, CERTIFICATE).encode()


def message(**changes: Any) -> Message:
    return Message(**{"content": b"hello", "key": KEY, "certificate": CERTIFICATE, **changes})


def check(encoded: bytes) -> None:
    signed = read_signed(encoded)
    signer = signed.signer_certificate()
    assert signer is not None
    verify(signed, load_signer_key(signer.spki))


def pss(digest: Digest, salt: int = 32) -> bytes:
    inner = der.sequence(der.oid(digest.oid), der.null())
    mgf = der.sequence(der.oid("1.2.840.113549.1.1.8"), inner)
    fields = der.tlv(0xA0, inner), der.tlv(0xA1, mgf), der.tlv(0xA2, der.integer(salt)), der.tlv(0xA3, der.integer(1))
    return der.sequence(der.oid(RSASSA_PSS), der.sequence(*fields))


@pytest.mark.parametrize("digest", Digest)
def test_an_rsa_signature_verifies_under_both_names_of_its_algorithm(digest: Digest) -> None:
    check(message(digest=digest).encode())
    check(message(digest=digest, algorithm=der.sequence(der.oid(digest.rsa_oid), der.null())).encode())


def test_a_pss_signature_verifies() -> None:
    check(message(pss=True, algorithm=pss(Digest.SHA256)).encode())


@pytest.mark.parametrize(
    "algorithm",
    [
        pss(Digest.SHA512),
        pss(Digest.SHA256, 1000),
        pss(Digest.SHA256, -1),
        der.sequence(der.oid(RSASSA_PSS)),
        der.sequence(der.oid(RSASSA_PSS), der.sequence(der.tlv(0xA3, der.integer(2)))),
        der.sequence(der.oid(RSASSA_PSS), der.sequence(der.tlv(0xA0, der.null(), der.null()))),
        der.sequence(der.oid(RSASSA_PSS), der.null()),
    ],
)
def test_pss_parameters_that_contradict_the_message_are_a_bad_signature(algorithm: bytes) -> None:
    with pytest.raises(BadSignature):
        check(message(pss=True, algorithm=algorithm).encode())


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_an_ecdsa_signature_verifies(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    check(message(key=key, certificate=self_signed(key)).encode())
    named_by_key = der.sequence(der.oid("1.2.840.10045.2.1"))
    check(message(key=key, certificate=self_signed(key), algorithm=named_by_key).encode())


def test_attributes_may_be_sent_and_signed_unsorted() -> None:
    check(message(sort=False).encode())
    assert not read_signed(message(sort=False).encode()).signer.is_sorted
    assert read_signed(message().encode()).signer.is_sorted


def test_attributes_may_be_sent_unsorted_and_signed_sorted() -> None:
    check(message(sort=False, sign_sorted=True).encode())


def test_the_signer_may_be_named_by_its_key_identifier(ra_certificate: bytes) -> None:
    certificate, key = ra_certificate, rsa_key("ra")
    identifier = bag(certificate).key_identifier
    assert identifier is not None
    other = self_signed(rsa_key("other"), "other")
    check(message(key=key, certificate=certificate, key_identifier=identifier, extra_certificates=(other,)).encode())
    unknown = message(key=key, certificate=certificate, key_identifier=b"x", extra_certificates=(other,)).encode()
    assert read_signed(unknown).signer_certificate() is None


def test_the_only_certificate_is_taken_when_its_name_was_encoded_anew() -> None:
    signed = read_signed(message().encode())
    assert signed.signer_certificate() is not None
    check(message(certificate=CERTIFICATE, key_identifier=b"nobody").encode())


def test_the_certificate_is_chosen_by_the_signer_and_not_by_its_place() -> None:
    other = self_signed(rsa_key("other"), "other")
    signed = read_signed(message(extra_certificates=(other,)).encode())
    assert [certificate.der for certificate in signed.certificates] == [CERTIFICATE, other]
    assert signed.signer_certificate() == bag(CERTIFICATE)
    last = read_signed(structure(ONE, EMPTY, NOTHING, der.tlv(0xA0, other, CERTIFICATE), a_signer()))
    assert last.signer_certificate() == bag(CERTIFICATE)


@pytest.mark.parametrize("missing", [CONTENT_TYPE, MESSAGE_DIGEST])
def test_a_missing_mandatory_attribute_is_a_bad_signature(missing: str) -> None:
    with pytest.raises(BadSignature):
        check(message(omitted=frozenset({missing})).encode())


@pytest.mark.parametrize("repeated", [CONTENT_TYPE, MESSAGE_DIGEST])
def test_an_attribute_that_is_there_twice_is_malformed(repeated: str) -> None:
    with pytest.raises(MalformedCms):
        read_signed(message(repeated=frozenset({repeated})).encode())


@pytest.mark.parametrize("signers", [0, 2])
def test_any_other_number_of_signers_than_one_is_malformed(signers: int) -> None:
    with pytest.raises(MalformedCms, match="exactly one signer"):
        read_signed(message(signers=signers).encode())


def test_another_content_type_than_signed_is_a_bad_signature() -> None:
    with pytest.raises(BadSignature, match="content type"):
        check(message(content_type="1.2.840.113549.1.7.3").encode())


def test_a_changed_signature_is_a_bad_signature() -> None:
    with pytest.raises(BadSignature, match="does not verify"):
        check(message(spoil=True).encode())


@pytest.mark.parametrize(
    ("key", "other", "how"),
    [
        (KEY, rsa_key("other"), {}),
        (KEY, rsa_key("other"), {"pss": True, "algorithm": pss(Digest.SHA256)}),
        (EC_KEY, ec.generate_private_key(ec.SECP256R1()), {}),
        (EC_KEY, ec.generate_private_key(ec.SECP384R1()), {}),
    ],
    ids=["RSA", "PSS", "ECDSA", "ECDSA with another curve"],
)
def test_a_signature_of_each_kind_that_is_changed_or_of_another_key_is_a_bad_signature(
    key: Any, other: Any, how: dict[str, Any]
) -> None:
    signed = read_signed(message(key=key, certificate=self_signed(key), **how).encode())
    verify(signed, key.public_key())
    with pytest.raises(BadSignature, match="does not verify"):
        verify(signed, other.public_key())
    with pytest.raises(BadSignature, match="does not verify"):
        check(message(key=key, certificate=self_signed(key), spoil=True, **how).encode())


def test_a_pss_signature_by_a_weaker_digest_than_the_message_names_is_a_bad_signature_though_it_holds() -> None:
    fields = parts_of_a_signer()
    scheme = padding.PSS(padding.MGF1(Digest.SHA1.hash), 20)
    signature = KEY.sign(der.tlv(der.SET, der.read(fields[3]).content), scheme, Digest.SHA1.hash)
    weaker = der.sequence(der.oid(RSASSA_PSS))  # what PSS names when it names nothing
    signer = der.sequence(*fields[:4], weaker, der.octet_string(signature))
    content = der.sequence(der.oid(DATA), der.tlv(0xA0, der.octet_string(b"hello")))
    with pytest.raises(BadSignature, match="contradict"):
        verify(read_signed(structure(ONE, EMPTY, content, der.tlv(der.SET, signer))), KEY.public_key())


def test_the_digest_is_that_which_the_signer_names() -> None:
    assert message_digest_algorithm(read_signed(message(digest=Digest.SHA512).encode())) is Digest.SHA512


def test_a_message_in_ber_all_through_is_the_same_message() -> None:
    signed = read_signed(indefinite(message().encode(), 99))
    verify(signed, KEY.public_key())
    signer = signed.signer_certificate()
    assert signed.content == b"hello"
    assert signer is not None
    assert (signer.version, der.definite(der.read(signer.spki, ber=True))) == (3, spki(KEY))


def test_a_key_identifier_in_pieces_is_one_and_another_tag_none() -> None:
    fields = parts_of_a_signer()
    for sid in (der.tlv(0x80, b"somebody"), der.tlv(0xA0, der.octet_string(b"some"), der.octet_string(b"body"))):
        assert read_signed(with_signer(fields[0], sid, *fields[2:])).signer.key_identifier == b"somebody"
    with pytest.raises(MalformedCms):
        read_signed(with_signer(fields[0], der.tlv(0x81, b"somebody"), *fields[2:]))


def test_a_changed_content_is_a_bad_signature() -> None:
    with pytest.raises(BadSignature, match="digest"):
        check(message().encode().replace(b"hello", b"hallo"))


def test_an_absent_content_has_the_digest_of_nothing() -> None:
    check(message(content=None).encode())
    check(message(content=b"").encode())


def test_a_digest_that_the_signature_algorithm_contradicts_is_a_bad_signature() -> None:
    with pytest.raises(BadSignature, match="contradict"):
        check(message(algorithm=der.sequence(der.oid(Digest.SHA512.rsa_oid), der.null())).encode())


def test_md2_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedAlgorithm, match="MD2"):
        check(message(digest_oid="1.2.840.113549.2.2").encode())


def test_a_signature_algorithm_of_another_kind_than_the_key_is_unsupported() -> None:
    with pytest.raises(UnsupportedAlgorithm):
        check(message(algorithm=der.sequence(der.oid(Digest.SHA256.ecdsa_oid))).encode())
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(UnsupportedAlgorithm):
        check(message(key=key, certificate=self_signed(key), algorithm=der.sequence(der.oid("1.2.3"))).encode())


def structure(*parts: bytes) -> bytes:
    return content_info(SIGNED_DATA, der.sequence(*parts))


ONE, EMPTY, NOTHING = der.integer(1), der.tlv(der.SET), der.sequence(der.oid(DATA))


def parts_of_a_signer() -> list[bytes]:
    signed = der.children(der.children(der.read(GOOD))[1])[0]
    return [field.raw for field in der.children(der.children(der.children(signed)[4])[0])]


def a_signer() -> bytes:
    return der.tlv(der.SET, der.sequence(*parts_of_a_signer()))


def with_signer(*fields: bytes) -> bytes:
    return structure(ONE, EMPTY, NOTHING, der.tlv(der.SET, der.sequence(*fields)))


@pytest.mark.parametrize(
    "encoded",
    [
        structure(ONE, EMPTY, NOTHING),
        structure(ONE, EMPTY, NOTHING, der.tlv(0xA5), EMPTY),
        structure(ONE, EMPTY, NOTHING, der.tlv(0xA5), a_signer()),
        structure(ONE, der.null(), NOTHING, a_signer()),
        structure(ONE, EMPTY, der.sequence(), der.tlv(der.SET, der.sequence())),
        structure(ONE, EMPTY, der.sequence(der.oid(DATA), der.tlv(0xA0, der.octet_string(b"")), ONE), a_signer()),
        with_signer(ONE),
        with_signer(*parts_of_a_signer()[:3], *parts_of_a_signer()[4:]),
        with_signer(ONE, der.sequence(), *parts_of_a_signer()[2:]),
        with_signer(*parts_of_a_signer()[:3], der.tlv(0xA0, der.sequence()), *parts_of_a_signer()[4:]),
    ],
)
def test_structures_that_are_no_signed_message_are_malformed(encoded: bytes) -> None:
    with pytest.raises(MalformedCms):
        read_signed(encoded)


def test_crls_and_unsigned_attributes_are_passed_over() -> None:
    signer = der.sequence(*parts_of_a_signer(), der.tlv(0xA1))
    crls = der.tlv(0xA1, der.sequence(der.null()))
    assert read_signed(structure(ONE, EMPTY, NOTHING, crls, der.tlv(der.SET, signer))).certificates == ()
    bags = der.tlv(0xA0, CERTIFICATE), crls
    assert read_signed(structure(ONE, EMPTY, NOTHING, *bags, a_signer())).certificates == (bag(CERTIFICATE),)


def test_certificates_of_other_kinds_are_left_out_of_the_bag() -> None:
    attribute_certificate = der.tlv(0xA2, der.sequence(der.null()))
    kinds = der.tlv(0xA0, attribute_certificate, CERTIFICATE)
    assert read_signed(structure(ONE, EMPTY, NOTHING, kinds, a_signer())).certificates == (bag(CERTIFICATE),)


def verify_attributes(*attributes: bytes) -> None:
    fields = parts_of_a_signer()
    signed = read_signed(with_signer(*fields[:3], der.tlv(0xA0, *attributes), *fields[4:]))
    verify(signed, load_signer_key(spki(KEY)))


@pytest.mark.parametrize("value", [der.tlv(der.SET), der.set_of(der.null(), der.null()), der.set_of(der.null())])
def test_an_attribute_with_other_values_than_one_of_its_kind_is_a_bad_signature(value: bytes) -> None:
    with pytest.raises(BadSignature, match="can't be read"):
        verify_attributes(der.sequence(der.oid(CONTENT_TYPE), value), der.sequence(der.oid(MESSAGE_DIGEST), value))


def test_signed_attributes_that_can_not_be_encoded_anew_are_a_bad_signature() -> None:
    content_type = der.sequence(der.oid(CONTENT_TYPE), der.set_of(der.oid(DATA)))
    digest = der.sequence(der.oid(MESSAGE_DIGEST), der.set_of(der.octet_string(Digest.SHA256.digest(b""))))
    odd = der.sequence(der.oid("1.2.3"), der.tlv(der.SET, der.tlv(0xA0, b"\x1f\x00")))
    with pytest.raises(BadSignature, match="can't be read"):
        verify_attributes(content_type, digest, odd)


def big_key(bits: int, exponent: int = 65537) -> bytes:
    number = der.sequence(der.integer((1 << (bits - 1)) + 1), der.integer(exponent))
    algorithm = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
    return der.sequence(algorithm, der.bit_string(number))


@pytest.mark.parametrize(
    "encoded",
    [
        big_key(16384),
        big_key(65536),
        big_key(512),
        big_key(2048, (1 << 40) + 1),
        big_key(2048, (1 << 33) + 1),
        spki(ed25519.Ed25519PrivateKey.generate()),
        b"",
        der.sequence(),
    ],
    ids=["16384 bits", "65536 bits", "512 bits", "huge exponent", "large exponent", "ed25519", "nothing", "empty"],
)
def test_keys_that_nobody_should_verify_with_are_unsupported(encoded: bytes) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        load_signer_key(encoded)


def test_ordinary_keys_load() -> None:
    assert isinstance(load_signer_key(spki(KEY)), rsa.RSAPublicKey)
    assert isinstance(load_signer_key(big_key(2048, (1 << 32) + 1)), rsa.RSAPublicKey)


def test_a_bag_with_too_many_certificates_is_malformed() -> None:
    assert len(read_signed(message(extra_certificates=(CERTIFICATE,) * 15).encode()).certificates) == 16
    with pytest.raises(MalformedCms, match="too many"):
        read_signed(message(extra_certificates=(CERTIFICATE,) * 16).encode())


@pytest.fixture(scope="module")
def ra_certificate() -> bytes:

    key = rsa_key("ra")
    builder = x509.CertificateBuilder(common_name("CA"), common_name("RA"), key.public_key(), 7)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def written(content: bytes | None) -> bytes:
    attributes = signed_attributes([attribute("1.2.3", der.printable("x"))], content, Digest.SHA256)

    signature = KEY.sign(attributes, padding.PKCS1v15(), hashes.SHA256())
    return write_signed(content, attributes, signature, Digest.SHA256, bag(CERTIFICATE))


@pytest.mark.parametrize("content", [b"hello", b"", None])
def test_what_is_written_is_read_and_verified_by_itself_and_by_asn1crypto(content: bytes | None) -> None:
    encoded = written(content)
    check(encoded)
    assert read_signed(encoded).content == content
    parsed = cms.ContentInfo.load(encoded, strict=True)
    assert parsed.native["content"]["version"] == "v1"
    info = parsed["content"]["signer_infos"][0]
    assert info["signature_algorithm"].native["algorithm"] == "rsassa_pkcs1v15"
    assert parsed["content"]["encap_content_info"]["content"].native == content


def test_openssl_verifies_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "signed.der"
    path.write_bytes(written(b"hello"))
    command = [require_program("openssl"), "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b"hello"


def test_an_algorithm_identifier_is_a_pair() -> None:
    assert read_signed(message().encode()).signer.signature_algorithm == AlgorithmIdentifier(
        "1.2.840.113549.1.1.1", b"\x05\x00"
    )


@given(st.binary(max_size=300))
def test_any_octets_are_read_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedCms):
        read_signed(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_change_of_an_octet_is_malformed_or_refused_or_of_no_consequence(position: int, octet: int) -> None:
    changed = GOOD[:position] + bytes((octet,)) + GOOD[position + 1 :]
    try:
        signed = read_signed(changed)
        signer = signed.signer_certificate()
        if signer is not None:
            verify(signed, load_signer_key(signer.spki))
            assert signed.content == b"hello"
    except (MalformedCms, UnsupportedAlgorithm, BadSignature):
        return


@given(st.integers(0, len(GOOD)))
def test_a_message_that_is_cut_off_is_malformed(length: int) -> None:
    if length == len(GOOD):
        return
    with pytest.raises(MalformedCms):
        read_signed(GOOD[:length])


# --- messages that nobody signed (RFC 5272 appendix C.1) ----------------------------------------------------------


def test_a_message_that_nobody_signed_has_a_digest_in_place_of_the_signature() -> None:
    attributes = signed_attributes([], b"content", Digest.SHA256)
    unsigned = write_signed(b"content", attributes, Digest.SHA256.digest(attributes), Digest.SHA256, bag(CERTIFICATE))
    verify_unsigned(read_signed(unsigned))
    other = write_signed(b"content", attributes, b"x" * 32, Digest.SHA256, bag(CERTIFICATE))
    with pytest.raises(BadSignature, match="in place of a signature"):
        verify_unsigned(read_signed(other))
    changed = write_signed(b"another", attributes, Digest.SHA256.digest(attributes), Digest.SHA256, bag(CERTIFICATE))
    with pytest.raises(BadSignature, match="does not match the content"):
        verify_unsigned(read_signed(changed))


def test_a_message_that_nobody_signed_may_send_its_attributes_unsorted_but_readable() -> None:
    fields, content = parts_of_a_signer(), der.sequence(der.oid(DATA), der.tlv(0xA0, der.octet_string(b"hello")))
    attributes = [each.raw for each in der.children(der.read(fields[3]))]

    def unsigned(*sent: bytes) -> bytes:
        digest = der.octet_string(Digest.SHA256.digest(der.set_of(*sent)))
        signer = der.sequence(*fields[:3], der.tlv(0xA0, *sent), fields[4], digest)
        return structure(ONE, EMPTY, content, der.tlv(der.SET, signer))

    verify_unsigned(read_signed(unsigned(*reversed(attributes))))
    odd = der.sequence(der.oid("1.2.3"), der.tlv(der.SET, der.tlv(0xA0, b"\x1f\x00")))
    with pytest.raises(BadSignature, match="can't be read"):
        verify_unsigned(read_signed(unsigned(*attributes, odd)))
