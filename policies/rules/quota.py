"""Quotas: how many certificates the requester may hold, and how many are given within a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.durations import duration_text
from policies.request import Kind

if TYPE_CHECKING:
    from policies.ruling import Draft, Question, Report


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Compare what was counted with the limits; what was not counted denies."""
    del draft
    quota = question.profile.sections.quota
    if quota is None:
        return
    facts = question.request.facts
    limits: list[tuple[str, int | None, int, str]] = []
    if quota.active is not None and question.request.kind is Kind.ENROLL:
        message = "the requester holds as many valid certificates as it may"
        limits.append(("active", facts.active, quota.active, message))
    rates = (
        ("per_requester", facts.issued_to_requester, quota.per_requester, "to this requester"),
        ("per_profile", facts.issued_under_profile, quota.per_profile, "of this kind"),
    )
    for key, number, rate, whose in rates:
        if rate is not None:
            words = f"at most {rate.number} in {duration_text(rate.period)}"
            limits.append((key, number, rate.number, f"too many certificates {whose} were issued lately; {words}"))
    for key, number, most, message in limits:
        place = question.profile.place("quota", key)
        if number is None:
            uncounted = "the certificates issued so far can't be counted now"
            report.failed("quota", place, uncounted, f"{key}: not counted", str(most))
        elif number >= most:
            report.failed("quota", place, message, f"{key}: {number}", str(most))
        else:
            report.passed("quota", place, f"{key}: {number}", str(most))
