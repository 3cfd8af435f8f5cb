"""Who wants to sign what, and what the record says to that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import sqlalchemy as sa

    from ca.plan import CertificatePlan
    from policies.decision import ApprovalTerms, QuotaLimits
    from policies.request import EnrollmentRequest


class Lease(NamedTuple):
    """Who works on an intent, and until when nobody else may.

    Attributes:
        owner: the process, by a random word.
        now: the present time.
        until: when others may take over.
        replay_from: what was issued before this time does not answer the same key any more.
        here: the issuers that sign here. What one of them has signed and nobody has recorded is nowhere; a CA elsewhere
            may keep it.
    """

    owner: str
    now: datetime
    until: datetime
    replay_from: datetime
    here: frozenset[str] = frozenset()


Companion: TypeAlias = "Callable[[sa.Connection, str, str], None]"
"""What a protocol records of its own in the transaction that makes the certificate the answer: takes the connection,
the request's identifier and the issuer's name. It may be called more than once."""


def key_of(request: EnrollmentRequest) -> bytes:
    """Return what the record finds a request again by: SHA-256 of its idempotency key."""
    return hashlib.sha256(request.key.encode("utf-8", "surrogatepass")).digest()


class Claim(NamedTuple):
    """The wish to sign a plan for a request.

    Attributes:
        request_id: the record's identifier, if it becomes a new one.
        key: of the request, by `key_of`.
        request: what was asked.
        plan: what the policy approved.
        serial: the serial number to reserve.
        lease: who asks to work on it.
        deferred: on which terms persons must approve first; None when nobody must.
        limits: how many certificates of the kind there may be; None for any number.
        companion: what is recorded together with the certificate.
    """

    request_id: str
    key: bytes
    request: EnrollmentRequest
    plan: CertificatePlan
    serial: int
    lease: Lease
    deferred: ApprovalTerms | None = None
    limits: QuotaLimits | None = None
    companion: Companion | None = None


class Granted(NamedTuple):
    """The intent is on disk and the caller's: this plan may be signed now, under this serial number.

    Attributes:
        request_id: the record.
        plan, serial: what to sign; of the record, when it is resumed.
        endpoint, requester, renews: of the record, for the certificate's row.
        resumed: whether an earlier attempt was left half-done: something may have been signed then.
        csr: DER of the request.
        reference: what the CA called this request when it was pending.
        companion: what is recorded together with the certificate.
    """

    request_id: str
    plan: CertificatePlan
    serial: int
    endpoint: str
    requester: str
    renews: int | None
    resumed: bool = False
    csr: bytes | None = None
    reference: str | None = None
    companion: Companion | None = None


class AlreadyIssued(NamedTuple):
    """The key was answered lately: this certificate is the answer again."""

    request_id: str
    der: bytes
    issuer: str


@dataclass(frozen=True, slots=True)
class AwaitsApproval:
    """A person must approve first."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Another process works on it."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A person refused this lately: that is the answer again."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The request is not in a state to be worked on any more."""

    request_id: str


@dataclass(frozen=True, slots=True)
class Spent:
    """A one-time secret that the request came with was used by another; there is no intent."""


@dataclass(frozen=True, slots=True)
class Crowded:
    """As many requests wait for a person as may; there is no intent."""


@dataclass(frozen=True, slots=True)
class OverQuota:
    """One more certificate would be more than a quota lets through; there is no intent.

    Attributes:
        limit: which quota, by its key in policy files.
    """

    limit: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A certificate that the requester is known by, or renews, was revoked meanwhile; there is no intent."""


@dataclass(frozen=True, slots=True)
class Compromised:
    """A certificate with the same key was revoked because somebody else has the key; there is no intent."""


Claimed: TypeAlias = (
    Granted | AlreadyIssued | AwaitsApproval | Rejected | Taken | Spent | Crowded | OverQuota | Withdrawn | Compromised
)

LATE = {"reason": "policy", "message": "Nobody approved the request in time."}
"""What becomes of a request that has waited too long."""

GIVEN_UP = {"reason": "issuer-unavailable", "message": "The request could not be finished in time: ask anew."}
"""What becomes of an intent that is finished for nobody any more."""
