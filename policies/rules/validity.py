"""Validity: from when to when, within the profile, the ceiling and the issuer's own life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from policies.durations import duration_text, duration_words

if TYPE_CHECKING:
    from policies.decision import Location
    from policies.profile import Profile
    from policies.ruling import Question, Report

_SECOND = timedelta(seconds=1)


def build(question: Question, report: Report) -> tuple[datetime, datetime]:
    """Return notBefore and notAfter.

    Both are inclusive (RFC 5280 section 4.1.2.5), so that a certificate of one day ends a second before the same time
    of the next day.
    """
    profile, request, issuer, ceilings, _ = question
    backdate, lifetime, longest, place_of_max = profile.prepared(_period)
    now = request.now.astimezone(UTC).replace(microsecond=0)
    not_before = max(now - backdate, issuer.not_before)
    not_after = now + lifetime
    if not issuer.not_before <= now < issuer.not_after:
        message = "the issuing CA's certificate is not valid at this time"
        limit = f"{issuer.not_before.isoformat()} to {issuer.not_after.isoformat()}"
        report.failed("validity.issuer", profile.place("validity", "default"), message, now.isoformat(), limit)
    elif not_after > issuer.not_after:
        place, limit = profile.place("validity", "issuer_end"), f"the issuer ends {issuer.not_after.isoformat()}"
        if profile.sections.validity.issuer_end == "refuse":
            message = "the certificate would outlive the issuing CA's certificate"
            report.failed("validity.issuer", place, message, not_after.isoformat(), limit)
        else:
            report.passed("validity.issuer", place, f"shortened from {not_after.isoformat()}", limit)
            not_after = issuer.not_after
    period, limit_ = not_after - not_before + _SECOND, min(longest, ceilings.max_validity)
    if period > limit_:
        message = f"the certificate would be valid for longer than {duration_text(limit_)}"
        report.failed("validity.max", place_of_max, message, duration_words(period), duration_words(limit_))
    else:
        report.passed("validity.max", place_of_max, duration_words(period), duration_words(limit_))
    return not_before, not_after


def _period(profile: Profile) -> tuple[timedelta, timedelta, timedelta, Location]:
    """Return how long before and after now a certificate is valid, how long it may be, and where that stands."""
    section = profile.sections.validity
    return section.backdate, section.default - _SECOND, section.limit, profile.place("validity", "max")
