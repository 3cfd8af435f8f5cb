"""Evidence: has the requester proven who it is, in a way that this profile takes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.request import CertificateEvidence, Kind

if TYPE_CHECKING:
    from policies.decision import Location
    from policies.ruling import Draft, Question, Report
    from policies.sections import Evidence


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Compare the evidence with what is asked for; bind what a certificate may get to the names that it has."""
    wanted, place = _wanted(question)
    present = question.asked.evidence
    value = ", ".join(sorted(present))
    if not wanted.is_met_by(present):
        message = "this kind of authentication is not enough for this certificate"
        report.failed("evidence", place, message, value or "none", wanted.limit)
        return
    report.passed("evidence", place, value, wanted.limit)
    bound = question.profile.sections.certificate_names == "same" and question.request.kind is Kind.ENROLL
    if bound and "certificate" in present and not wanted.is_met_by(present - {"certificate"}):
        _own_names(question, draft, report)


def _wanted(question: Question) -> tuple[Evidence, Location]:
    profile = question.profile
    renewal = profile.sections.renewal
    if question.request.kind is Kind.RENEW and renewal is not None and renewal.evidence is not None:
        return renewal.evidence, profile.place("renewal", "evidence")
    return profile.sections.evidence, profile.place("evidence")


def _own_names(question: Question, draft: Draft, report: Report) -> None:
    """A certificate is evidence for the names in it and for no others."""
    place = question.profile.place("certificate_names")
    for evidence in question.request.requester.evidence:
        if isinstance(evidence, CertificateEvidence) and (
            not draft.subject.matches(evidence.subject) or set(draft.names) != set(evidence.names)
        ):
            value = f"{evidence.subject} [{', '.join(map(str, evidence.names))}]"
            message = "the certificate that was presented has other names than those asked for"
            report.failed("certificate_names", place, message, value, "same")
            return
    report.passed("certificate_names", place, limit="same")
