from __future__ import annotations

import subprocess

import pytest
from asn1crypto import cms
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from server.cms.certificates import degenerate, read_bag_certificate
from tests.server.scep.device import bag, degenerate_certificates, rsa_key, self_signed

LONG, SHORT = self_signed(rsa_key(), "a-name-that-makes-it-longer.test"), self_signed(rsa_key(), "s")


@pytest.mark.parametrize("certificates", [[LONG], [LONG, SHORT], [SHORT, LONG], [LONG, LONG]])
def test_the_order_of_certificates_is_kept(certificates: list[bytes]) -> None:
    assert degenerate_certificates(degenerate(certificates)) == tuple(certificates)


def test_a_certs_only_message_is_as_the_rfc_describes_it() -> None:
    parsed = cms.ContentInfo.load(degenerate([LONG, SHORT]), strict=True)["content"]
    assert parsed["version"].native == "v1"
    assert len(parsed["digest_algorithms"]) == len(parsed["signer_infos"]) == 0
    assert parsed["encap_content_info"]["content_type"].native == "data"
    assert parsed["encap_content_info"]["content"].native is None


def test_openssl_reads_it() -> None:
    encoded = degenerate([LONG, SHORT])
    command = ["openssl", "pkcs7", "-inform", "DER", "-print_certs", "-noout"]
    done = subprocess.run(command, input=encoded, capture_output=True, check=True)
    assert b"a-name-that-makes-it-longer.test" in done.stdout


def test_a_certificate_is_read_as_far_as_it_addresses_its_key() -> None:
    read = bag(LONG)
    assert (read.version, read.serial, read.self_issued, read.key_identifier) == (3, b"\x02\x01\x01", True, None)
    assert read.der == LONG


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
