"""Outcomes: what every protocol translates into its own reply.

`Reason` is closed: each protocol's ``problems.py`` is one exhaustive match on it, so that the type checker fails the
build when a reason is added and one protocol forgets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

    from policies.decision import Finding


class Reason(StrEnum):
    """Why a request was refused or failed."""

    MALFORMED = "malformed"
    """The bytes are not what the protocol says."""
    TOO_LARGE = "too-large"
    """The message is longer than the limit."""
    BAD_ALGORITHM = "bad-algorithm"
    """An algorithm or key type that this endpoint does not take."""
    BAD_PROOF = "bad-proof"
    """No proof of possession of the private key."""
    STALE = "stale"
    """The message was signed too long ago, or in the future: it may be an old one again."""
    UNAUTHENTICATED = "unauthenticated"
    """No evidence, or none of a kind that the endpoint accepts."""
    BAD_CREDENTIALS = "bad-credentials"
    """Evidence was presented and is wrong."""
    CERTIFICATE_REJECTED = "certificate-rejected"
    """The presented certificate is expired, revoked, of another endpoint or of an unknown CA."""
    POLICY = "policy"
    """The policy denied; the findings say why."""
    NOT_RENEWABLE = "not-renewable"
    """There is no certificate that this requester may renew with this request."""
    UNKNOWN_REQUEST = "unknown-request"
    """Nothing is known of what was asked for: transaction, order, certificate."""
    CONFLICT = "conflict"
    """The same key of idempotency came with other content, or the state forbids it."""
    RATE_LIMITED = "rate-limited"
    """Too many requests."""
    ISSUER_REFUSED = "issuer-refused"
    """The CA said no."""
    ISSUER_UNAVAILABLE = "issuer-unavailable"
    """The CA can't be asked now."""
    STORE_UNAVAILABLE = "store-unavailable"
    """The database can't record now: nothing was issued."""
    INTERNAL = "internal"
    """A fault of the server."""


_LOGGED_CHARACTERS = 300
"""Of a message, which may repeat what a requester has sent."""
TEMPORARY = frozenset({Reason.RATE_LIMITED, Reason.ISSUER_UNAVAILABLE, Reason.STORE_UNAVAILABLE, Reason.INTERNAL})
"""Reasons after which the same request may succeed later."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no certificate.

    Attributes:
        reason: the closed class.
        message: one sentence that the requester may see.
        findings: the policy's findings; their messages may be shown, their values and limits not.
        detail: the cause, for administrators only; never sent.
        retry_after: seconds after which trying again makes sense, None when it does not.
    """

    reason: Reason
    message: str
    findings: tuple[Finding, ...] = ()
    detail: str = ""
    retry_after: int | None = None

    def notes(self) -> dict[str, object]:
        """Return what the event of a request says of its refusal: the class, and what the requester is told."""
        return {"outcome": "refused", "reason": self.reason.value, "why": self.message[:_LOGGED_CHARACTERS]}


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate, on disk already.

    Attributes:
        certificate: DER of the certificate.
        chain: the issuing CA's certificate and those above it, root last.
        request_id: the record of the request.
    """

    certificate: bytes
    chain: tuple[x509.Certificate, ...]
    request_id: str


@dataclass(frozen=True, slots=True)
class Pending:
    """A person or an asynchronous CA is still to act."""

    request_id: str
    retry_after: int


@dataclass(frozen=True, slots=True)
class Refused:
    """No certificate, and why."""

    problem: Problem
    request_id: str | None = None


Outcome = Issued | Pending | Refused
