"""What EST takes from outside: paths, credentials, bodies, attributes of requests."""

from __future__ import annotations

from base64 import b64encode, encodebytes
from dataclasses import replace
from typing import TYPE_CHECKING

from ca import der
from ca.csr import RequestedAttribute, parse_csr
from server.est import codec, keygen
from server.est.linking import IDENTITY_LINKING, OTP_CHALLENGE, REVOCATION_CHALLENGE, Linking, Meaning, read_claims
from server.est.messages import Malformed
from tests.ca.requests import SUBJECT
from tests.fakes.issuer import spki_of
from tests.fuzz.target import Target, tolerant
from tests.fuzz.targets.pkix import KEY, REQUESTS

if TYPE_CHECKING:
    from ca.csr import Csr

_PLAIN = parse_csr(REQUESTS[0])
_BODIES = (
    *(b64encode(each) for each in REQUESTS),
    b"-----BEGIN CERTIFICATE REQUEST-----\n" + encodebytes(REQUESTS[0]) + b"-----END CERTIFICATE REQUEST-----\n",
    REQUESTS[0],
)
_BINDING = b"binding"
_AES128, _AES256 = (der.sequence(der.oid(f"2.16.840.1.101.3.4.1.{last}")) for last in (2, 42))


def _with(octets: bytes, *types: str) -> Csr:
    """Return a request whose attributes of these types have the octets as value."""
    return replace(_PLAIN, attributes=tuple(RequestedAttribute(oid, (octets,)) for oid in types))


def _claims(octets: bytes) -> object:
    return [
        tolerant(
            lambda _, oid=oid: read_claims(  # type: ignore[misc]
                _with(octets, oid), binding=_BINDING, linking=Linking.OFF, meaning=Meaning.BINDING, foreign=False
            ),
            Malformed,
        )(octets)
        for oid in (OTP_CHALLENGE, REVOCATION_CHALLENGE, IDENTITY_LINKING)
    ]


def _protection(octets: bytes) -> object:
    """Take the first octet for the length of the identifier, what follows for the capabilities."""
    identifier, listed = octets[1 : 1 + octets[0]], octets[1 + octets[0] :]
    attributes = tuple(
        RequestedAttribute(oid, (value,))
        for oid, value in ((keygen.DECRYPT_KEY, identifier), (keygen.CAPABILITIES, listed))
    )
    return keygen.read_protection(replace(_PLAIN, attributes=attributes))


def _path(octets: bytes) -> object:
    return codec.parse_target(codec.PREFIX + octets.decode("latin-1"))


def _basic(octets: bytes) -> object:
    return codec.parse_basic(octets.decode("latin-1"))


_IDENTIFIER = der.octet_string(b"shared")

TARGETS = (
    Target("est.body", tolerant(codec.decode_enrollment, Malformed), _BODIES),
    Target("est.body-keyless", tolerant(lambda octets: codec.decode_keyless(octets, spki_of(KEY)), Malformed), _BODIES),
    Target(
        "est.change-subject-name",
        tolerant(lambda octets: codec.with_changed_names(_with(octets, "1.3.6.1.5.5.7.7.36")), Malformed),
        (
            der.sequence(SUBJECT, der.tlv(der.context(1), der.tlv(0x82, b"pump-18.example"))),
            der.sequence(der.tlv(der.context(1), der.tlv(0x82, b"pump-18.example"))),
            der.sequence(SUBJECT),
        ),
    ),
    Target("est.claims", _claims, (der.printable("secret"), der.utf8("sécret"), b"\x1e\x04\x00s\x00e")),
    Target(
        "est.protection",
        tolerant(_protection, Malformed, IndexError),
        (bytes((len(_IDENTIFIER),)) + _IDENTIFIER + der.sequence(_AES128, _AES256),),
    ),
    Target("est.path", _path, (b"simpleenroll", b"plant/cacerts", b"pl%61nt/csrattrs/")),
    Target("est.basic", _basic, (b"Basic " + b64encode(b"pump:word"), b"basic  " + b64encode("ü:ö".encode()))),
)
