"""Parts of a request that can't go into a certificate: ignored and listed, or refused, as the profile says.

An extension that the profile itself brings, with this very value, is none of them: libest renews with all extensions of
the old certificate in its request.

They are never copied. What would give power over others is a subject of its own (`powers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.words import (
    BASIC_CONSTRAINTS,
    CA_USAGES,
    EXTENDED_KEY_USAGE,
    EXTENSION_NAMES,
    KEY_USAGE,
    NEVER_REQUESTED_PURPOSES,
    POWERFUL_EXTENSIONS,
    PURPOSE_NAMES,
    REQUEST_ATTRIBUTE_NAMES,
    SUBJECT_ALT_NAME,
    name_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ca.csr import RequestedExtension
    from policies.asked import Asked
    from policies.ruling import Draft, Question, Report

_MODELLED = frozenset({SUBJECT_ALT_NAME, KEY_USAGE, EXTENDED_KEY_USAGE, BASIC_CONSTRAINTS})


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Look at every extension and attribute that has no influence."""
    csr, asked = question.request.csr, question.asked
    for word in asked.unreadable:
        place = question.profile.place("unused")
        report.failed("unused.unreadable", place, f"the requested extension {word} can't be read", word)
    # What has a place in certificates of this profile is none of them; nearly all requests have nothing else.
    extensions = [extension for extension in csr.extensions if extension.oid not in _MODELLED]
    if extensions:
        brought = question.profile.sections.extensions.brought
        extensions = [extension for extension in extensions if (extension.oid, extension.value) not in brought]
    powers = _powers(asked, draft, extensions) if extensions or asked.key_usage or asked.purposes or asked.ca else []
    if powers:
        _refuse_powers(question, powers, report)
    for extension in extensions:
        if extension.oid not in POWERFUL_EXTENSIONS:
            _extension(question, extension, report)
    for attribute in csr.attributes:
        _attribute(question, name_of(attribute.oid, REQUEST_ATTRIBUTE_NAMES), report)
    if csr.challenge_password is not None:
        report.unused("attribute challengePassword (for authentication only)")


def _powers(asked: Asked, draft: Draft, extensions: Iterable[RequestedExtension]) -> list[str]:
    """Return in words what would give power over others."""
    words = ["basicConstraints CA:TRUE"] if asked.ca else []
    words += [f"key usage {bit}" for bit in sorted(asked.key_usage & CA_USAGES)]
    words += [
        f"extended key usage {name_of(purpose, PURPOSE_NAMES)}"
        for purpose in asked.purposes
        if purpose in NEVER_REQUESTED_PURPOSES and purpose not in draft.purposes
    ]
    words += [
        f"extension {name_of(extension.oid, EXTENSION_NAMES)}"
        for extension in extensions
        if extension.oid in POWERFUL_EXTENSIONS
    ]
    return words


def _refuse_powers(question: Question, words: list[str], report: Report) -> None:
    text = ", ".join(words)
    if question.profile.sections.unused.powers == "ignore":
        report.unused(text)
    else:
        place = question.profile.place("unused", "powers")
        report.failed("unused.powers", place, f"this can't be asked for: {text}", text, "refuse")


def _extension(question: Question, extension: RequestedExtension, report: Report) -> None:
    section = question.profile.sections.unused
    word = name_of(extension.oid, EXTENSION_NAMES)
    key, treatment = "extensions", section.extensions
    if extension.critical:
        key, treatment = "critical_extensions", section.critical_extensions
    if treatment == "ignore":
        report.unused(f"extension {word}{' (critical)' if extension.critical else ''}")
    else:
        place = question.profile.place("unused", key)
        report.failed(f"unused.{key}", place, f"the extension {word} is not used here", word, "refuse")


def _attribute(question: Question, word: str, report: Report) -> None:
    if question.profile.sections.unused.attributes == "ignore":
        report.unused(f"attribute {word}")
    else:
        place = question.profile.place("unused", "attributes")
        report.failed("unused.attributes", place, f"the attribute {word} is not used here", word, "refuse")
