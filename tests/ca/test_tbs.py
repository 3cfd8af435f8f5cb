from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from ca.tbs import IssuerProfile, PerCertificate, key_identifier
from tests.fakes.issuer import make_issuer, make_plan

if TYPE_CHECKING:
    from cryptography import x509


def test_a_key_identifier_is_160_bits_of_sha_256_over_the_key_without_its_algorithm() -> None:
    spki = make_plan().spki
    assert key_identifier(spki) == hashlib.sha256(spki[-65:]).digest()[:20]


@pytest.mark.parametrize("octets", [b"", b"\x30\x00", b"\x05\x00", der.sequence(der.null(), der.null(), der.null())])
def test_what_is_no_key_has_no_identifier(octets: bytes) -> None:
    with pytest.raises(der.MalformedDer):
        key_identifier(octets)


def test_what_is_made_of_an_issuer_is_made_once_for_each_and_not_kept_for_ever() -> None:
    made: list[str] = []

    def make(certificate: x509.Certificate) -> IssuerProfile:
        made.append(certificate.public_bytes(Encoding.DER).hex())
        return IssuerProfile.of(certificate)

    profile_of = PerCertificate(make, remembered=2)
    first, second, third = (make_issuer().chain()[0] for _ in range(3))
    assert profile_of(first) is profile_of(first)
    assert profile_of(second).certificate is second
    assert len(made) == 2
    assert profile_of(third).certificate is third
    assert profile_of(first).certificate is first
    assert len(made) == 4


def test_what_cannot_be_made_is_not_kept() -> None:
    def fail(_: x509.Certificate) -> None:
        raise ValueError("no")

    certificate, made = make_issuer().chain()[0], PerCertificate(fail)
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            made(certificate)
