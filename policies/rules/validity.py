"""Validity: from when to when, within the profile, the ceiling and the issuer's own life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from policies.durations import duration_text
from policies.ruling import Ruling, failed, joined, passed

if TYPE_CHECKING:
    from policies.ruling import Question

_SECOND = timedelta(seconds=1)


def build(question: Question) -> tuple[tuple[datetime, datetime], Ruling]:
    """Return notBefore with notAfter, and what was found on the way.

    Both are inclusive (RFC 5280 section 4.1.2.5), so that a certificate of one day ends a second before the same time
    of the next day.
    """
    section, issuer = question.profile.sections.validity, question.issuer
    now = question.request.now.astimezone(UTC).replace(microsecond=0)
    place = question.profile.place("validity", "default")
    not_before = max(now - section.backdate, issuer.not_before)
    not_after = wanted = now + section.default - _SECOND
    value = f"{now.isoformat()} + {duration_text(section.default)}"
    limit = f"the issuer ends {issuer.not_after.isoformat()}"
    if not issuer.not_before <= now < issuer.not_after:
        message = "the issuing CA's certificate is not valid at this time"
        return (not_before, not_after), failed("validity.issuer", place, message, now.isoformat(), limit)
    ruling = passed("validity.issuer", place, value, limit)
    if wanted > issuer.not_after:
        place = question.profile.place("validity", "issuer_end")
        if section.issuer_end == "refuse":
            message = "the certificate would outlive the issuing CA's certificate"
            return (not_before, not_after), failed("validity.issuer", place, message, value, limit)
        not_after = issuer.not_after
        ruling = passed("validity.issuer", place, value, f"shortened: {limit}")
    return (not_before, not_after), joined((ruling, _period(question, not_after - not_before + _SECOND)))


def _period(question: Question, period: timedelta) -> Ruling:
    limit = min(question.profile.sections.validity.limit, question.ceilings.max_validity)
    place = question.profile.place("validity", "max")
    value, most = duration_text(period), duration_text(limit)
    if period > limit:
        message = f"the certificate would be valid for longer than {most}"
        return failed("validity.max", place, message, value, most)
    return passed("validity.max", place, value, most)
