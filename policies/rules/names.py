"""subjectAltName: each kind of name by its own list; what has no list is forbidden."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from ca.names import DnsName, EmailAddress, IpAddress, MalformedName, OtherName, Uri, dns_name, email_address, uri
from policies.asked import UnusableRequester
from policies.patterns import OTHER_NAMES, other_name, other_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ca.names import GeneralName
    from policies.alternative_names import NameKind
    from policies.patterns import Known
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
    for word, kind in question.profile.sections.names.kinds:
        added += _of_one_kind(question, word, kind, by_kind.pop(word, ()), report)
    for word, names in by_kind.items():
        place = question.profile.place("names", word)
        for name in names:
            message = f"{'an' if word in {'ip', 'other'} else 'a'} {_TITLES[word]} is not allowed here"
            report.failed(f"names.{word}", place, message, str(name), "absent")
    return tuple(dict.fromkeys((*added, *unique))) if added else unique


def _of_one_kind(
    question: Question, word: str, kind: NameKind, asked: Sequence[GeneralName], report: Report
) -> list[GeneralName]:
    """Judge the names of one kind, and return those that the profile itself brings."""
    added = _added(question, word, kind, report, given=bool(asked)) if kind.forced or kind.default else []
    for name in added:
        if kind.forbidden and _is_forbidden(kind, _compared(name), question.asked.known):
            _forbid(question, word, name, report)  # what the request made of a placeholder
    for name in asked:
        if name not in added:
            _judge(question, word, kind, name, report)
    number = len({*asked, *added}) if added else len(asked)
    if not kind.min <= number <= kind.max:
        place = question.profile.place("names", word, "min" if number < kind.min else "max")
        message = f"{number} names of kind {word} are asked for; allowed: {kind.min} to {kind.max}"
        report.failed(f"names.{word}.count", place, message, str(number), f"{kind.min} to {kind.max}")
    return added


def _judge(question: Question, word: str, kind: NameKind, name: GeneralName, report: Report) -> None:
    profile, rule, text = question.profile, f"names.{word}", str(name)
    if getattr(kind, "wildcards", "") == "forbidden" and text.startswith("dns:*."):
        message = f"a wildcard name is not allowed here: {_shown(name)}"
        report.failed(rule, profile.place("names", word, "wildcards"), message, text, "no wildcards")
    elif kind.forbidden and _is_forbidden(kind, _compared(name), question.asked.known):
        _forbid(question, word, name, report)
    elif not kind.permits(_compared(name), question.asked.known):
        message = f"this {_TITLES[word]} is not allowed: {_shown(name)}"
        report.failed(rule, profile.place("names", word, "allowed"), message, text, kind.limit)
    else:
        report.passed(rule, profile.place("names", word, "allowed"), text, kind.limit)


def _forbid(question: Question, word: str, name: GeneralName, report: Report) -> None:
    place, message = question.profile.place("names", word, "forbidden"), f"this {_TITLES[word]} is not allowed"
    report.failed(f"names.{word}", place, f"{message}: {_shown(name)}", str(name), "forbidden")


def _shown(name: GeneralName) -> str:
    if isinstance(name, OtherName):
        words = [word for word, type_id in OTHER_NAMES.items() if type_id == name.type_id]
        return f"{(words or [name.type_id])[0]}:{other_text(name) or name.value.hex()!r:.80}"
    return f"{str(name.value)!r:.80}"


def _is_forbidden(kind: NameKind, value: Any, known: Known) -> bool:
    patterns: Sequence[Any] = kind.forbidden
    return any(pattern.matches(value, known, covering=True) for pattern in patterns)


def _compared(name: GeneralName) -> Any:
    """Return what patterns of the kind compare with: the value, of an otherName the type as well."""
    return name if isinstance(name, OtherName) else name.value


def _added(question: Question, word: str, kind: NameKind, report: Report, *, given: bool) -> list[GeneralName]:
    """Return the names that are forced, and the defaults when none of the kind is asked for."""
    templates = [("forced", text) for text in kind.forced]
    if not given:
        templates += [("default", text) for text in kind.default]
    names: list[GeneralName] = []
    for key, template in templates:
        place = question.profile.place("names", word, key)
        try:
            names.append(_MAKERS[word](question.asked.fill(template)))
        except (UnusableRequester, MalformedName, ValueError) as error:
            report.failed(f"names.{word}", place, str(error), question.request.requester.identity, template)
        else:
            report.passed(f"names.{word}", place, str(names[-1]), f"{key} {template}")
    return names


def _repeated(question: Question, report: Report) -> None:
    if question.profile.sections.unused.duplicate_names == "ignore":
        report.unused("a repetition in subjectAltName")
        return
    place = question.profile.place("unused", "duplicate_names")
    report.failed("unused.duplicate_names", place, "a name is asked for twice", limit="refuse")
