"""The subject: forced, allowed and default values become the certificate's subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca.names import Attribute, DistinguishedName
from policies.rules.names import asked_names
from policies.rules.requester import UnusableRequester, expand, requester_name
from policies.ruling import Ruling, failed, ignored, joined, passed
from policies.words import ATTRIBUTE_BOUNDS, ATTRIBUTE_NAMES, DEFAULT_BOUND, SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from policies.ruling import Question
    from policies.sections import Text


def build(question: Question) -> tuple[DistinguishedName, Ruling]:
    """Return the subject and what was found on the way."""
    section = question.profile.sections.subject
    asked = question.request.csr.subject
    rulings: list[Ruling] = []
    kept: list[tuple[Attribute, ...]] = []
    for rdn in asked.rdns:
        attributes = []
        for attribute in rdn:
            word = ATTRIBUTE_NAMES.get(attribute.oid, attribute.oid)
            if word in section.forced:
                rulings.append(ignored(f"subject {word} (the profile forces another)"))
            elif word in section.allowed:
                rulings.append(_judge(question, word, section.allowed[word], attribute.value))
                attributes.append(attribute)
            elif section.others == "ignore":
                rulings.append(ignored(f"subject {word}"))
            else:
                place = question.profile.place("subject", "allowed")
                message = f"the subject attribute {word} is not allowed here"
                rulings.append(failed(f"subject.{word}", place, message, attribute.value, "absent"))
        if attributes:
            kept.append(tuple(attributes))
    added, ruling = _added(question, kept)
    subject = DistinguishedName((*added, *kept))
    rulings += (ruling, _counts(question, subject))
    return subject, joined(rulings)


def _judge(question: Question, word: str, rule: Text, value: str) -> Ruling:
    place = question.profile.place("subject", "allowed", word)
    name = requester_name(question.request)
    bound = rule.length or ATTRIBUTE_BOUNDS.get(word, DEFAULT_BOUND)
    identifier = f"subject.{word}"
    if not 0 < _length(value) <= bound:
        message = f"the subject attribute {word} must have 1 to {bound} characters"
        return failed(identifier, place, message, value, str(bound))
    fits = value.isprintable() if rule.characters is None else rule.characters.contain(value)
    if not fits or (word == "C" and not (len(value) == 2 and value.isascii() and value.isalpha())):
        message = f"the subject attribute {word} has characters that are not allowed here"
        return failed(identifier, place, message, value, str(rule.characters or "printable"))
    limit = ", ".join(pattern.text for pattern in rule.like)
    if not any(pattern.matches(value, name) for pattern in rule.like):
        return failed(identifier, place, f"this value of the subject attribute {word} is not allowed", value, limit)
    if rule.among_names and not _is_among(value, question):
        message = f"the subject attribute {word} must be one of the names asked for"
        return failed(identifier, place, message, value, "among_names")
    return passed(identifier, place, value, limit)


def _length(value: str) -> int:
    """Return the length in octets of UTF-8: the bounds of X.520 count characters, many readers count these."""
    return len(value.encode("utf-8", "surrogatepass"))


def _is_among(value: str, question: Question) -> bool:
    texts = {str(name.value).lower() for name in asked_names(question.request) if hasattr(name, "value")}
    return value.lower() in texts


def _added(question: Question, kept: Iterable[tuple[Attribute, ...]]) -> tuple[list[tuple[Attribute, ...]], Ruling]:
    """Return what is forced, and the defaults of what is missing, in the order of the file."""
    section = question.profile.sections.subject
    present = {attribute.oid for rdn in kept for attribute in rdn}
    wanted = dict(section.forced)
    wanted.update({word: text for word, text in section.default.items() if SUBJECT_ATTRIBUTES[word] not in present})
    added: list[tuple[Attribute, ...]] = []
    rulings: list[Ruling] = []
    for word, template in wanted.items():
        place = question.profile.place("subject", "forced" if word in section.forced else "default", word)
        bound = ATTRIBUTE_BOUNDS.get(word, DEFAULT_BOUND)
        try:
            value = expand(template, requester_name(question.request))
        except UnusableRequester as error:
            rulings.append(failed(f"subject.{word}", place, str(error), question.request.requester.identity))
            continue
        if _length(value) > bound:
            message = f"the subject attribute {word} would be longer than {bound} characters"
            rulings.append(failed(f"subject.{word}", place, message, value, str(bound)))
        added.append((Attribute(SUBJECT_ATTRIBUTES[word], value),))
        rulings.append(passed(f"subject.{word}", place, value, template))
    return added, joined(rulings)


def _counts(question: Question, subject: DistinguishedName) -> Ruling:
    rulings = []
    for word, rule in question.profile.sections.subject.allowed.items():
        number = len(subject.values(SUBJECT_ATTRIBUTES[word]))
        place = question.profile.place("subject", "allowed", word)
        if number > rule.max:
            message = f"the subject attribute {word} is there {number} times; allowed: {rule.max}"
            rulings.append(failed(f"subject.{word}", place, message, str(number), str(rule.max)))
        elif rule.required and not number:
            message = f"the subject attribute {word} is missing"
            rulings.append(failed(f"subject.{word}", place, message, "absent", "required"))
    return joined(rulings)
