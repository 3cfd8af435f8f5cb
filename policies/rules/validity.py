"""Validity: from when to when, within the profile, the ceiling and the issuer's own life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from policies.durations import duration_text, duration_words

if TYPE_CHECKING:
    from policies.ruling import Question, Report

_SECOND = timedelta(seconds=1)


def build(question: Question, report: Report) -> tuple[datetime, datetime]:
    """Return notBefore and notAfter.

    Both are inclusive (RFC 5280 section 4.1.2.5), so that a certificate of one day ends a second before the same time
    of the next day.
    """
    section, issuer, profile = question.profile.sections.validity, question.issuer, question.profile
    now = question.request.now.astimezone(UTC).replace(microsecond=0)
    not_before = max(now - section.backdate, issuer.not_before)
    not_after = now + section.default - _SECOND
    place = profile.place("validity", "default")
    if not issuer.not_before <= now < issuer.not_after:
        message = "the issuing CA's certificate is not valid at this time"
        limit = f"{issuer.not_before.isoformat()} to {issuer.not_after.isoformat()}"
        report.failed("validity.issuer", place, message, now.isoformat(), limit)
    elif not_after > issuer.not_after:
        place, limit = profile.place("validity", "issuer_end"), f"the issuer ends {issuer.not_after.isoformat()}"
        if section.issuer_end == "refuse":
            message = "the certificate would outlive the issuing CA's certificate"
            report.failed("validity.issuer", place, message, not_after.isoformat(), limit)
        else:
            report.passed("validity.issuer", place, f"shortened from {not_after.isoformat()}", limit)
            not_after = issuer.not_after
    period, limit_ = not_after - not_before + _SECOND, min(section.limit, question.ceilings.max_validity)
    place = profile.place("validity", "max")
    if period > limit_:
        message = f"the certificate would be valid for longer than {duration_text(limit_)}"
        report.failed("validity.max", place, message, duration_words(period), duration_words(limit_))
    else:
        report.passed("validity.max", place, duration_words(period), duration_words(limit_))
    return not_before, not_after
