"""A certificate names somebody: an empty subject together with no names is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.ruling import SILENT, Ruling, failed

if TYPE_CHECKING:
    from policies.ruling import Draft, Question


def judge(question: Question, draft: Draft) -> Ruling:
    """Deny a certificate without any name (RFC 5280 section 4.1.2.6)."""
    if draft.subject or draft.names:
        return SILENT
    message = "the certificate would name nobody: there is no subject and no subjectAltName"
    return failed("identity", question.profile.place(), message)
