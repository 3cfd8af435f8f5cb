"""Parts of a request that can't go into a certificate: ignored and listed, or refused, as the profile says.

They are never copied. What would give power over others is a subject of its own (`powers`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.rules.usages import UnreadableExtension, asked, readable
from policies.ruling import Ruling, failed, ignored, joined, passed
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
    from ca.csr import RequestedExtension
    from policies.ruling import Draft, Question

_MODELLED = frozenset({SUBJECT_ALT_NAME, KEY_USAGE, EXTENDED_KEY_USAGE, BASIC_CONSTRAINTS})


def judge(question: Question, draft: Draft) -> Ruling:
    """Look at every extension and attribute that has no influence."""
    csr = question.request.csr
    rulings = [_readable(question), _powers(question, draft)]
    rulings += [
        _extension(question, extension)
        for extension in csr.extensions
        if extension.oid not in _MODELLED and extension.oid not in POWERFUL_EXTENSIONS
    ]
    rulings += [_attribute(question, name_of(a.oid, REQUEST_ATTRIBUTE_NAMES)) for a in csr.attributes]
    if csr.challenge_password is not None:
        rulings.append(ignored("attribute challengePassword (it is for authentication, not for the certificate)"))
    return joined(rulings)


def _readable(question: Question) -> Ruling:
    try:
        asked(question.request.csr)
    except UnreadableExtension as error:
        return failed("unused.unreadable", question.profile.place("unused"), str(error))
    return Ruling()


def _powers(question: Question, draft: Draft) -> Ruling:
    wanted = readable(question.request.csr)
    words = ["basicConstraints CA:TRUE"] if wanted.ca else []
    words += [f"key usage {bit}" for bit in sorted(wanted.key_usage & CA_USAGES)]
    words += [
        f"extended key usage {name_of(purpose, PURPOSE_NAMES)}"
        for purpose in wanted.purposes
        if purpose in NEVER_REQUESTED_PURPOSES and purpose not in draft.purposes
    ]
    words += [
        f"extension {name_of(extension.oid, EXTENSION_NAMES)}"
        for extension in question.request.csr.extensions
        if extension.oid in POWERFUL_EXTENSIONS
    ]
    treatment, place = question.profile.sections.unused.powers, question.profile.place("unused", "powers")
    if not words:
        return passed("unused.powers", place, "none", treatment)
    if treatment == "ignore":
        return ignored(*words)
    message = f"this can't be asked for: {', '.join(words)}"
    return failed("unused.powers", place, message, ", ".join(words), "refuse")


def _extension(question: Question, extension: RequestedExtension) -> Ruling:
    key = "critical_extensions" if extension.critical else "extensions"
    section = question.profile.sections.unused
    treatment = section.critical_extensions if extension.critical else section.extensions
    word = name_of(extension.oid, EXTENSION_NAMES)
    if treatment == "ignore":
        return ignored(f"extension {word}{' (critical)' if extension.critical else ''}")
    place = question.profile.place("unused", key)
    return failed(f"unused.{key}", place, f"the extension {word} is not known here", word, "refuse")


def _attribute(question: Question, word: str) -> Ruling:
    if question.profile.sections.unused.attributes == "ignore":
        return ignored(f"attribute {word}")
    place = question.profile.place("unused", "attributes")
    return failed("unused.attributes", place, f"the attribute {word} is not known here", word, "refuse")
