"""Renewal: the certificate that is replaced, and what the new one may change."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from policies.durations import duration_text
from policies.request import CertificateEvidence, Kind
from policies.ruling import SILENT, Ruling, failed, joined, passed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policies.request import Renewed
    from policies.ruling import Draft, Question
    from policies.sections import Renewal


def judge(question: Question, draft: Draft) -> Ruling:
    """Compare a renewal with the certificate that it replaces; a first enrollment passes."""
    request, section = question.request, question.profile.sections.renewal
    place = question.profile.place("renewal")
    if request.kind is not Kind.RENEW:
        if request.renewed is not None:
            return failed("renewal", place, "this is no renewal, and names a certificate to be renewed")
        return SILENT
    if request.renewed is None:
        return failed("renewal", place, "there is no certificate to be renewed")
    if section is None:
        return failed("renewal", place, "certificates of this profile are not renewed", "renew", "absent")
    return joined(_rulings(question, draft, section, request.renewed))


def _rulings(question: Question, draft: Draft, section: Renewal, old: Renewed) -> Iterator[Ruling]:
    yield _profile(question, section, old)
    yield _evidence(question, old)
    yield _subject(question, draft, section, old)
    yield _names(question, draft, section, old)
    yield _key(question, section, old)
    yield _window(question, section, old)


def _profile(question: Question, section: Renewal, old: Renewed) -> Ruling:
    wanted = section.profiles or (question.profile.name,)
    place = question.profile.place("renewal", "profiles")
    if old.profile not in wanted:
        message = "the certificate to be renewed was issued for another purpose"
        return failed("renewal.profile", place, message, old.profile, ", ".join(wanted))
    return passed("renewal.profile", place, old.profile, ", ".join(wanted))


def _evidence(question: Question, old: Renewed) -> Ruling:
    """Who shows one of our certificates may renew that one and no other."""
    place = question.profile.place("renewal")
    for evidence in question.request.requester.evidence:
        if isinstance(evidence, CertificateEvidence) and evidence.anchor == "own" and evidence.serial != old.serial:
            message = "the certificate that was presented is not the one to be renewed"
            return failed("renewal.evidence", place, message, f"{evidence.serial:x}", f"{old.serial:x}")
    return SILENT


def _subject(question: Question, draft: Draft, section: Renewal, old: Renewed) -> Ruling:
    place = question.profile.place("renewal", "subject")
    if section.subject == "any" or draft.subject.matches(old.subject):
        return passed("renewal.subject", place, "", section.subject)
    if question.request.csr.subject.matches(old.subject):
        return passed("renewal.subject", place, "the same is asked for; the profile has changed", section.subject)
    message = "the subject is not that of the certificate to be renewed"
    return failed("renewal.subject", place, message, str(draft.subject), str(old.subject))


def _names(question: Question, draft: Draft, section: Renewal, old: Renewed) -> Ruling:
    place = question.profile.place("renewal", "names")
    asked, had = set(question.request.csr.names), set(old.names)
    if section.names == "any" or set(draft.names) == had or asked == had:
        return passed("renewal.names", place, "", section.names)
    if section.names == "fewer" and had.issuperset(draft.names):
        return passed("renewal.names", place, "", section.names)
    message = "the names are not those of the certificate to be renewed"
    return failed("renewal.names", place, message, ", ".join(map(str, draft.names)), ", ".join(map(str, old.names)))


def _key(question: Question, section: Renewal, old: Renewed) -> Ruling:
    place = question.profile.place("renewal", "key")
    same = question.request.csr.spki == old.spki
    if section.key == "new" and same:
        return failed("renewal.key", place, "a renewal needs a new key", "same", "new")
    if section.key == "same" and not same:
        return failed("renewal.key", place, "a renewal must keep the key", "new", "same")
    return passed("renewal.key", place, "same" if same else "new", section.key)


def _window(question: Question, section: Renewal, old: Renewed) -> Ruling:
    if section.window is None:
        return SILENT
    place = question.profile.place("renewal", "window")
    window = section.window
    if not isinstance(window, timedelta):
        window *= old.not_after - old.not_before
    opens = old.not_after - window
    left = duration_text(max(old.not_after - question.request.now, timedelta(0)))
    if question.request.now < opens:
        message = f"it is too early to renew; try again from {opens:%Y-%m-%d %H:%M} UTC on"
        return failed("renewal.window", place, message, f"{left} left", duration_text(window))
    return passed("renewal.window", place, f"{left} left", duration_text(window))
