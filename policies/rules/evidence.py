"""Evidence: has the requester proven who it is, in a way that this profile takes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.request import EVIDENCE_WORDS, CertificateEvidence, Kind
from policies.ruling import Ruling, failed, joined, passed

if TYPE_CHECKING:
    from policies.decision import Location
    from policies.ruling import Draft, Question
    from policies.sections import Evidence


def judge(question: Question, draft: Draft) -> Ruling:
    """Compare the evidence with what is asked for; bind what a certificate may get to the names that it has."""
    wanted, place = _wanted(question)
    present = {EVIDENCE_WORDS[type(evidence)] for evidence in question.request.requester.evidence}
    limit = f"any of {', '.join(wanted.any)}" if wanted.any else f"all of {', '.join(wanted.all)}"
    value = ", ".join(sorted(present)) or "none"
    enough = not present.isdisjoint(wanted.any) if wanted.any else present.issuperset(wanted.all)
    if not enough:
        return failed("evidence", place, "this kind of authentication is not enough for this certificate", value, limit)
    ruling = passed("evidence", place, value, limit)
    rests_on_certificate = "certificate" in present and (
        present.intersection(wanted.any) == {"certificate"} if wanted.any else "certificate" in wanted.all
    )
    bound = question.profile.sections.certificate_names == "same" and question.request.kind is Kind.ENROLL
    return joined((ruling, _own_names(question, draft))) if rests_on_certificate and bound else ruling


def _wanted(question: Question) -> tuple[Evidence, Location]:
    profile = question.profile
    renewal = profile.sections.renewal
    if question.request.kind is Kind.RENEW and renewal is not None and renewal.evidence is not None:
        return renewal.evidence, profile.place("renewal", "evidence")
    return profile.sections.evidence, profile.place("evidence")


def _own_names(question: Question, draft: Draft) -> Ruling:
    """A certificate is evidence for the names in it and for no others."""
    place = question.profile.place("certificate_names")
    for evidence in question.request.requester.evidence:
        if isinstance(evidence, CertificateEvidence) and (
            not draft.subject.matches(evidence.subject) or set(draft.names) != set(evidence.names)
        ):
            value = f"{evidence.subject} [{', '.join(map(str, evidence.names))}]"
            message = "the certificate that was presented has other names than those asked for"
            return failed("certificate_names", place, message, value, "same")
    return passed("certificate_names", place, limit="same")
