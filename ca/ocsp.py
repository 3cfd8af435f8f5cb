"""OCSP requests and responses (RFC 6960, RFC 9654): octets to values and back, without any I/O."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from ca.crl import REASONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from cryptography.x509 import ReasonFlags

    from ca.tbs import IssuerProfile

REQUEST_LIMIT = 8192
"""Octets; longer requests are refused unread."""
CERTIFICATES_LIMIT = 16
"""One request may ask for so many certificates."""
NONCE_LENGTHS = range(1, 129)
"""RFC 9654 section 2.1."""

NO_CHECK = "1.3.6.1.5.5.7.48.1.5"
"""id-pkix-ocsp-nocheck: the status of this responder's own certificate is not asked for."""
SIGNING = "1.3.6.1.5.5.7.3.9"
"""id-kp-OCSPSigning."""

_BASIC = "1.3.6.1.5.5.7.48.1.1"
_NONCE = "1.3.6.1.5.5.7.48.1.2"
_DIGESTS = {
    "1.3.14.3.2.26": "sha1",  # no secret hangs on it: it only names the issuer (RFC 6960 section 4.3)
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_GOOD, _REVOKED, _UNKNOWN = 0x80, 0xA1, 0x82
_REQUEST_EXTENSIONS = 0xA2


class MalformedRequest(ValueError):
    """Not an OCSP request, or one beyond the limits."""


class Failure(IntEnum):
    """OCSPResponseStatus of answers without content (RFC 6960 section 4.2.1)."""

    MALFORMED_REQUEST = 1
    INTERNAL_ERROR = 2
    TRY_LATER = 3
    UNAUTHORIZED = 6


@dataclass(frozen=True, slots=True)
class CertId:
    """Which certificate is meant.

    Attributes:
        digest: the name of the hash, as hashlib knows it; None for one that is not known here.
        issuer: hash of the issuer's name and hash of its key.
        serial: the serial number.
        raw: DER, to be repeated in the answer.
    """

    digest: str | None
    issuer: tuple[bytes, bytes]
    serial: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Request:
    """A request: at least one certificate, and perhaps a nonce."""

    certificates: tuple[CertId, ...]
    nonce: bytes | None = None


@dataclass(frozen=True, slots=True)
class Revoked:
    """The status of a revoked certificate."""

    at: datetime
    reason: ReasonFlags


@dataclass(frozen=True, slots=True)
class Answer:
    """The status of one certificate: ``good``, ``unknown``, or when and why it was revoked."""

    certificate: CertId
    status: Revoked | None
    known: bool = True


@dataclass(frozen=True, slots=True)
class Validity:
    """When an answer was made, and until when it is good."""

    this_update: datetime
    next_update: datetime


def parse_request(data: bytes) -> Request:
    """Read an OCSPRequest. A signature is ignored, as RFC 6960 section 4.1.2 allows. Raises MalformedRequest."""
    if len(data) > REQUEST_LIMIT:
        raise MalformedRequest("the request is too long")
    try:
        return _request(der.read(data))
    except (der.MalformedDer, IndexError, ValueError) as error:
        raise MalformedRequest(str(error)) from error


def _request(element: der.Tlv) -> Request:
    tbs, *signature = der.inside(element, der.SEQUENCE)
    if len(signature) > 1 or any(each.tag != der.context(0) for each in signature):
        raise MalformedRequest("something other than a signature stands behind the request")
    parts = der.inside(tbs, der.SEQUENCE)
    if parts and parts[0].tag == der.context(0):
        (version,) = der.children(parts.pop(0))
        if der.read_integer(version) != 0:
            raise MalformedRequest("another version")
    if parts and parts[0].tag == der.context(1):
        parts.pop(0)  # requestorName: access is not limited
    wanted = der.inside(parts.pop(0), der.SEQUENCE)
    if not 1 <= len(wanted) <= CERTIFICATES_LIMIT:
        raise MalformedRequest(f"{len(wanted)} certificates are asked for; 1 to {CERTIFICATES_LIMIT} are possible")
    nonce = None
    if parts:
        if len(parts) > 1 or parts[0].tag != _REQUEST_EXTENSIONS:
            raise MalformedRequest("something unknown stands in the request")
        (extensions,) = der.children(parts[0])
        nonce = _nonce(der.expect(extensions, der.SEQUENCE))
    return Request(tuple(_wanted(each) for each in wanted), nonce)


def _wanted(element: der.Tlv) -> CertId:
    identifier, *more = der.inside(element, der.SEQUENCE)
    for part in more:
        (extensions,) = der.inside(part, der.context(0))
        _nonce(der.expect(extensions, der.SEQUENCE))  # nothing but that none is critical
    der.expect(identifier, der.SEQUENCE)
    algorithm, name, key, serial = der.children(identifier)
    oid = der.expect(der.inside(algorithm, der.SEQUENCE)[0], der.OID)
    hashes = der.expect(name, der.OCTET_STRING).content, der.expect(key, der.OCTET_STRING).content
    digest = _DIGESTS.get(der.read_oid(oid.content))
    return CertId(digest, hashes, der.read_integer(der.expect(serial, der.INTEGER)), identifier.raw)


def _nonce(extensions: der.Tlv) -> bytes | None:
    """Return the nonce; other extensions must not be critical, since nothing else is understood."""
    nonce = None
    for extension in der.children(extensions):
        oid, *rest = der.inside(extension, der.SEQUENCE)
        critical = len(rest) == 2 and der.read_boolean(der.expect(rest[0], der.BOOLEAN))
        value = der.expect(rest[-1], der.OCTET_STRING).content
        if der.dotted(oid) == _NONCE:
            if nonce is not None:
                raise MalformedRequest("two nonces")
            nonce = der.expect(der.read(value), der.OCTET_STRING).content
            if len(nonce) not in NONCE_LENGTHS:
                raise MalformedRequest("the nonce is empty or longer than 128 octets (RFC 9654 section 2.1)")
        elif critical:
            raise MalformedRequest("a critical extension that is not known")
    return nonce


def issuer_hashes(issuer: IssuerProfile) -> frozenset[tuple[str, tuple[bytes, bytes]]]:
    """Return by what requests may name an issuer: each hash with those of its name and its key's octets."""
    key = der.children(der.read(issuer.spki))[1].content[1:]
    return frozenset(
        (name, (hashlib.new(name, issuer.name).digest(), hashlib.new(name, key).digest())) for name in _DIGESTS.values()
    )


def write_response(
    answers: Sequence[Answer],
    validity: Validity,
    nonce: bytes | None,
    responder: IssuerProfile,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """Return the DER of a successful OCSPResponse with the responder's certificate (RFC 6960 section 4.2.1).

    Args:
        answers: in the order of the request.
        validity: of all of them.
        nonce: the request's, None when it had none or the answer is for everybody.
        responder: who signs: its key identifier names it, its certificate goes along.
        sign: signs the octets of the ResponseData with its key and algorithm.
    """
    extensions: tuple[bytes, ...] = ()
    if nonce is not None:
        extension = der.sequence(der.oid(_NONCE), der.octet_string(der.octet_string(nonce)))
        extensions = (der.tlv(der.context(1), der.sequence(extension)),)
    key = der.children(der.read(responder.spki))[1].content[1:]
    # byKey is SHA-1 by definition (RFC 6960 section 4.2.1)
    identifier = der.tlv(der.context(2), der.octet_string(hashlib.sha1(key, usedforsecurity=False).digest()))
    data = der.sequence(
        identifier,
        der.generalized_time(validity.this_update),
        der.sequence(*(_single(answer, validity) for answer in answers)),
        *extensions,
    )
    from_responder = der.tlv(der.context(0), der.sequence(responder.certificate.public_bytes(Encoding.DER)))
    basic = der.sequence(data, responder.algorithm, der.bit_string(sign(data)), from_responder)
    content = der.sequence(der.oid(_BASIC), der.octet_string(basic))
    return der.sequence(der.tlv(der.ENUMERATED, b"\x00"), der.tlv(der.context(0), content))


def _single(answer: Answer, validity: Validity) -> bytes:
    return der.sequence(
        answer.certificate.raw,
        _status(answer),
        der.generalized_time(validity.this_update),
        der.tlv(der.context(0), der.generalized_time(validity.next_update)),
    )


def _status(answer: Answer) -> bytes:
    if not answer.known:
        return der.tlv(_UNKNOWN, b"")
    if answer.status is None:
        return der.tlv(_GOOD, b"")
    reason = REASONS[answer.status.reason]
    given = (der.tlv(der.context(0), der.tlv(der.ENUMERATED, bytes((reason,)))),) if reason else ()
    return der.tlv(_REVOKED, der.generalized_time(answer.status.at), *given)


def write_failure(failure: Failure) -> bytes:
    """Return the DER of an OCSPResponse that says why there is no answer."""
    return der.sequence(der.tlv(der.ENUMERATED, bytes((failure,))))
