"""Look-ups: the server must have found what the profile wants to know of the requester."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from policies.ruling import Draft, Question, Report


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Deny what could not be looked up, and what is not known where it must be."""
    del draft
    sections = question.profile.sections.lookups
    if not sections:
        return
    answers = {answer.name: answer for answer in question.request.facts.lookups}
    for name, section in sections.items():
        place, answer = question.profile.place("lookups", name), answers.get(name)
        if answer is None or answer.error:
            message = "what must be known of the requester can't be looked up now"
            error = "never asked" if answer is None else answer.error
            report.failed("lookups", place, message, error, section.source)
        elif section.required and not answer.found:
            message = "the requester is not among those known here"
            report.failed("lookups", place, message, f"{name}: not found", section.source)
        else:
            value = ", ".join(f"{key}={text}" for key, text in answer.values) if answer.found else "not found"
            report.passed("lookups", place, f"{name}: {value}", f"{answer.source}, {answer.age} s old")
