"""What a policy answers: Approved, Denied or Deferred, always with the trace of how it got there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta  # noqa: TC003 - pydantic looks at the fields of Rate
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ca.plan import CertificatePlan


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a policy file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason against a request.

    Attributes:
        rule: the rule's identifier, such as ``san.dns``.
        message: one sentence that the requester may see.
        location: where in the policy file the rule stands.
        value: what was asked for, as text; for administrators.
        limit: what is allowed, as text; for administrators.
    """

    rule: str
    message: str
    location: Location
    value: str = ""
    limit: str = ""


class Verdict(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    ERROR = "error"
    SHADOW = "shadow"
    """A rule that is on trial would have denied."""


Entry = tuple[str, Verdict, Location, str, str]
"""A check as rules write it; most are never read."""


class Check(NamedTuple):
    """One line of the trace: which rule looked at what and how it ended."""

    rule: str
    verdict: Verdict
    location: Location
    value: str = ""
    limit: str = ""


class Trace(NamedTuple):
    """How a decision came about; for administrators.

    Attributes:
        profile: the profile that judged, empty when none matched.
        policy_digest: SHA-256, hex, of the file it stands in.
        entries: every check that ran, in order; to be read as `checks`.
        ignored: what of the CSR had no influence, each as one readable phrase.
        considered: profiles that were looked at and did not apply, each with the reason.
        shadows: what rules on trial would have denied for.
    """

    profile: str
    policy_digest: str
    entries: tuple[Entry, ...] = ()
    ignored: tuple[str, ...] = ()
    considered: tuple[str, ...] = ()
    shadows: tuple[Finding, ...] = ()

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check that ran, in order."""
        return tuple(map(Check._make, self.entries))


class Rate(NamedTuple):
    """How many within a time."""

    number: int
    period: timedelta


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """How many certificates are given, to be kept when the intent is written: others may come in the same instant.

    Attributes:
        active: how many valid certificates of the profile a requester may hold.
        to_requester, under_profile: how many in a time.
    """

    active: int | None = None
    to_requester: Rate | None = None
    under_profile: Rate | None = None


class Approved(NamedTuple):
    """The plan may be signed, once.

    Attributes:
        plan: what may be signed.
        trace: how it came about.
        full_lint: whether the profile wants each certificate linted in full, however many like it were clean.
        limits: how many there may be of the kind, None for any number.
    """

    plan: CertificatePlan
    trace: Trace
    full_lint: bool = False
    limits: QuotaLimits | None = None


class Denied(NamedTuple):
    """The request is refused; there is at least one finding."""

    findings: tuple[Finding, ...]
    trace: Trace


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """Who must approve.

    Attributes:
        count: how many persons.
        role: the role that each must have, None for anybody.
        expires: how long the request waits, None for any time.
    """

    count: int = 1
    role: str | None = None
    expires: timedelta | None = None


class Deferred(NamedTuple):
    """A person must approve; the plan is what would be signed, on these terms."""

    findings: tuple[Finding, ...]
    plan: CertificatePlan
    trace: Trace
    full_lint: bool = False
    terms: ApprovalTerms = ApprovalTerms()
    limits: QuotaLimits | None = None


Decision = Approved | Denied | Deferred
