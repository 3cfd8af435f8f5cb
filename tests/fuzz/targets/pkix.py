"""What PKIX decoders take from outside: DER, names, certification requests, certificates."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from ca.csr import Csr, MalformedCsr, parse_csr, parse_keyless
from ca.name_codec import read_general_names, read_name, write_general_names
from ca.names import GeneralName, MalformedName, dns_name, names_of, subject_of
from tests.ca.requests import ECDSA_SHA256, SUBJECT, challenge, extension, extensions, names
from tests.fakes.issuer import spki_of
from tests.fuzz.target import Target, tolerant

KEY = ec.derive_private_key(17, ec.SECP256R1())
"""The same each time, as its signatures are: what breaks once breaks again."""

_NAMES = (
    der.tlv(0x82, b"pump-17.example"),
    der.tlv(0x87, bytes(4)),
    der.tlv(0x81, b"pump@example.org"),
    der.tlv(0x86, b"https://example.org/pump"),
    der.tlv(0xA0, der.oid("1.3.6.1.4.1.311.20.2.3"), der.tlv(0xA0, der.utf8("pump@example"))),
    der.tlv(0xA4, SUBJECT),
)
_USAGE = extension("2.5.29.15", der.bit_string(b"\x80", 7), der.boolean(True))  # noqa: FBT003 - the value to be written


def _request(*attributes: bytes) -> bytes:
    info = der.sequence(der.integer(0), SUBJECT, spki_of(KEY), der.tlv(0xA0, *attributes))
    signature = KEY.sign(info, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    return der.sequence(info, ECDSA_SHA256, der.bit_string(signature))


def _self_signed(name: str) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin, end = (datetime(year, 1, 1, tzinfo=UTC) for year in (2026, 2027))
    return (
        x509.CertificateBuilder(subject, subject, KEY.public_key(), 0xABC, begin, end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("pump-17.example")]), critical=False)
        .sign(KEY, hashes.SHA256(), ecdsa_deterministic=True)
    )


REQUESTS = (
    _request(),
    _request(challenge(der.printable("secret")), extensions(names(*_NAMES[:4]), _USAGE)),
)
"""Certification requests."""

CERTIFICATES = (_self_signed("pump-17"), _self_signed("pump-18"))
_CERTIFICATE = CERTIFICATES[0].public_bytes(Encoding.DER)


def _walk(octets: bytes, *, ber: bool) -> int:
    """Read every element there is; returns their number."""
    waiting, count = [der.read(octets, ber=ber)], 0
    while waiting:
        element = waiting.pop()
        count += 1
        if element.constructed:
            waiting += der.children(element, ber=ber)
    return count


def _both(octets: bytes) -> Csr | None:
    """Read a request here and by cryptography: whatever both take, both must understand alike."""
    try:
        found = parse_csr(octets)
    except MalformedCsr:
        return None
    try:
        other = x509.load_der_x509_csr(octets)
        key = other.public_key()
    except ValueError:  # stricter than we are
        return found
    assert other.is_signature_valid
    if isinstance(key, ec.EllipticCurvePublicKey):  # an encoding of its own for each key
        assert key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == found.spki
    return found


def _names(octets: bytes) -> tuple[GeneralName, ...]:
    """What is read can be written, and reads the same again."""
    found = read_general_names(octets)
    assert read_general_names(write_general_names(found)) == found
    return found


def _certificate(octets: bytes) -> object:
    """Read who a presented certificate names."""
    certificate = x509.load_der_x509_certificate(octets)
    return subject_of(certificate), names_of(certificate)


_REFUSALS = (der.MalformedDer, MalformedName)

TARGETS = (
    Target("pkix.der", tolerant(lambda octets: _walk(octets, ber=False), der.MalformedDer), (*REQUESTS, _CERTIFICATE)),
    Target(
        "pkix.ber",
        tolerant(lambda octets: _walk(octets, ber=True), der.MalformedDer),
        (REQUESTS[1], b"\x30\x80\x24\x80\x04\x01a\x04\x01b\x00\x00\x00\x00"),
    ),
    Target("pkix.name", tolerant(lambda octets: read_name(der.read(octets)), *_REFUSALS), (SUBJECT,)),
    Target(
        "pkix.general-names",
        tolerant(_names, *_REFUSALS),
        (der.sequence(*_NAMES), write_general_names([dns_name("pump-17.example")])),
    ),
    Target("pkix.csr", _both, REQUESTS),
    Target("pkix.csr-keyless", tolerant(lambda octets: parse_keyless(octets, spki_of(KEY)), MalformedCsr), REQUESTS),
    Target("pkix.certificate", tolerant(_certificate, ValueError, x509.InvalidVersion), (_CERTIFICATE,)),
)
