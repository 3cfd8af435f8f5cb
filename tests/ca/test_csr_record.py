"""Requests of our own record: without their challenge passwords, and without a second proof."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from ca.csr import (
    BadProof,
    MalformedCsr,
    parse_csr,
    parse_with_secret,
    read_recorded_csr,
    without_attributes,
    without_challenge,
)

KEY = ec.generate_private_key(ec.SECP256R1())


def csr(challenge: str | None) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "device-1")])
    builder = x509.CertificateSigningRequestBuilder(name)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("a.test")]), critical=False)
    builder = builder.add_attribute(AttributeOID.UNSTRUCTURED_NAME, b"kept")
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_request_without_a_challenge_stays_as_it_is() -> None:
    parsed = parse_csr(csr(None))
    assert without_challenge(parsed) is parsed
    assert read_recorded_csr(parsed.der) == parsed


def test_the_challenge_is_gone_and_everything_else_is_there() -> None:
    parsed = parse_csr(csr("sesame"))
    redacted = without_challenge(parsed)
    assert b"sesame" not in redacted.der
    assert redacted.challenge_password is None
    assert read_recorded_csr(redacted.der) == redacted
    assert (redacted.subject, redacted.names, redacted.spki) == (parsed.subject, parsed.names, parsed.spki)
    assert redacted.attributes == parsed.attributes


def test_other_attributes_can_be_taken_out_with_the_challenge_or_alone() -> None:
    parsed = parse_csr(csr("sesame"))
    (kept,) = parsed.attributes
    both, alone = without_challenge(parsed, {kept.oid}), without_attributes(parsed, {kept.oid})
    assert (both.attributes, both.challenge_password) == ((), None)
    assert (alone.attributes, alone.challenge_password) == ((), "sesame")
    for bare in (both, alone):
        assert b"kept" not in bare.der
        assert read_recorded_csr(bare.der) == bare
    assert without_attributes(parsed, {"1.2.3"}) is parsed


@pytest.mark.parametrize("challenge", [None, "sesame"])
def test_what_is_read_once_for_both_is_the_same_as_what_is_read_twice(challenge: str | None) -> None:
    encoded = csr(challenge)
    parsed = parse_csr(encoded)
    assert parse_with_secret(encoded) == (parsed, without_challenge(parsed))


def test_what_went_on_record_is_no_request_for_anybody_else() -> None:
    with pytest.raises(BadProof):
        parse_csr(without_challenge(parse_csr(csr("sesame"))).der)


@given(st.binary(max_size=200))
def test_any_octets_of_the_record_are_read_or_malformed(data: bytes) -> None:
    with pytest.raises(MalformedCsr):
        read_recorded_csr(data)
