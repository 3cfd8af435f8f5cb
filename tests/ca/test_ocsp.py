from __future__ import annotations

import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from ca.ocsp import MalformedRequest, Request, issuer_hashes, parse_request
from ca.tbs import IssuerProfile
from tests.fakes.status import make_ca

CA = make_ca()
DIGESTS = (hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512())  # noqa: S303 - names an issuer


def request(*, nonce: bytes | None = None, digest: hashes.HashAlgorithm = DIGESTS[1]) -> bytes:
    builder = ocsp.OCSPRequestBuilder().add_certificate(CA.certificate, CA.certificate, digest)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


@pytest.mark.parametrize("digest", DIGESTS, ids=lambda each: each.name)
def test_the_issuer_is_found_by_every_hash(digest: hashes.HashAlgorithm) -> None:
    (wanted,) = parse_request(request(digest=digest)).certificates
    assert wanted.serial == CA.certificate.serial_number
    assert (wanted.digest, wanted.issuer) in issuer_hashes(IssuerProfile.of(CA.certificate))


@pytest.mark.parametrize("length", [1, 16, 32, 128])
def test_nonces_of_1_to_128_octets_are_taken(length: int) -> None:
    assert parse_request(request(nonce=b"n" * length)).nonce == b"n" * length


@pytest.mark.parametrize("length", [0, 129])
def test_other_nonces_are_malformed(length: int) -> None:
    with pytest.raises(MalformedRequest, match="128"):
        parse_request(request(nonce=b"n" * length))


def parts() -> tuple[list[bytes], bytes]:
    """Return the parts of a request with a nonce, and its one CertID in its frame."""
    tbs = der.children(der.children(der.read(request(nonce=b"nonce")))[0])
    return [each.raw for each in tbs], der.children(tbs[0])[0].raw


def test_a_version_and_a_requestor_are_read_over() -> None:
    whole, _ = parts()
    name = der.tlv(der.context(1), der.tlv(0x82, b"me.example"))
    version = der.tlv(der.context(0), der.integer(0))
    assert parse_request(der.sequence(der.sequence(version, name, *whole))).nonce == b"nonce"
    with pytest.raises(MalformedRequest, match="version"):
        parse_request(der.sequence(der.sequence(der.tlv(der.context(0), der.integer(1)), *whole)))


@pytest.mark.parametrize("count", [2, 16])
def test_several_certificates_are_asked_for_at_once(count: int) -> None:
    _, one = parts()
    assert len(parse_request(der.sequence(der.sequence(der.sequence(*[one] * count)))).certificates) == count


@pytest.mark.parametrize("count", [0, 17])
def test_none_or_too_many_are_malformed(count: int) -> None:
    _, one = parts()
    with pytest.raises(MalformedRequest, match="certificates"):
        parse_request(der.sequence(der.sequence(der.sequence(*[one] * count))))


def extended(*extensions: bytes) -> bytes:
    whole, _ = parts()
    return der.sequence(der.sequence(whole[0], der.tlv(der.context(2), der.sequence(*extensions))))


def extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = (der.boolean(True),) if critical else ()  # noqa: FBT003 - a BOOLEAN is what it writes
    return der.sequence(der.oid(oid), *flag, der.octet_string(value))


def test_unknown_extensions_are_ignored_unless_critical() -> None:
    assert parse_request(extended(extension("1.2.3.4", b"x"))).nonce is None
    with pytest.raises(MalformedRequest, match="critical"):
        parse_request(extended(extension("1.2.3.4", b"x", critical=True)))


def test_extensions_of_single_certificates_are_ignored_unless_critical() -> None:
    _, one = parts()
    identifier = der.children(der.read(one))[0].raw
    for critical in (False, True):
        more = der.tlv(der.context(0), der.sequence(extension("1.2.3.4", b"x", critical=critical)))
        asked = der.sequence(der.sequence(der.sequence(der.sequence(identifier, more))))
        if critical:
            with pytest.raises(MalformedRequest, match="critical"):
                parse_request(asked)
        else:
            assert parse_request(asked).certificates[0].raw == identifier


@pytest.mark.parametrize("junk", [b"\x05\x00", der.tlv(der.context(0)), der.tlv(der.context(0), der.integer(1))])
def test_what_stands_behind_a_certificate_is_its_extensions(junk: bytes) -> None:
    _, one = parts()
    identifier = der.children(der.read(one))[0].raw
    with pytest.raises(MalformedRequest):
        parse_request(der.sequence(der.sequence(der.sequence(der.sequence(identifier, junk)))))


def test_two_nonces_are_malformed() -> None:
    one = extension("1.3.6.1.5.5.7.48.1.2", der.octet_string(b"n"))
    with pytest.raises(MalformedRequest, match="two"):
        parse_request(extended(one, one))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x00",
        b"x" * 8193,
        der.sequence(der.sequence(der.sequence(), der.integer(1))),
        der.sequence(*[der.sequence()] * 3),
        der.sequence(der.read(request()).content, der.null()),
    ],
)
def test_what_is_no_request_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_request(data)


@given(st.binary(max_size=200))
def test_any_octets_are_a_request_or_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedRequest):
        assert isinstance(parse_request(data), Request)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_request_is_read_or_malformed(place: int, change: int) -> None:
    octets = bytearray(request(nonce=b"nonce"))
    octets[place % len(octets)] ^= change
    with contextlib.suppress(MalformedRequest):
        assert isinstance(parse_request(bytes(octets)), Request)
