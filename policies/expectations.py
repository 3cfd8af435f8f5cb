"""What a profile wants to find in a request: said beforehand, so that devices ask for what they can get.

Only what judging depends on is here. What the profile fills in by itself is here where it is the same for everybody: a
request that repeats it is judged no worse.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca.names import DnsName, EmailAddress, GeneralName, IpAddress, OtherName, Uri, dns_name, email_address, uri
from policies.patterns import other_name
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
    if not (subject or names or open_names or sections.subject.default):
        subject, open_names = _somebody(profile)
    return Expectations(
        key=key,
        subject=subject,
        names=names,
        open_names=open_names,
        key_usage=sections.key_usage.granted(key.kind)[0],
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
