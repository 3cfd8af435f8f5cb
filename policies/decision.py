"""What a policy answers: Approved, Denied or Deferred, always with the trace of how it got there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta

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


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the trace: which rule looked at what and how it ended."""

    rule: str
    verdict: Verdict
    location: Location
    value: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """How a decision came about; for administrators.

    Attributes:
        profile: the profile that judged, empty when none matched.
        policy_digest: SHA-256, hex, of the file it stands in.
        checks: every check that ran, in order.
        ignored: what of the CSR had no influence, each as one readable phrase.
        considered: profiles that were looked at and did not apply, each with the reason.
        shadows: what rules on trial would have denied for.
    """

    profile: str
    policy_digest: str
    checks: tuple[Check, ...] = ()
    ignored: tuple[str, ...] = ()
    considered: tuple[str, ...] = ()
    shadows: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Approved:
    """The plan may be signed, once.

    Attributes:
        plan: what may be signed.
        trace: how it came about.
        full_lint: whether the profile wants each certificate linted in full, however many like it were clean.
    """

    plan: CertificatePlan
    trace: Trace
    full_lint: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
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


@dataclass(frozen=True, slots=True)
class Deferred:
    """A person must approve; the plan is what would be signed, on these terms."""

    findings: tuple[Finding, ...]
    plan: CertificatePlan
    trace: Trace
    full_lint: bool = False
    terms: ApprovalTerms = ApprovalTerms()


Decision = Approved | Denied | Deferred
