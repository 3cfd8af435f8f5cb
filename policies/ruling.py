"""What a rule is given and how it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from policies.decision import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ca.names import DistinguishedName, GeneralName
    from ca.plan import KeyUsage
    from policies.asked import Asked
    from policies.decision import Entry, Location
    from policies.profile import Ceilings, IssuerFacts, Profile
    from policies.request import EnrollmentRequest


_PASS = Verdict.PASS  # members of an enumeration are found slowly, and this is the one that is wanted


class Question(NamedTuple):
    """What there is to be judged: a request under a profile, within what issuer and ceilings let through.

    Attributes:
        profile, request, issuer, ceilings: the givens.
        asked: what the request asks for, read out of it once.
    """

    profile: Profile
    request: EnrollmentRequest
    issuer: IssuerFacts
    ceilings: Ceilings
    asked: Asked


class Draft(NamedTuple):
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


class Report:
    """Where rules write what they found; they can't read it. A finding denies."""

    __slots__ = ("entries", "findings", "ignored", "shadows")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.findings: list[Finding] = []
        self.ignored: list[str] = []
        self.shadows: list[Finding] = []

    def passed(self, rule: str, location: Location, value: str = "", limit: str = "") -> None:
        """Say that a rule has nothing against the request."""
        self.entries.append((rule, _PASS, location, value, limit))

    def failed(self, rule: str, location: Location, message: str, value: str = "", limit: str = "") -> None:
        """Deny; `message` is for the requester, the rest for administrators."""
        self.entries.append((rule, Verdict.FAIL, location, value, limit))
        self.findings.append(Finding(rule, message, location, value, limit))

    def faulty(self, rule: str, location: Location, error: Exception) -> None:
        """Deny, because the rule itself went wrong."""
        cause = repr(error)
        self.entries.append((rule, Verdict.ERROR, location, cause, ""))
        message = "the policy could not be evaluated; its administrator knows more"
        self.findings.append(Finding(rule, message, location, cause))

    def on_trial(self, rule: str, location: Location, message: str, value: str = "", limit: str = "") -> None:
        """Say that a rule would deny, were it not on trial."""
        self.entries.append((rule, Verdict.SHADOW, location, value, limit))
        self.shadows.append(Finding(rule, message, location, value, limit))

    def unused(self, phrase: str) -> None:
        """Say that something of the request has no influence."""
        self.ignored.append(phrase)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule over question and draft, and the identifier of its faults; it changes nothing but the report."""

    id: str
    judge: Callable[[Question, Draft, Report], None]
