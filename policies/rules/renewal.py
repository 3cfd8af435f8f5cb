"""Renewal: the certificate that is replaced, and what the new one may change."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from policies.durations import duration_text
from policies.request import CertificateEvidence, Kind

if TYPE_CHECKING:
    from policies.request import Renewed
    from policies.ruling import Draft, Question, Report
    from policies.sections import Renewal


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Compare a renewal with the certificate that it replaces; a first enrollment passes."""
    request, section = question.request, question.profile.sections.renewal
    old = request.renewed
    if old is None and request.kind is not Kind.RENEW:
        return
    place = question.profile.place("renewal")
    if request.kind is not Kind.RENEW:
        report.failed("renewal", place, "this is no renewal, and names a certificate to be renewed")
        return
    if old is None:
        report.failed("renewal", place, "there is no certificate to be renewed")
    elif section is None:
        report.failed("renewal", place, "certificates of this profile are not renewed", "renew", "absent")
    else:
        _profile(question, section, old, report)
        _evidence(question, old, report)
        _subject(question, draft, section, old, report)
        _names(question, draft, section, old, report)
        _key(question, section, old, report)
        _window(question, section, old, report)


def _profile(question: Question, section: Renewal, old: Renewed, report: Report) -> None:
    wanted = section.profiles or (question.profile.name,)
    place, limit = question.profile.place("renewal", "profiles"), ", ".join(wanted)
    if old.profile in wanted:
        report.passed("renewal.profile", place, old.profile, limit)
    else:
        message = "the certificate to be renewed was issued for another purpose"
        report.failed("renewal.profile", place, message, old.profile, limit)


def _evidence(question: Question, old: Renewed, report: Report) -> None:
    """Who shows one of our certificates may renew that one and no other."""
    for evidence in question.request.requester.evidence:
        if isinstance(evidence, CertificateEvidence) and evidence.anchor == "own" and evidence.serial != old.serial:
            message, place = "the certificate presented is not the one to be renewed", question.profile.place("renewal")
            report.failed("renewal.evidence", place, message, f"{evidence.serial:x}", f"{old.serial:x}")


def _subject(question: Question, draft: Draft, section: Renewal, old: Renewed, report: Report) -> None:
    """The same subject, in the new certificate or in what is asked for: a changed profile shuts nobody out."""
    place = question.profile.place("renewal", "subject")
    if section.subject == "any" or draft.subject.matches(old.subject):
        report.passed("renewal.subject", place, "", section.subject)
    elif question.request.csr.subject.matches(old.subject):
        report.passed("renewal.subject", place, "the same is asked for; the profile changes it", section.subject)
    else:
        message = "the subject is not that of the certificate to be renewed"
        report.failed("renewal.subject", place, message, str(draft.subject), str(old.subject))


def _names(question: Question, draft: Draft, section: Renewal, old: Renewed, report: Report) -> None:
    place = question.profile.place("renewal", "names")
    asked, names, had = set(question.request.csr.names), set(draft.names), set(old.names)
    fewer = section.names == "fewer" and names <= had
    if section.names == "any" or had in (names, asked) or fewer:
        report.passed("renewal.names", place, "", section.names)
    else:
        message = "the names are not those of the certificate to be renewed"
        value, limit = (", ".join(sorted(map(str, these))) for these in (names, had))
        report.failed("renewal.names", place, message, value, limit)


def _key(question: Question, section: Renewal, old: Renewed, report: Report) -> None:
    place = question.profile.place("renewal", "key")
    value = "same" if question.request.csr.spki == old.spki else "new"
    if section.key in {"any", value}:
        report.passed("renewal.key", place, value, section.key)
    else:
        message = "a renewal needs a new key" if section.key == "new" else "a renewal must keep the key"
        report.failed("renewal.key", place, message, value, section.key)
    if section.key_renewals is not None and value == "same":
        _key_renewals(question, section.key_renewals, report)


def _key_renewals(question: Question, most: int, report: Report) -> None:
    place, before = question.profile.place("renewal", "key_renewals"), question.request.facts.key_renewals
    if before is None:
        report.failed("renewal.key", place, "the renewals of this key can't be counted now", "not counted", str(most))
    elif before >= most:
        report.failed(
            "renewal.key", place, "this key was renewed as often as it may be: make a new one", str(before), str(most)
        )
    else:
        report.passed("renewal.key", place, str(before), str(most))


def _window(question: Question, section: Renewal, old: Renewed, report: Report) -> None:
    window = section.window
    if window is None:
        return
    if not isinstance(window, timedelta):
        window = timedelta(seconds=int(window * (old.not_after - old.not_before).total_seconds()))
    place, opens = question.profile.place("renewal", "window"), old.not_after - window
    left = f"{duration_text(max(old.not_after - question.request.now, timedelta(0)))} left"
    if question.request.now >= opens:
        report.passed("renewal.window", place, left, duration_text(window))
    else:
        message = f"it is too early to renew; try again from {opens:%Y-%m-%d %H:%M} UTC on"
        report.failed("renewal.window", place, message, left, duration_text(window))
