"""Key usage and extended key usage: what the profile forces, and what it lets the request add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.profile import fits_key
from policies.words import PURPOSE_NAMES, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ca.plan import KeyUsage
    from policies.ruling import Question, Report


def build_key_usage(question: Question, report: Report) -> frozenset[KeyUsage]:
    """Return the bits of keyUsage."""
    section, wanted = question.profile.sections.key_usage, question.asked.key_usage
    kind = question.request.csr.key_shape.kind
    granted, text = section.granted(kind)
    place = question.profile.place("key_usage")
    if not wanted:
        report.passed("key_usage", place, "", text)
        return granted
    granted |= {bit for bit in wanted.intersection(section.allowed) if fits_key(bit, kind)}
    report.passed("key_usage", place, ", ".join(sorted(wanted)), ", ".join(sorted(granted)))
    _left_over(question, "key_usage", sorted(wanted - granted), report)
    return granted


def build_purposes(question: Question, report: Report) -> tuple[str, ...]:
    """Return the extended key usages; none at all is a finding, because no list would mean every purpose."""
    section, wanted = question.profile.sections.extended_key_usage, question.asked.purposes
    place = question.profile.place("extended_key_usage")
    if not wanted:
        granted = tuple(dict.fromkeys((*section.forced, *section.default)))
    else:
        granted = tuple(dict.fromkeys((*section.forced, *(one for one in wanted if one in section.allowed))))
    if not granted:
        message = "none of the extended key usages that are asked for is allowed here"
        report.failed("extended_key_usage", place, message, _purposes(wanted), _purposes(section.allowed))
        return ()
    report.passed("extended_key_usage", place, _purposes(wanted), _purposes(granted))
    left = [name_of(purpose, PURPOSE_NAMES) for purpose in wanted if purpose not in granted]
    _left_over(question, "extended_key_usage", left, report)
    return granted


def _left_over(question: Question, rule: str, words: Sequence[str], report: Report) -> None:
    """Say what was asked for and is not granted."""
    if not words:
        return
    text = ", ".join(words)
    if question.profile.sections.unused.usages == "ignore":
        report.unused(f"{rule} {text}")
    else:
        place = question.profile.place("unused", "usages")
        report.failed(rule, place, f"not allowed here: {text}", text, "refuse")


def _purposes(purposes: Iterable[str]) -> str:
    return ", ".join([name_of(purpose, PURPOSE_NAMES) for purpose in purposes])
