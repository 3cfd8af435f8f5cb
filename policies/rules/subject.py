"""The subject: forced, allowed and default values become the certificate's subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca.names import Attribute, DistinguishedName
from policies.asked import UnusableRequester
from policies.request import DeviceEvidence
from policies.words import ATTRIBUTE_BOUNDS, ATTRIBUTE_NAMES, DEFAULT_BOUND, SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policies.ruling import Question, Report
    from policies.sections import Text


def build(question: Question, report: Report) -> DistinguishedName:
    """Return the subject: what is forced or default in the order of the file, then what is kept of the request."""
    kept: list[tuple[Attribute, ...]] = []
    asked, section = question.request.csr.subject, question.profile.sections.subject
    for rdn in asked.rdns:
        attributes = tuple([attribute for attribute in rdn if _is_kept(question, attribute, report)])
        if attributes:
            kept.append(attributes)
    added = _added(question, kept, report) if section.forced or section.default else []
    subject = DistinguishedName((*added, *kept))
    _counts(question, subject, report)
    return subject


def _is_kept(question: Question, attribute: Attribute, report: Report) -> bool:
    section = question.profile.sections.subject
    word = ATTRIBUTE_NAMES.get(attribute.oid, attribute.oid)
    rule = section.allowed.get(word)
    if rule is not None:
        _judge(question, word, rule, attribute.value, report)
        return True
    if word in section.forced:
        report.unused(f"subject {word} (the profile forces another)")
    elif section.others == "ignore":
        report.unused(f"subject {word}")
    else:
        place = question.profile.place("subject", "allowed")
        message = f"the subject attribute {word} is not allowed here"
        report.failed(f"subject.{word}", place, message, attribute.value, "absent")
    return False


def _judge(question: Question, word: str, rule: Text, value: str, report: Report) -> None:
    place = question.profile.place("subject", "allowed", word)
    bound = rule.length or ATTRIBUTE_BOUNDS.get(word, DEFAULT_BOUND)
    fits = value.isprintable() if rule.characters is None else rule.characters.contain(value)
    known = question.asked.known
    if not 0 < _length(value) <= bound:
        message, limit = f"the subject attribute {word} must have 1 to {bound} characters", str(bound)
    elif not fits or (word == "C" and not (len(value) == 2 and value.isascii() and value.isalpha())):
        message = f"the subject attribute {word} has characters that are not allowed here"
        limit = str(rule.characters or "printable")
    elif not (rule.is_free or any(pattern.matches(value, known) for pattern in rule.like)):
        message, limit = f"this value of the subject attribute {word} is not allowed", rule.limit
    elif rule.among_names and not _is_among(value, question):
        message, limit = f"the subject attribute {word} must be one of the names asked for", "among_names"
    else:
        report.passed(f"subject.{word}", place, value, rule.limit)
        return
    report.failed(f"subject.{word}", place, message, value, limit)


def _length(value: str) -> int:
    """Return the length in octets of UTF-8: the bounds of X.520 count characters, many readers count these."""
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def _is_among(value: str, question: Question) -> bool:
    attested = (one.devices for one in question.request.requester.evidence if isinstance(one, DeviceEvidence))
    if any(value in devices for devices in attested):
        return True
    names = {str(name.value) for name in question.asked.names}
    # beyond ASCII other characters have the same small letters: the Kelvin sign is no K
    return value in names or (value.isascii() and value.lower() in {name.lower() for name in names})


def _added(question: Question, kept: Iterable[tuple[Attribute, ...]], report: Report) -> list[tuple[Attribute, ...]]:
    """Return what is forced, and the defaults of what is missing, in the order of the file."""
    section = question.profile.sections.subject
    present = {attribute.oid for rdn in kept for attribute in rdn}
    wanted = dict(section.forced)
    wanted.update({word: text for word, text in section.default.items() if SUBJECT_ATTRIBUTES[word] not in present})
    added: list[tuple[Attribute, ...]] = []
    for word, template in wanted.items():
        place = question.profile.place("subject", "forced" if word in section.forced else "default", word)
        bound = ATTRIBUTE_BOUNDS.get(word, DEFAULT_BOUND)
        try:
            value = question.asked.fill(template)
        except UnusableRequester as error:
            report.failed(f"subject.{word}", place, str(error), question.request.requester.identity, template)
            continue
        if _length(value) > bound:
            message = f"the subject attribute {word} would be longer than {bound} characters"
            report.failed(f"subject.{word}", place, message, value, str(bound))
            continue
        added.append((Attribute(SUBJECT_ATTRIBUTES[word], value),))
        report.passed(f"subject.{word}", place, value, template)
    return added


def _counts(question: Question, subject: DistinguishedName, report: Report) -> None:
    present = [attribute.oid for rdn in subject.rdns for attribute in rdn]
    for oid, word, rule in question.profile.sections.subject.counted:
        number = present.count(oid)
        if number > rule.max:
            message = f"the subject attribute {word} is there {number} times; allowed: {rule.max}"
        elif rule.required and not number:
            message = f"the subject attribute {word} is missing"
        else:
            continue
        place = question.profile.place("subject", "allowed", word)
        report.failed(f"subject.{word}", place, message, str(number), f"{int(rule.required)} to {rule.max}")
