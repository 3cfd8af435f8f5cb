"""What a profile wants to find in a request: said beforehand, so that devices ask for what they can get.

Only what judging depends on is here. What the profile fills in by itself is here where it is the same for everybody: a
request that repeats it is judged no worse.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca.names import DnsName, EmailAddress, GeneralName, IpAddress, OtherName, Uri, dns_name, email_address, uri
from policies.patterns import other_name, placeholders
from policies.words import SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ca.keys import KeyShape
    from ca.plan import KeyUsage
    from policies.profile import Profile
    from policies.sections import Text

_READERS: dict[str, tuple[type, Callable[[str], GeneralName]]] = {
    "dns": (DnsName, dns_name),
    "ip": (IpAddress, lambda text: IpAddress(ipaddress.ip_address(text))),
    "email": (EmailAddress, email_address),
    "uri": (Uri, uri),
    "other": (OtherName, other_name),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Something that a request must have, with a value where there is but one that will do.

    Attributes:
        oid: a subject attribute, dotted.
        value: its value, None when the device knows it.
    """

    oid: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a request should have under a profile.

    Attributes:
        key: kind and size of the key that the profile's list begins with, in its smallest size.
        subject: the subject attributes that are forced or required, in the order of the file.
        names: alternative names that are forced.
        open_names: kinds of alternative names that must be there with values of the device's own, one for each name.
        key_usage: the bits that such a key always gets.
        purposes: the extended key usages that are always granted; of several that may be asked for, none.
        must_ask_purpose: whether a purpose must be asked for, since none is granted without.
    """

    key: KeyShape
    subject: tuple[Wanted, ...]
    names: tuple[GeneralName, ...]
    open_names: tuple[type, ...]
    key_usage: frozenset[KeyUsage]
    purposes: tuple[str, ...]
    must_ask_purpose: bool


def expectations(profile: Profile, min_rsa_bits: int) -> Expectations:
    """Return what requests under a profile should have.

    Args:
        profile: the profile that will judge them.
        min_rsa_bits: the server's ceiling: no shorter RSA key is taken.
    """
    sections = profile.sections
    key = sections.key.allowed[0].smallest(min_rsa_bits)
    purposes = sections.extended_key_usage
    granted = purposes.forced
    needs = not granted and not purposes.default
    if needs and len(purposes.allowed) == 1:
        granted, needs = purposes.allowed, False
    subject = tuple(_subject(profile))
    names, open_names = _names(profile)
    subject, open_names = _filled_in(profile, subject, names, open_names)
    if not (subject or names or open_names or sections.subject.default):
        subject, open_names = _somebody(profile)
    open_names = open_names or _compared(profile, subject)
    return Expectations(
        key=key,
        subject=subject,
        names=names,
        open_names=open_names,
        key_usage=sections.key_usage.granted[key.kind][0],
        purposes=granted,
        must_ask_purpose=needs,
    )


def _subject(profile: Profile) -> Iterator[Wanted]:
    section = profile.sections.subject
    for word, template in section.forced.items():
        if "{" not in template:
            yield Wanted(SUBJECT_ATTRIBUTES[word], template)
    for word, rule in section.allowed.items():
        if rule.required and word not in section.default:
            yield Wanted(SUBJECT_ATTRIBUTES[word], _only_value(rule))


def _filled_in(
    profile: Profile, subject: tuple[Wanted, ...], names: tuple[GeneralName, ...], open_names: tuple[type, ...]
) -> tuple[tuple[Wanted, ...], tuple[type, ...]]:
    """Return subject and open names with those that the profile makes other parts of."""
    there = {type(name) for name in names}
    for word in _words_of_requests(profile):
        if word in _READERS:
            kind = _READERS[word][0]
            open_names += () if kind in {*there, *open_names} else (kind,)
        elif SUBJECT_ATTRIBUTES[word] not in {wanted.oid for wanted in subject}:
            rule = profile.sections.subject.allowed.get(word)
            subject += (Wanted(SUBJECT_ATTRIBUTES[word], None if rule is None else _only_value(rule)),)
    return subject, open_names


def _compared(profile: Profile, subject: tuple[Wanted, ...]) -> tuple[type, ...]:
    """Return the kind of name that must be there since a part of the subject must be one of the names."""
    left_open = {wanted.oid for wanted in subject if wanted.value is None}
    allowed = profile.sections.subject.allowed.items()
    if not any(rule.among_names and SUBJECT_ATTRIBUTES[word] in left_open for word, rule in allowed):
        return ()
    return tuple(_READERS[word][0] for word, kind in profile.sections.names.kinds if kind.allowed)[:1]


def _words_of_requests(profile: Profile) -> Iterator[str]:
    """Yield what templates take from the request: words of subject attributes and of kinds of names."""
    section = profile.sections.subject
    templates = [*section.forced.values(), *section.default.values()]
    for _, kind in profile.sections.names.kinds:
        templates += (*kind.forced, *kind.default)
    for template in templates:
        for placeholder in placeholders(template):
            source, _, word = placeholder.strip("{}").partition(".")
            if source == "csr":
                yield word


def _only_value(rule: Text) -> str | None:
    """Return the one value that fits, None where there are several."""
    texts = {pattern.text for pattern in rule.like}
    text = texts.pop() if len(texts) == 1 else "*"
    return None if "*" in text or "{" in text else text


def _somebody(profile: Profile) -> tuple[tuple[Wanted, ...], tuple[type, ...]]:
    """Return what names the device where the profile demands no part in particular: a certificate names somebody."""
    for word, rule in profile.sections.subject.allowed.items():
        return (Wanted(SUBJECT_ATTRIBUTES[word], _only_value(rule)),), ()
    return (), tuple(_READERS[word][0] for word, kind in profile.sections.names.kinds if kind.allowed)[:1]


def _names(profile: Profile) -> tuple[tuple[GeneralName, ...], tuple[type, ...]]:
    fixed: list[GeneralName] = []
    left_open: list[type] = []
    for word, kind in profile.sections.names.kinds:
        type_, read = _READERS[word]
        fixed += (read(text) for text in kind.forced if "{" not in text)
        forced = len(set(kind.forced))
        if forced + len(kind.default) < kind.min:
            left_open += [type_] * (kind.min - forced)
    return tuple(dict.fromkeys(fixed)), tuple(left_open)
