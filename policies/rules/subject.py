"""The subject: forced, allowed and default values become the certificate's subject."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca.names import Attribute, DistinguishedName
from policies.asked import UnusableRequester
from policies.request import DeviceEvidence
from policies.words import ATTRIBUTE_BOUNDS, ATTRIBUTE_NAMES, DEFAULT_BOUND, SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from policies.decision import Location
    from policies.patterns import Characters, Glob
    from policies.profile import Profile
    from policies.ruling import Question, Report


@dataclass(frozen=True, slots=True)
class _Allowed:
    """An attribute that is taken from the request; its section, at hand.

    Attributes:
        word: its name in policy files.
        rule: the rule's identifier.
        place: where it stands.
        bound: how long a value may be, in octets.
        characters, like, among_names: what a value may be; no patterns for any.
        required, most: how many there must and may be.
        limit: the patterns in words.
    """

    word: str
    rule: str
    place: Location
    bound: int
    characters: Characters | None
    like: tuple[Glob, ...]
    among_names: bool
    required: bool
    most: int
    limit: str


def _allowed(profile: Profile) -> dict[str, _Allowed]:
    """Return what is taken from requests, by dotted number."""
    return {
        SUBJECT_ATTRIBUTES[word]: _Allowed(
            word=word,
            rule=f"subject.{word}",
            place=profile.place("subject", "allowed", word),
            bound=text.length or ATTRIBUTE_BOUNDS.get(word, DEFAULT_BOUND),
            characters=text.characters,
            like=() if text.is_free else text.like,
            among_names=text.among_names,
            required=text.required,
            most=text.max,
            limit=text.limit,
        )
        for word, text in profile.sections.subject.allowed.items()
    }


def build(question: Question, report: Report) -> DistinguishedName:
    """Return the subject: what is forced or default in the order of the file, then what is kept of the request."""
    kept: list[tuple[Attribute, ...]] = []
    asked, section = question.request.csr.subject, question.profile.sections.subject
    allowed = question.profile.prepared(_allowed)
    for rdn in asked.rdns:
        attributes = tuple([attribute for attribute in rdn if _is_kept(question, allowed, attribute, report)])
        if attributes:
            kept.append(attributes)
    added = _added(question, kept, report) if section.forced or section.default else []
    rdns = (*added, *kept)
    _counts(rdns, allowed, report)
    return asked if rdns == asked.rdns else DistinguishedName(rdns)


def _is_kept(question: Question, allowed: Mapping[str, _Allowed], attribute: Attribute, report: Report) -> bool:
    rule = allowed.get(attribute.oid)
    if rule is not None:
        _judge(question, rule, attribute.value, report)
        return True
    section, word = question.profile.sections.subject, ATTRIBUTE_NAMES.get(attribute.oid, attribute.oid)
    if word in section.forced:
        report.unused(f"subject {word} (the profile forces another)")
    elif section.others == "ignore":
        report.unused(f"subject {word}")
    else:
        place = question.profile.place("subject", "allowed")
        message = f"the subject attribute {word} is not allowed here"
        report.failed(f"subject.{word}", place, message, attribute.value, "absent")
    return False


def _judge(question: Question, rule: _Allowed, value: str, report: Report) -> None:
    word, bound = rule.word, rule.bound
    fits = value.isprintable() if rule.characters is None else rule.characters.contain(value)
    if not 0 < _length(value) <= bound:
        message, limit = f"the subject attribute {word} must have 1 to {bound} characters", str(bound)
    elif not fits or (word == "C" and not (len(value) == 2 and value.isalpha())):
        message = f"the subject attribute {word} has characters that are not allowed here"
        limit = str(rule.characters or "printable")
    elif rule.like and not any(pattern.matches(value, question.asked.known) for pattern in rule.like):
        message, limit = f"this value of the subject attribute {word} is not allowed", rule.limit
    elif rule.among_names and not _is_among(value, question):
        message, limit = f"the subject attribute {word} must be one of the names asked for", "among_names"
    else:
        report.passed(rule.rule, rule.place, value, rule.limit)
        return
    report.failed(rule.rule, rule.place, message, value, limit)


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


def _counts(rdns: Iterable[tuple[Attribute, ...]], allowed: Mapping[str, _Allowed], report: Report) -> None:
    present = [attribute.oid for rdn in rdns for attribute in rdn]
    for oid, rule in allowed.items():
        number = present.count(oid)
        if number > rule.most:
            message = f"the subject attribute {rule.word} is there {number} times; allowed: {rule.most}"
        elif rule.required and not number:
            message = f"the subject attribute {rule.word} is missing"
        else:
            continue
        report.failed(rule.rule, rule.place, message, str(number), f"{int(rule.required)} to {rule.most}")
