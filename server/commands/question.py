"""A question to the policy, put together from files and options instead of a protocol."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.csr import parse_csr
from ca.names import names_of, subject_of
from policies.document import did_you_mean
from policies.request import (
    EVIDENCE_WORDS,
    AccountEvidence,
    CertificateEvidence,
    ChallengeEvidence,
    DeviceEvidence,
    EnrollmentRequest,
    Kind,
    PasswordEvidence,
    PossessionEvidence,
    Protocol,
    RegistrationAuthorityEvidence,
    Renewed,
    Requester,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ca.csr import Csr
    from policies.request import EndpointName, Evidence

_PEM = re.compile(rb"-----BEGIN (?:NEW )?CERTIFICATE REQUEST-----(.+?)-----END", re.DOTALL)
_OWN_EVIDENCE = {Protocol.ACME: "account", Protocol.EST: "password", Protocol.SCEP: "challenge"}


class UnanswerableQuestion(ValueError):
    """The options do not make a request; the text says what is missing."""


def read_csr(path: Path) -> Csr:
    """Read a certification request, PEM or DER. Raises UnanswerableQuestion or MalformedCsr."""
    data = _read(path)
    match = _PEM.search(data)
    if match is not None:
        try:
            data = base64.b64decode(b"".join(match[1].split()), validate=True)
        except binascii.Error as error:
            raise UnanswerableQuestion(f"{path}: the PEM is damaged") from error
    return parse_csr(data)


def request_for(
    csr: Csr,
    endpoint: EndpointName,
    *,
    requester: str,
    evidence: Sequence[str] | None,
    renews: x509.Certificate | None,
    issued_under: str,
    profile: str | None,
    now: datetime,
) -> EnrollmentRequest:
    """Return the request that this CSR would be.

    Args:
        csr: the certification request.
        endpoint: where it would come in.
        requester: the name of who asks.
        evidence: kinds of evidence; what the protocol brings by itself when there are none.
        renews: the certificate to be renewed.
        issued_under: the profile it was issued under.
        profile: the profile asked for.
        now: the time of the request, aware UTC.

    Raises:
        UnanswerableQuestion: an unknown kind of evidence.
    """
    words = tuple(evidence or (("certificate",) if renews is not None else (_OWN_EVIDENCE[endpoint.protocol],)))
    known = set(EVIDENCE_WORDS.values())
    for word in words:
        if word not in known:
            raise UnanswerableQuestion(f'"{word}" is no kind of evidence{did_you_mean(word, known)}')
    return EnrollmentRequest(
        key="explain",
        kind=Kind.ENROLL if renews is None else Kind.RENEW,
        endpoint=endpoint,
        profile=profile,
        csr=csr,
        requester=Requester(f"{words[0]}:{requester}", tuple(_evidence(w, requester, csr, renews, now) for w in words)),
        now=now,
        renewed=None if renews is None else _renewed(renews, endpoint, issued_under),
    )


def _evidence(  # noqa: PLR0911 - one flat table
    word: str, requester: str, csr: Csr, old: x509.Certificate | None, now: datetime
) -> Evidence:
    match word:
        case "password":
            return PasswordEvidence(requester)
        case "challenge":
            return ChallengeEvidence("static")
        case "possession":
            return PossessionEvidence(sha256(csr.spki).hexdigest())
        case "ra":
            return RegistrationAuthorityEvidence(0, "explain")
        case "account":
            return AccountEvidence(requester, csr.names)
        case "device":
            return DeviceEvidence(csr.subject.common_names)
        case _:
            return CertificateEvidence(
                subject=csr.subject if old is None else subject_of(old),
                names=csr.names if old is None else names_of(old),
                serial=0 if old is None else old.serial_number,
                not_after=now if old is None else old.not_valid_after_utc,
                anchor="own",
                profile=None,
                endpoint=None,
            )


def _renewed(old: x509.Certificate, endpoint: EndpointName, profile: str) -> Renewed:
    return Renewed(
        serial=old.serial_number,
        subject=subject_of(old),
        names=names_of(old),
        spki=old.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        not_before=old.not_valid_before_utc.astimezone(UTC),
        not_after=old.not_valid_after_utc.astimezone(UTC),
        profile=profile,
        endpoint=endpoint,
    )


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate, PEM or DER. Raises UnanswerableQuestion."""
    data = _read(path)
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise UnanswerableQuestion(f"{path}: not a certificate") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnanswerableQuestion(f"{path}: can't be read: {error.strerror}") from error
