"""Evidence: has the requester proven who it is, in a way that this profile takes?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.request import CertificateEvidence, Kind

if TYPE_CHECKING:
    from policies.decision import Location
    from policies.profile import Profile
    from policies.ruling import Draft, Question, Report
    from policies.sections import Evidence

    _Demand = tuple[Evidence, str, Location]


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Compare the evidence with what is asked for; bind what a certificate may get to the names that it has."""
    first, renewing, bound = question.profile.prepared(_demands)
    wanted, limit, place = renewing if question.request.kind is Kind.RENEW else first
    present = question.asked.evidence
    value = ", ".join(sorted(present))
    if not wanted.is_met_by(present):
        message = "this kind of authentication is not enough for this certificate"
        report.failed("evidence", place, message, value or "none", limit)
        return
    report.passed("evidence", place, value, limit)
    if not bound or "certificate" not in present or question.request.kind is not Kind.ENROLL:
        return
    if not wanted.is_met_by(present - {"certificate"}):
        _own_names(question, draft, report)


def _demands(profile: Profile) -> tuple[_Demand, _Demand, bool]:
    """Return what is demanded for a first certificate and for a renewal; whether a certificate proves but its names."""
    sections = profile.sections
    first = renewing = sections.evidence, sections.evidence.limit, profile.place("evidence")
    if sections.renewal is not None and sections.renewal.evidence is not None:
        wanted = sections.renewal.evidence
        renewing = wanted, wanted.limit, profile.place("renewal", "evidence")
    return first, renewing, sections.certificate_names == "same"


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
