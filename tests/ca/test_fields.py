from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from ca.fields import EXTENSIONS, read_fields
from tests.fakes.issuer import make_issuer

CERTIFICATE = make_issuer().chain()[0]
TBS = der.read(CERTIFICATE.tbs_certificate_bytes)


def test_the_fields_are_those_that_the_library_reads() -> None:
    found = read_fields(TBS)
    assert found.version is not None
    assert found.version.content == der.integer(2)
    assert der.read_integer(found.serial) == CERTIFICATE.serial_number
    assert der.dotted(der.children(found.algorithm)[0]) == CERTIFICATE.signature_algorithm_oid.dotted_string
    assert found.issuer.raw == CERTIFICATE.issuer.public_bytes()
    assert [der.read_time(each) for each in der.children(found.validity)] == [
        CERTIFICATE.not_valid_before_utc,
        CERTIFICATE.not_valid_after_utc,
    ]
    assert found.subject.raw == CERTIFICATE.subject.public_bytes()
    spki = CERTIFICATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert found.spki.raw == spki
    assert [each.tag for each in found.more] == [EXTENSIONS]


def test_version_1_leaves_the_version_out_and_has_nothing_behind_the_key() -> None:
    version, *fields, _extensions = der.children(TBS)
    assert read_fields(der.read(der.sequence(*(each.raw for each in fields)))) == (None, *fields, [])
    short = [version, *fields[:-1]]
    with pytest.raises(der.MalformedDer, match="not a certificate"):
        read_fields(der.read(der.sequence(*(each.raw for each in short))))


@pytest.mark.parametrize("ber", [False, True])
@given(octets=st.binary(max_size=60))
def test_anything_is_read_or_malformed(octets: bytes, *, ber: bool) -> None:
    try:
        found = read_fields(der.read(der.sequence(octets)), ber=ber)
    except der.MalformedDer:
        return
    assert found.spki is not None
