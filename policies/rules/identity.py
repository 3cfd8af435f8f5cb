"""A certificate names somebody: an empty subject together with no names is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.ruling import Draft, Question, Report


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Deny a certificate without any name (RFC 5280 section 4.1.2.6)."""
    if not draft.names and not draft.subject:
        message = "the certificate would name nobody: there is no subject and no subjectAltName"
        report.failed("identity", question.profile.place(), message)
