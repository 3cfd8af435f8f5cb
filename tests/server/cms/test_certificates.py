from __future__ import annotations

import hashlib
import subprocess

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from server.cms.algorithms import MalformedCms
from server.cms.certificates import (
    DATA,
    SIGNED_DATA,
    content_info,
    degenerate,
    key_digest,
    open_content_info,
    read_bag_certificate,
)
from tests.server.scep.device import (
    NOW,
    bag,
    common_name,
    degenerate_certificates,
    indefinite,
    rsa_key,
    self_signed,
)
from tests.wire.running import require_program

LONG, SHORT = self_signed(rsa_key(), "a-name-that-makes-it-longer.test"), self_signed(rsa_key(), "s")


def issued() -> bytes:
    """Return a certificate by another, with two extensions of which the second is its key identifier."""
    key = rsa_key()
    builder = x509.CertificateBuilder(common_name("CA"), common_name("device"), key.public_key(), 7)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier(b"who has this key"), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("certificates", [[LONG], [LONG, SHORT], [SHORT, LONG], [LONG, LONG]])
def test_the_order_of_certificates_is_kept(certificates: list[bytes]) -> None:
    assert degenerate_certificates(degenerate(certificates)) == tuple(certificates)


def test_a_certs_only_message_is_as_the_rfc_describes_it() -> None:
    parsed = cms.ContentInfo.load(degenerate([LONG, SHORT]), strict=True)["content"]
    assert parsed["version"].native == "v1"
    assert len(parsed["digest_algorithms"]) == len(parsed["signer_infos"]) == 0
    assert parsed["encap_content_info"]["content_type"].native == "data"
    assert parsed["encap_content_info"]["content"].native is None


@pytest.mark.parametrize(("certificates", "crls"), [([LONG], []), ([], [b"\x30\x00"]), ([LONG], [b"\x30\x00"] * 2)])
def test_certificates_and_revocation_lists_have_bags_of_their_own_and_none_is_empty(
    certificates: list[bytes], crls: list[bytes]
) -> None:
    message = degenerate(certificates, crls)
    assert degenerate_certificates(message) == tuple(certificates)
    assert degenerate_certificates(message, 0xA1) == tuple(crls)
    fields = der.children(open_content_info(message, SIGNED_DATA))
    bags = [0xA0] * bool(certificates) + [0xA1] * bool(crls)
    assert [each.tag for each in fields] == [der.INTEGER, der.SET, der.SEQUENCE, *bags, der.SET]


def test_a_content_is_opened_in_der_and_in_ber() -> None:
    for message in (
        content_info(DATA, der.octet_string(b"x")),
        indefinite(content_info(DATA, der.octet_string(b"x")), 9),
    ):
        assert der.octets(open_content_info(message, DATA), ber=True) == b"x"


@pytest.mark.parametrize(
    "encoded",
    [
        content_info(SIGNED_DATA, der.null()),
        der.sequence(der.oid(DATA)),
        der.sequence(der.oid(DATA), der.tlv(0xA0, der.null()), der.null()),
        der.sequence(der.oid(DATA), der.tlv(0xA0)),
        der.sequence(der.oid(DATA), der.tlv(0xA0, der.null(), der.null())),
    ],
)
def test_a_content_of_another_type_or_another_number_of_them_is_malformed(encoded: bytes) -> None:
    with pytest.raises(MalformedCms):
        open_content_info(encoded, DATA)


@pytest.mark.parametrize("tag", [0x80, 0xA1])
def test_a_content_under_another_tag_is_malformed(tag: int) -> None:
    with pytest.raises(der.MalformedDer):
        open_content_info(der.sequence(der.oid(DATA), der.tlv(tag, der.null())), DATA)


def test_a_key_is_known_by_the_sha_256_of_its_spki() -> None:
    assert key_digest(bag(LONG).spki) == hashlib.sha256(bag(SHORT).spki).hexdigest()


def test_openssl_reads_it() -> None:
    encoded = degenerate([LONG, SHORT])
    command = [require_program("openssl"), "pkcs7", "-inform", "DER", "-print_certs", "-noout"]
    done = subprocess.run(command, input=encoded, capture_output=True, check=True)
    assert b"a-name-that-makes-it-longer.test" in done.stdout


def test_a_certificate_is_read_as_far_as_it_addresses_its_key() -> None:
    read = bag(LONG)
    assert (read.version, read.serial, read.self_issued, read.key_identifier) == (3, b"\x02\x01\x01", True, None)
    assert read.der == LONG


def test_a_certificate_by_another_is_not_self_issued_and_has_a_key_identifier_in_ber_too() -> None:
    for encoded in (issued(), indefinite(issued(), 99)):
        read = read_bag_certificate(der.read(encoded, ber=True))
        assert (read.version, read.self_issued, read.key_identifier) == (3, False, b"who has this key")


def test_unique_identifiers_are_no_extensions() -> None:
    fields, algorithm, signature = der.children(der.read(issued()))
    each = [field.raw for field in der.children(fields)]
    tbs = der.sequence(*each[:-1], der.tlv(0x81, b"\x00"), der.tlv(0x82, b"\x00"), each[-1])
    assert bag(der.sequence(tbs, algorithm.raw, signature.raw)).key_identifier == b"who has this key"


def test_a_version_1_certificate_is_known_as_such() -> None:
    whole = der.read(LONG)
    fields, algorithm, signature = der.children(whole)
    first = der.sequence(*(field.raw for field in der.children(fields)[1:7]))
    assert bag(der.sequence(first, algorithm.raw, signature.raw)).version == 1


@pytest.mark.parametrize(
    "encoded",
    [der.null(), der.sequence(), der.sequence(der.sequence(), der.null(), der.null()), der.sequence(*[der.null()] * 3)],
)
def test_what_is_no_certificate_is_malformed(encoded: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        read_bag_certificate(der.read(encoded))


@pytest.mark.parametrize("odd", [der.null(), der.tlv(0xA3, der.null()), der.tlv(0xA3, der.sequence(der.sequence()))])
def test_extensions_that_can_not_be_read_hold_no_key_identifier(odd: bytes) -> None:
    assert bag(LONG)._replace(extensions=odd).key_identifier is None


@given(st.integers(0, len(LONG) - 1), st.integers(0, 255))
def test_any_change_of_an_octet_is_read_or_malformed(position: int, octet: int) -> None:
    try:
        read_bag_certificate(der.read(LONG[:position] + bytes((octet,)) + LONG[position + 1 :], ber=True))
    except der.MalformedDer:
        return
