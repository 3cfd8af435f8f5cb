"""Key usage and extended key usage: what the profile forces, and what it lets the request add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.profile import fits_key
from policies.words import PURPOSE_NAMES, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ca.plan import KeyUsage
    from policies.decision import Location
    from policies.profile import Profile
    from policies.ruling import Question, Report


def build_key_usage(question: Question, report: Report) -> frozenset[KeyUsage]:
    """Return the bits of keyUsage."""
    wanted, kind = question.asked.key_usage, question.request.csr.key_shape.kind
    always, place = question.profile.prepared(_key_usage)
    granted, text = always[kind]
    if not wanted:
        report.passed("key_usage", place, "", text)
        return granted
    allowed = question.profile.sections.key_usage.allowed
    granted |= {bit for bit in wanted.intersection(allowed) if fits_key(bit, kind)}
    report.passed("key_usage", place, ", ".join(sorted(wanted)), ", ".join(sorted(granted)))
    _left_over(question, "key_usage", sorted(wanted - granted), report)
    return granted


def build_purposes(question: Question, report: Report) -> tuple[str, ...]:
    """Return the extended key usages; none at all is a finding, because no list would mean every purpose."""
    wanted = question.asked.purposes
    granted, text, place = question.profile.prepared(_usual_purposes)
    if granted and not wanted:
        report.passed("extended_key_usage", place, "", text)
        return granted
    section = question.profile.sections.extended_key_usage
    if wanted:
        granted = tuple(dict.fromkeys((*section.forced, *(one for one in wanted if one in section.allowed))))
    if not granted:
        message = "none of the extended key usages that are asked for is allowed here"
        report.failed("extended_key_usage", place, message, _purposes(wanted), _purposes(section.allowed))
        return ()
    report.passed("extended_key_usage", place, _purposes(wanted), _purposes(granted))
    left = [name_of(purpose, PURPOSE_NAMES) for purpose in wanted if purpose not in granted]
    _left_over(question, "extended_key_usage", left, report)
    return granted


def _key_usage(profile: Profile) -> tuple[Mapping[str, tuple[frozenset[KeyUsage], str]], Location]:
    """Return what keys of each kind always get, as bits and in words, and where that stands."""
    return profile.sections.key_usage.granted, profile.place("key_usage")


def _usual_purposes(profile: Profile) -> tuple[tuple[str, ...], str, Location]:
    """Return the purposes of who asks for none, also in words, and where they stand."""
    section = profile.sections.extended_key_usage
    granted = tuple(dict.fromkeys((*section.forced, *section.default)))
    return granted, _purposes(granted), profile.place("extended_key_usage")


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
