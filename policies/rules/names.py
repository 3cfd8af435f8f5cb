"""subjectAltName: each kind of name by its own list; what has no list is forbidden."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from ca.names import (
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    MalformedName,
    Uri,
    dns_name,
    email_address,
    uri,
)
from policies.patterns import DnsPattern, EmailPattern, Network, UriPattern
from policies.request import AccountEvidence
from policies.rules.requester import UnusableRequester, expand, requester_name
from policies.ruling import Ruling, failed, ignored, joined, passed
from policies.sections import DnsNames, EmailAddresses, IpAddresses, Uris

if TYPE_CHECKING:
    from collections.abc import Callable

    from policies.request import EnrollmentRequest
    from policies.ruling import Question

    Kind = DnsNames | IpAddresses | EmailAddresses | Uris

_WORDS: dict[type, str] = {DnsName: "dns", IpAddress: "ip", EmailAddress: "email", Uri: "uri"}
_TITLES = {"dns": "DNS name", "ip": "IP address", "email": "mail address", "uri": "URI"}
_MAKERS: dict[str, Callable[[str], GeneralName]] = {
    "dns": dns_name,
    "ip": lambda text: IpAddress(ipaddress.ip_address(text)),
    "email": email_address,
    "uri": uri,
}


def asked_names(request: EnrollmentRequest) -> tuple[GeneralName, ...]:
    """Return the names that are asked for: those of the order for an ACME account, else those of the CSR."""
    for evidence in request.requester.evidence:
        if isinstance(evidence, AccountEvidence):
            return evidence.authorized
    return request.csr.names


def build(question: Question) -> tuple[tuple[GeneralName, ...], Ruling]:
    """Return the names of the certificate, forced ones first, without repetition, and what was found on the way."""
    section = question.profile.sections.names
    asked = asked_names(question.request)
    unique = tuple(dict.fromkeys(asked))
    by_kind: dict[str, list[GeneralName]] = {word: [] for word in _TITLES}
    rulings: list[Ruling] = []
    if len(unique) != len(asked):
        rulings.append(_repeated(question))
    for name in unique:
        word = _WORDS.get(type(name))
        if word is None:
            place = question.profile.place("names")
            message = f"a name of kind {str(name).partition(':')[0]} is not allowed here"
            rulings.append(failed("names.other", place, message, str(name), "dns, ip, email, uri"))
        else:
            by_kind[word].append(name)
    added: list[GeneralName] = []
    for word, mine in by_kind.items():
        kind: Kind | None = getattr(section, word)
        if kind is None:
            rulings += (_forbidden(question, word, name) for name in mine)
            continue
        more, ruling = _added(question, word, kind, given=bool(mine))
        rulings += (ruling, *(_judge(question, word, kind, name) for name in mine if name not in more))
        rulings.append(_count(question, word, kind, len({*mine, *more})))
        added += more
    return tuple(dict.fromkeys((*added, *unique))), joined(rulings)


def _repeated(question: Question) -> Ruling:
    if question.profile.sections.unused.duplicate_names == "ignore":
        return ignored("a repetition in subjectAltName")
    place = question.profile.place("unused", "duplicate_names")
    return failed("unused.duplicate_names", place, "a name is asked for twice")


def _forbidden(question: Question, word: str, name: GeneralName) -> Ruling:
    message = f"{_article(word)} {_TITLES[word]} is not allowed here"
    return failed(f"names.{word}", question.profile.place("names", word), message, str(name), "absent")


def _article(word: str) -> str:
    return "an" if word == "ip" else "a"


def _judge(question: Question, word: str, kind: Kind, name: GeneralName) -> Ruling:
    place = question.profile.place("names", word, "allowed")
    requester = requester_name(question.request)
    text, limit = str(name), ", ".join(map(str, kind.allowed))
    if isinstance(kind, DnsNames) and text.startswith("dns:*.") and kind.wildcards == "forbidden":
        place = question.profile.place("names", word, "wildcards")
        return failed("names.dns", place, f"a wildcard name is not allowed here: {text:.80}", text, "no wildcards")
    if _matches(kind, name, requester, forbidden=True):
        place = question.profile.place("names", word, "forbidden")
        return failed(f"names.{word}", place, f"this {_TITLES[word]} is not allowed: {text:.80}", text, "forbidden")
    if not _matches(kind, name, requester, forbidden=False):
        return failed(f"names.{word}", place, f"this {_TITLES[word]} is not allowed: {text:.80}", text, limit)
    return passed(f"names.{word}", place, text, limit)


def _matches(kind: Kind, name: GeneralName, requester: str, *, forbidden: bool) -> bool:
    """Whether a name matches one of the patterns of a list."""
    patterns = kind.forbidden if forbidden else kind.allowed
    value: Any = name.value
    for pattern in patterns:
        found = False
        match pattern:
            case DnsPattern():
                found = pattern.matches(value, requester, covering=forbidden)
            case Network():
                found = pattern.contains(value)
            case EmailPattern() | UriPattern():
                found = pattern.matches(value, requester)
        if found:
            return True
    return False


def _added(question: Question, word: str, kind: Kind, *, given: bool) -> tuple[list[GeneralName], Ruling]:
    """Return the names that the profile itself brings."""
    templates = [("forced", text) for text in kind.forced]
    if not given:
        templates += [("default", text) for text in kind.default]
    names: list[GeneralName] = []
    rulings: list[Ruling] = []
    for key, template in templates:
        place = question.profile.place("names", word, key)
        try:
            names.append(_MAKERS[word](expand(template, requester_name(question.request))))
        except (UnusableRequester, MalformedName) as error:
            rulings.append(failed(f"names.{word}", place, str(error), question.request.requester.identity, template))
        else:
            rulings.append(passed(f"names.{word}", place, str(names[-1]), f"{key} {template}"))
    return names, joined(rulings)


def _count(question: Question, word: str, kind: Kind, number: int) -> Ruling:
    if kind.min <= number <= kind.max:
        return passed(f"names.{word}.count", question.profile.place("names", word), str(number), _range(kind))
    key = "min" if number < kind.min else "max"
    message = f"{number} names of kind {word} are asked for; allowed: {_range(kind)}"
    return failed(f"names.{word}.count", question.profile.place("names", word, key), message, str(number), _range(kind))


def _range(kind: Kind) -> str:
    return f"{kind.min} to {kind.max}"
