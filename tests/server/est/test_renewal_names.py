"""Whether a renewal asks for the names of its certificate: whatever is changed, other names are never the same."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import assume, given
from hypothesis import strategies as st

from ca.csr import Csr, MalformedCsr, parse_csr
from policies.asked import read_request
from policies.engine import decide
from policies.request import EndpointName, Kind, Renewed
from policies.ruling import Question
from server.est.service import _has_names
from tests.fakes.policy import CEILINGS, ISSUER, profile, question, rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Attribute = tuple[x509.ObjectIdentifier, str]

SUBJECT: list[Attribute] = [
    (NameOID.COUNTRY_NAME, "CH"),
    (NameOID.ORGANIZATION_NAME, "Pump Works"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Hall 1"),
    (NameOID.ORGANIZATIONAL_UNIT_NAME, "Hall 2"),
    (NameOID.COMMON_NAME, "pump-17"),
    (NameOID.SERIAL_NUMBER, "A 17"),
]
NAMES: list[x509.GeneralName] = [
    x509.DNSName("pump-17.example"),
    x509.DNSName("*.pump-17.example"),
    x509.IPAddress(ipaddress.ip_address("10.1.2.3")),
    x509.IPAddress(ipaddress.ip_address("2001:db8::17")),
    x509.RFC822Name("pump@pump-17.example"),
    x509.UniformResourceIdentifier("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
    x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x04pump"),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pump-17")])),
]
KEY = ec.generate_private_key(ec.SECP256R1())
PRINTABLE = {NameOID.COUNTRY_NAME, NameOID.SERIAL_NUMBER}


def request(subject: Sequence[Attribute], names: Sequence[x509.GeneralName], *, printable: bool = False) -> Csr:
    """Return a request; its attributes are PrintableString where they may be and should."""
    kinds = {True: _ASN1Type.PrintableString, False: _ASN1Type.UTF8String}
    attributes = [x509.NameAttribute(oid, text, kinds[printable or oid in PRINTABLE]) for oid, text in subject]
    builder = x509.CertificateSigningRequestBuilder(x509.Name(attributes))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return parse_csr(builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER))


@cache
def old() -> Renewed:
    csr, now = request(SUBJECT, NAMES), question({}).request.now
    there, life = EndpointName.parse("est/default"), timedelta(days=30)
    return Renewed(1, csr.subject, csr.names, csr.spki, now - life, now + life, "device", there)


def is_refused(csr: Csr) -> bool:
    """Whether the policy finds other names, whatever else it finds."""
    asked = question({}).request
    renewal = replace(asked, kind=Kind.RENEW, csr=csr, renewed=old())
    decision = decide(Question(profile(renewal={}), renewal, ISSUER, CEILINGS, read_request(renewal)))
    return bool(rules(decision) & {"renewal.subject", "renewal.names"})


PLACES = st.integers(0, len(SUBJECT) - 1)
OTHER_SUBJECTS = st.one_of(
    PLACES.map(lambda place: [*SUBJECT[:place], *SUBJECT[place + 1 :]]),  # one less
    PLACES.map(lambda place: [*SUBJECT, SUBJECT[place]]),  # one twice
    st.permutations(SUBJECT),  # another order of the relative names is another name
    st.tuples(PLACES, st.sampled_from("x- .\0é")).map(lambda change: _appended(*change)),
    st.tuples(PLACES, st.sampled_from([NameOID.TITLE, NameOID.LOCALITY_NAME])).map(lambda change: _retyped(*change)),
    st.just([*SUBJECT, (NameOID.COMMON_NAME, "valve-3")]),
)
OTHER_NAMES = st.one_of(
    st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES) - 1),
    st.sampled_from(
        [
            x509.DNSName("pump-18.example"),
            x509.DNSName("pump-17.example.org"),
            x509.IPAddress(ipaddress.ip_address("10.1.2.4")),
            x509.RFC822Name("pump-17.example@example.org"),
            x509.UniformResourceIdentifier("https://pump-17.example/"),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x05pump2"),
            x509.OtherName(x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.4"), b"\x0c\x04pump"),
            x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "valve")])),
        ]
    ).map(lambda more: [*NAMES, more]),
)


def _appended(place: int, letter: str) -> list[Attribute]:
    oid, text = SUBJECT[place]
    return [
        *SUBJECT[:place],
        (oid, text[:-1] + letter if oid == NameOID.COUNTRY_NAME else text + letter),
        *SUBJECT[place + 1 :],
    ]


def _retyped(place: int, oid: x509.ObjectIdentifier) -> list[Attribute]:
    return [*SUBJECT[:place], (oid, SUBJECT[place][1]), *SUBJECT[place + 1 :]]


def _canonical(subject: Sequence[Attribute]) -> list[Attribute]:
    return [(oid, " ".join(text.casefold().split())) for oid, text in subject]


@given(OTHER_SUBJECTS)
def test_another_subject_is_never_the_same(subject: list[Attribute]) -> None:
    assume(_canonical(subject) != _canonical(SUBJECT))
    with suppress(ValueError, MalformedCsr):  # neither can be asked for
        csr = request(subject, NAMES)
        assert not _has_names(csr, old())
        assert is_refused(csr)


@given(OTHER_NAMES)
def test_other_alternative_names_are_never_the_same(names: list[x509.GeneralName]) -> None:
    csr = request(SUBJECT, names)
    assert not _has_names(csr, old())
    assert is_refused(csr)


@given(
    names=st.permutations(NAMES), printable=st.booleans(), write=st.sampled_from([str, str.upper, str.lower, str.title])
)
def test_the_same_names_are_the_same_however_they_are_written(
    names: list[x509.GeneralName], *, printable: bool, write: Callable[[str], str]
) -> None:
    subject = [(oid, text if oid == NameOID.COUNTRY_NAME else write(text).replace(" ", "  ")) for oid, text in SUBJECT]
    csr = request(subject, names, printable=printable)
    assert _has_names(csr, old())
    assert not is_refused(csr)


def test_a_name_that_ends_in_nul_can_not_be_asked_for_or_is_another() -> None:
    subject = [*SUBJECT[:-2], (NameOID.COMMON_NAME, "pump-17\0.evil"), SUBJECT[-1]]
    with suppress(MalformedCsr):
        assert not _has_names(request(subject, NAMES), old())
