"""What a rule is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from policies.decision import Check, Finding, Location, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from ca.names import DistinguishedName, GeneralName
    from ca.plan import KeyUsage
    from policies.profile import Ceilings, IssuerFacts, Profile
    from policies.request import EnrollmentRequest


@dataclass(frozen=True, slots=True)
class Question:
    """What there is to be judged: a request under a profile, within what issuer and ceilings let through."""

    profile: Profile
    request: EnrollmentRequest
    issuer: IssuerFacts
    ceilings: Ceilings


@dataclass(frozen=True, slots=True)
class Draft:
    """The certificate that the profile makes of the request, as far as anything may be judged.

    Attributes:
        subject, names: who it is for.
        key_usage, purposes: what it is for; purposes as dotted numbers.
        not_before, not_after: aware UTC, whole seconds, inclusive.
    """

    subject: DistinguishedName
    names: tuple[GeneralName, ...]
    key_usage: frozenset[KeyUsage]
    purposes: tuple[str, ...]
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a rule found; findings deny."""

    checks: tuple[Check, ...] = ()
    findings: tuple[Finding, ...] = ()
    ignored: tuple[str, ...] = ()


SILENT = Ruling()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over question and draft; a pure function with the identifier under which it reports."""

    id: str
    judge: Callable[[Question, Draft], Ruling]


def passed(rule: str, location: Location, value: str = "", limit: str = "") -> Ruling:
    """Return the ruling of a rule that has nothing against the request."""
    return Ruling((Check(rule, Verdict.PASS, location, value, limit),))


def failed(rule: str, location: Location, message: str, value: str = "", limit: str = "") -> Ruling:
    """Return the ruling of a rule that denies; `message` is for the requester, the rest for administrators."""
    return Ruling(
        (Check(rule, Verdict.FAIL, location, value, limit),), (Finding(rule, message, location, value, limit),)
    )


def ignored(*phrases: str) -> Ruling:
    """Return the ruling that something of the request has no influence."""
    return Ruling(ignored=phrases)


def joined(rulings: Iterable[Ruling]) -> Ruling:
    """Return all rulings as one."""
    checks: list[Check] = []
    findings: list[Finding] = []
    phrases: list[str] = []
    for ruling in rulings:
        checks += ruling.checks
        findings += ruling.findings
        phrases += ruling.ignored
    return Ruling(tuple(checks), tuple(findings), tuple(phrases))
