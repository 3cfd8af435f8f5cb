"""What an attacker could do with a profile: its weak spots, in the manner of the ESC findings of AD CS.

What would fail long after it was tested is told with them.
None of these is an error: each may be meant so. They are told when files are checked, with the place and the way out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from policies.durations import duration_words
from policies.patterns import REQUESTER, placeholders
from policies.words import PURPOSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from policies.decision import Location
    from policies.profile import PolicyFile, Profile

_IDENTITY_PURPOSES = frozenset(PURPOSES[word] for word in ("clientAuth", "smartcardLogon", "kdcAuthentication"))
_AGENT_PURPOSES = {PURPOSES[word]: word for word in ("certificateRequestAgent", "cmcRA", "cmcCA")}
_LONG_FOR_SERVERS = timedelta(days=398)
_LONG = timedelta(days=3 * 366)


class Severity(StrEnum):
    """How bad it would be."""

    HIGH = "high"
    """Others' identities can be had, or power over others."""
    MEDIUM = "medium"
    """One safeguard is missing."""
    LOW = "low"
    """Worth a second look."""


@dataclass(frozen=True, slots=True)
class Concern:
    """A weak spot.

    Attributes:
        id: its name, for programs.
        severity: how bad it would be.
        location: the key that makes it so.
        message: what could happen, and the way out.
    """

    id: str
    severity: Severity
    location: Location
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.severity}: {self.message} ({self.id})"


def concerns(file: PolicyFile) -> tuple[Concern, ...]:
    """Return the weak spots of a file's profiles, in the order of the file."""
    tested = {test.profile or file.profiles[0].name for test, _ in file.tests}
    found: list[Concern] = []
    for profile in file.profiles:
        found += _identity(profile)
        found += _powers(profile)
        found += _names(profile)
        found += _renewal(profile)
        found += _validity(profile)
        found += _safeguards(profile)
        if profile.name not in tested:
            message = f"no test shows what {profile.name} grants and what it refuses: add one of each under tests"
            found.append(Concern("untested", Severity.LOW, profile.place(), message))
    return tuple(sorted(found, key=lambda one: (one.location.line, one.location.column, one.id)))


def _identity(profile: Profile) -> Iterator[Concern]:
    """Yield where a requester chooses whom the certificate names, and it is good for logging in (as ESC1)."""
    sections = profile.sections
    purposes = {*sections.extended_key_usage.forced, *sections.extended_key_usage.allowed}
    purposes |= {*sections.extended_key_usage.default}
    kinds = {*sections.evidence.any, *sections.evidence.all}
    if not purposes & _IDENTITY_PURPOSES or sections.approval or kinds == {"certificate"} or sections.rules:
        return
    name = sections.subject.allowed.get("CN")
    if name is not None and not name.among_names and not _personal(map(str, name.like)):
        message = (
            "who may enroll here chooses the CN, so it can name somebody else and log in as that one (like ESC1): "
            f'force it (CN: "{REQUESTER}"), bind it (like: ["{REQUESTER}*"]) or let a person approve'
        )
        severity = Severity.MEDIUM if kinds == {"account"} else Severity.HIGH
        yield Concern("requester-names-itself", severity, profile.place("subject", "allowed", "CN"), message)
    if "account" in kinds and len(kinds) == 1:
        return  # the names of an order were validated
    for word, kind in sections.names.kinds:
        if kind.allowed and not _personal(map(str, kind.allowed)):
            message = (
                f"who may enroll here chooses its {word} names among those allowed, also those of others (like ESC1): "
                f"bind them with {REQUESTER}, add a rule, or let a person approve"
            )
            place = profile.place("names", word, "allowed")
            yield Concern("requester-names-itself", Severity.MEDIUM, place, message)


def _personal(patterns: Iterable[str]) -> bool:
    """Whether each pattern is bound to who the requester is, not only to what it says in the CSR."""
    return all(any(not one.startswith("{csr.") for one in placeholders(pattern)) for pattern in patterns)


def _powers(profile: Profile) -> Iterator[Concern]:
    for index, purpose in enumerate(profile.sections.extended_key_usage.forced):
        if purpose in _AGENT_PURPOSES:
            message = (
                f"{_AGENT_PURPOSES[purpose]} lets the holder ask for certificates in the name of others (like ESC3): "
                f"few should have it, each approved by a person"
            )
            severity = Severity.MEDIUM if profile.sections.approval else Severity.HIGH
            place = profile.place("extended_key_usage", "forced", index)
            yield Concern("enrollment-agent", severity, place, message)
    if profile.sections.unused.powers == "ignore":
        message = "a request for CA:TRUE and the like is no alarm here: refuse it, then it is on record as what it is"
        yield Concern("powers-ignored", Severity.LOW, profile.place("unused", "powers"), message)


def _names(profile: Profile) -> Iterator[Concern]:
    dns = profile.sections.names.dns
    if dns is not None and dns.wildcards == "allowed":
        message = "a wildcard certificate speaks for every name below: name the few that need it, or forbid them"
        yield Concern("wildcards", Severity.LOW, profile.place("names", "dns", "wildcards"), message)
    for index, pattern in enumerate(dns.allowed if dns is not None else ()):
        if pattern.stars == "**" and "." not in pattern.fixed and pattern.fixed not in _RESERVED:
            message = f"{pattern} is a whole top-level domain: name your own domains"
            yield Concern("whole-domain", Severity.HIGH, profile.place("names", "dns", "allowed", index), message)


_RESERVED = frozenset({"test", "example", "invalid", "localhost", "internal", "local", "onion", "alt"})


def _renewal(profile: Profile) -> Iterator[Concern]:
    sections = profile.sections
    chosen = {"subject": _chooses_subject(profile), "names": _chooses_names(profile)}
    shown = "certificate" in {*sections.evidence.any, *sections.evidence.all}
    if sections.certificate_names == "any" and shown and any(chosen.values()):
        message = "whoever holds one certificate can have one for any other allowed name: write certificate_names: same"
        yield Concern("certificate-for-any-name", Severity.HIGH, profile.place("certificate_names"), message)
    renewal = sections.renewal
    if renewal is None:
        return
    wanted = renewal.evidence or sections.evidence
    if {*wanted.any, *wanted.all} <= {"challenge", "possession"}:
        message = (
            "SCEP clients renew with their certificate and mostly without a challenge, so they are refused when their "
            "time comes: write evidence: {any: [certificate]} under renewal"
        )
        yield Concern("renewal-without-certificate", Severity.LOW, profile.place("renewal"), message)
    for key in ("subject", "names"):
        if getattr(renewal, key) == "any" and chosen[key]:
            message = f"a renewal may change its {key}: one stolen key becomes any allowed identity; write {key}: same"
            yield Concern("renewal-changes-identity", Severity.MEDIUM, profile.place("renewal", key), message)


def _chooses_subject(profile: Profile) -> bool:
    """Whether something of the subject is what the requester says."""
    return any(not _personal(map(str, rule.like)) for rule in profile.sections.subject.allowed.values())


def _chooses_names(profile: Profile) -> bool:
    """Whether some of the names are what the requester says."""
    return any(kind.allowed and not _personal(map(str, kind.allowed)) for _, kind in profile.sections.names.kinds)


def _validity(profile: Profile) -> Iterator[Concern]:
    sections, limit = profile.sections, profile.sections.validity.limit
    place = profile.place("validity", "max" if sections.validity.max else "default")
    if limit > _LONG:
        message = (
            f"{duration_words(limit)} is long: a stolen key is good for all of it where revocation is not looked at"
        )
        yield Concern("long-validity", Severity.LOW, place, message)
    elif PURPOSES["serverAuth"] in sections.extended_key_usage.forced and limit > _LONG_FOR_SERVERS:
        message = f"{duration_words(limit)} for a TLS server: browsers and Apple's systems refuse more than 398d"
        yield Concern("long-validity", Severity.LOW, place, message)


def _safeguards(profile: Profile) -> Iterator[Concern]:
    if profile.sections.key.weak == "report":
        message = "weak keys are certified, though others can work out the private key: write weak: refuse"
        yield Concern("weak-keys", Severity.HIGH, profile.place("key", "weak"), message)
    for index, rule in enumerate(profile.sections.rules):
        if rule.shadow:
            message = f"the rule {rule.id} is on trial and denies nothing yet"
            yield Concern("rule-on-trial", Severity.LOW, profile.place("rules", index, "shadow"), message)
