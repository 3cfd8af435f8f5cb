"""subjectAltName: each kind of name by its own list; what has no list is forbidden."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ca.names import DnsName, EmailAddress, IpAddress, OtherName, Uri, dns_name, email_address, uri
from policies.patterns import OTHER_NAMES, other_name, other_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ca.names import GeneralName
    from policies.alternative_names import NameKind
    from policies.decision import Location
    from policies.patterns import Known
    from policies.profile import Profile
    from policies.ruling import Question, Report

_WORDS: dict[type, str] = {DnsName: "dns", IpAddress: "ip", EmailAddress: "email", Uri: "uri", OtherName: "other"}
_TITLES = {"dns": "DNS name", "ip": "IP address", "email": "mail address", "uri": "URI", "other": "otherName"}
_MAKERS: dict[str, Callable[[str], GeneralName]] = {
    "dns": dns_name,
    "ip": lambda text: IpAddress(ipaddress.ip_address(text)),
    "email": email_address,
    "uri": uri,
    "other": other_name,
}


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of names; its section, at hand.

    Attributes:
        word: its name in policy files.
        rule: the rule's identifier.
        section: the rest of it.
        permits: whether a value matches an allowed pattern.
        place: where the allowed patterns stand.
        limit: these in words.
        brings: whether the profile has names of its own.
        always: whether the kind matters to requests that have no name of it.
        wildcards: whether these are allowed; of other kinds than DNS nothing is a wildcard.
        forbidden: patterns, for whatever the allowed ones say.
        least, most: how many names there may be.
    """

    word: str
    rule: str
    section: NameKind
    permits: Callable[[Any, Known], bool]
    place: Location
    limit: str
    brings: bool
    always: bool
    wildcards: bool
    forbidden: Sequence[Any]
    least: int
    most: int


def _kinds(profile: Profile) -> tuple[_Kind, ...]:
    return tuple(
        _Kind(
            word=word,
            rule=f"names.{word}",
            section=kind,
            permits=kind.permits,
            place=profile.place("names", word, "allowed"),
            limit=kind.limit,
            brings=bool(kind.forced or kind.default),
            always=bool(kind.forced or kind.default or kind.min),
            wildcards=getattr(kind, "wildcards", "") != "forbidden",
            forbidden=kind.forbidden,
            least=kind.min,
            most=kind.max,
        )
        for word, kind in profile.sections.names.kinds
    )


def build(question: Question, report: Report) -> tuple[GeneralName, ...]:
    """Return the names of the certificate, those of the profile first, without repetition."""
    asked = question.asked.names
    unique = asked if len(asked) == 1 else tuple(dict.fromkeys(asked))
    if len(unique) != len(asked):
        _repeated(question, report)
    by_kind: dict[str, list[GeneralName]] = {}
    for name in unique:
        word = _WORDS.get(type(name))
        if word is None:
            place = question.profile.place("names")
            message = f"a name of kind {str(name).partition(':')[0]} is not allowed here"
            report.failed("names.other", place, message, str(name), "dns, ip, email, uri, other")
        else:
            by_kind.setdefault(word, []).append(name)
    added: list[GeneralName] = []
    for kind in question.profile.prepared(_kinds):
        of_kind = by_kind.pop(kind.word, ())
        if of_kind or kind.always:
            added += _of_one_kind(question, kind, of_kind, report)
    for word, names in by_kind.items():
        place = question.profile.place("names", word)
        for name in names:
            message = f"{'an' if word in {'ip', 'other'} else 'a'} {_TITLES[word]} is not allowed here"
            report.failed(f"names.{word}", place, message, str(name), "absent")
    return tuple(dict.fromkeys((*added, *unique))) if added else unique


def _of_one_kind(question: Question, kind: _Kind, asked: Sequence[GeneralName], report: Report) -> list[GeneralName]:
    """Judge the names of one kind, and return those that the profile itself brings."""
    added = _added(question, kind, report, given=bool(asked)) if kind.brings else []
    for name in added:
        if kind.forbidden and _is_forbidden(kind, _compared(name), question.asked.known):
            _forbid(question, kind, name, report)  # what the request made of a placeholder
    for name in asked:
        if name not in added:
            _judge(question, kind, name, report)
    number = len({*asked, *added}) if added else len(asked)
    if not kind.least <= number <= kind.most:
        word, limit = kind.word, f"{kind.least} to {kind.most}"
        place = question.profile.place("names", word, "min" if number < kind.least else "max")
        message = f"{number} names of kind {word} are asked for; allowed: {limit}"
        report.failed(f"names.{word}.count", place, message, str(number), limit)
    return added


def _judge(question: Question, kind: _Kind, name: GeneralName, report: Report) -> None:
    text, value = str(name), _compared(name)
    if not kind.wildcards and text.startswith("dns:*."):
        message = f"a wildcard name is not allowed here: {_shown(name)}"
        place = question.profile.place("names", kind.word, "wildcards")
        report.failed(kind.rule, place, message, text, "no wildcards")
    elif kind.forbidden and _is_forbidden(kind, value, question.asked.known):
        _forbid(question, kind, name, report)
    elif not kind.permits(value, question.asked.known):
        message = f"this {_TITLES[kind.word]} is not allowed: {_shown(name)}"
        report.failed(kind.rule, kind.place, message, text, kind.limit)
    else:
        report.passed(kind.rule, kind.place, text, kind.limit)


def _forbid(question: Question, kind: _Kind, name: GeneralName, report: Report) -> None:
    place, title = question.profile.place("names", kind.word, "forbidden"), _TITLES[kind.word]
    report.failed(kind.rule, place, f"this {title} is not allowed: {_shown(name)}", str(name), "forbidden")


def _shown(name: GeneralName) -> str:
    if isinstance(name, OtherName):
        words = [word for word, type_id in OTHER_NAMES.items() if type_id == name.type_id]
        return f"{(words or [name.type_id])[0]}:{other_text(name) or name.value.hex()!r:.80}"
    return f"{str(name.value)!r:.80}"


def _is_forbidden(kind: _Kind, value: Any, known: Known) -> bool:
    return any(pattern.matches(value, known, covering=True) for pattern in kind.forbidden)


def _compared(name: GeneralName) -> Any:
    """Return what patterns of the kind compare with: the value, of an otherName the type as well."""
    return name if isinstance(name, OtherName) else name.value


def _added(question: Question, kind: _Kind, report: Report, *, given: bool) -> list[GeneralName]:
    """Return the names that are forced, and the defaults when none of the kind is asked for."""
    word = kind.word
    templates = [("forced", text) for text in kind.section.forced]
    if not given:
        templates += [("default", text) for text in kind.section.default]
    names: list[GeneralName] = []
    for key, template in templates:
        place = question.profile.place("names", word, key)
        try:
            names.append(_MAKERS[word](question.asked.fill(template)))
        except ValueError as error:  # the requester's name can't be used, or makes no name of this kind
            report.failed(kind.rule, place, str(error), question.request.requester.identity, template)
        else:
            report.passed(kind.rule, place, str(names[-1]), f"{key} {template}")
    return names


def _repeated(question: Question, report: Report) -> None:
    if question.profile.sections.unused.duplicate_names == "ignore":
        report.unused("a repetition in subjectAltName")
        return
    place = question.profile.place("unused", "duplicate_names")
    report.failed("unused.duplicate_names", place, "a name is asked for twice", limit="refuse")
