"""The patterns of policy files. None is a regular expression: each can be read aloud, and matching takes linear time.

``{requester}`` in a pattern stands for the requester's own name, literally; so do the other placeholders for what they
name. What is not known, or can't be part of a name, is something that equals nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import BeforeValidator, WithJsonSchema

from ca import der
from ca.names import MalformedName, OtherName, dns_name
from policies.words import SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable

REQUESTER = "{requester}"
NOBODY = "\x00"
"""Stands for what can't be used in a certificate; no pattern with it matches anything."""

_PLACEHOLDER = re.compile(r"\{[^}]*\}?")
_NAME_WORDS = "dns|ip|email|uri"
_KNOWN = re.compile(
    rf"\{{(requester|(csr|certificate)\.({'|'.join(SUBJECT_ATTRIBUTES)}|{_NAME_WORDS})"
    r"|lookup\.[a-z][a-z0-9_]{0,62}\.[A-Za-z0-9_.-]{1,64})\}"
)
_KINDS = "{requester}, {csr.CN}, {certificate.serialNumber}, {lookup.NAME.FIELD}"

Known = Mapping[str, str]
"""What placeholders stand for, by the placeholder with its braces; it has an answer for each that is well written."""


def known_placeholders(text: str) -> None:
    """Raise ValueError when `text` has a placeholder that there is not."""
    for placeholder in _PLACEHOLDER.findall(text):
        if not _KNOWN.fullmatch(placeholder):
            raise ValueError(f"{placeholder} is no placeholder; those that there are: {_KINDS}")


def placeholders(text: str) -> tuple[str, ...]:
    """Return the placeholders in `text`, with their braces."""
    return tuple(_PLACEHOLDER.findall(text)) if "{" in text else ()


def filled(text: str, known: Known) -> str:
    """Put in what is known."""
    for placeholder in placeholders(text):
        text = text.replace(placeholder, known[placeholder])
    return text


def sample(text: str) -> str:
    """Put some word in for each placeholder, to see whether the rest makes sense."""
    return _PLACEHOLDER.sub("x", text)


@dataclass(frozen=True, slots=True)
class Glob:
    """Text in which ``*`` stands for any run of characters, also none."""

    text: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Glob:
        """Read a pattern. Raises ValueError for an empty one or an unknown placeholder."""
        if not text:
            raise ValueError("a pattern can't be empty")
        known_placeholders(text)
        return cls(text, tuple(text.split("*")))

    def __str__(self) -> str:
        return self.text

    def matches(self, value: str, known: Known) -> bool:
        """Compare, case matters. Takes time linear in the length of `value` for each ``*``."""
        parts = self.parts
        if "{" in self.text:
            parts = tuple(filled(part, known) for part in parts)
        if len(parts) == 1:
            return value == parts[0]
        first, last = parts[0], parts[-1]
        if not value.startswith(first) or not value.endswith(last) or len(value) < len(first) + len(last):
            return False
        position, end = len(first), len(value) - len(last)
        for part in parts[1:-1]:
            found = value.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class DnsPattern:
    """A DNS name in which a whole first label ``*`` stands for one label and ``**`` for one or more."""

    text: str
    stars: str
    fixed: str

    @classmethod
    def parse(cls, text: str) -> DnsPattern:
        """Read a pattern. Raises ValueError where it can't match any DNS name or looks like another syntax."""
        known_placeholders(text)
        stars = next((first for first in ("*", "**") if text == first or text.startswith(f"{first}.")), "")
        fixed = text[len(stars) + 1 :] if stars else text
        fixed = fixed if "{" in fixed else fixed.lower()
        if not fixed:
            raise ValueError(f'"{text}" would be every name of every domain; name the domains: **.example.com')
        if "*" in fixed:
            raise ValueError(
                f'"{text}": a star is the whole first label: *.example.com (one label), **.example.com (any)'
            )
        try:
            dns_name(sample(fixed))
        except MalformedName as error:
            raise ValueError(str(error)) from error
        return cls(text, stars, fixed)

    def __str__(self) -> str:
        return self.text

    def matches(self, value: str, known: Known, *, covering: bool = False) -> bool:
        """Compare with a normalised DNS name, label by label.

        Args:
            value: the name; its first label may be ``*``.
            known: what placeholders stand for.
            covering: also match a wildcard name that covers, among others, a name that this pattern matches.
        """
        fixed = filled(self.fixed, known).lower() if "{" in self.fixed else self.fixed
        if self.stars == "**":
            return value.endswith("." + fixed)
        first, _, rest = value.partition(".")
        if self.stars:
            return rest == fixed
        return value == fixed or (covering and first == "*" and rest == fixed.partition(".")[2])


@dataclass(frozen=True, slots=True)
class EmailPattern:
    """A mail address: a glob before the @, a DNS pattern after it."""

    text: str
    local: Glob
    domain: DnsPattern

    @classmethod
    def parse(cls, text: str) -> EmailPattern:
        """Read a pattern. Raises ValueError."""
        local, at, domain = text.rpartition("@")
        if not at:
            raise ValueError(f'"{text}" has no @; write *@example.com')
        return cls(text, Glob.parse(local), DnsPattern.parse(domain))

    def __str__(self) -> str:
        return self.text

    def matches(self, value: str, known: Known, *, covering: bool = False) -> bool:
        """Compare; case matters before the @ (RFC 5280 section 4.2.1.6)."""
        del covering
        local, at, domain = value.rpartition("@")
        return bool(at) and self.local.matches(local, known) and self.domain.matches(domain, known)


@dataclass(frozen=True, slots=True)
class UriPattern:
    """A URI in which ``*`` stands for a run of characters in one segment, and ``**`` at the end for anything below.

    A star is data and never what divides: ``https://*.example.com/`` is not ``https://evil.test?.example.com/``, nor
    is ``https://a.example.com:*`` ``https://a.example.com:@evil.test``.
    """

    text: str
    segments: tuple[Glob | None, ...]
    deep: bool

    @classmethod
    def parse(cls, text: str) -> UriPattern:
        """Read a pattern. Raises ValueError without a literal scheme, or with ``**`` elsewhere than at the end."""
        known_placeholders(text)
        scheme = text.partition(":")[0]
        if ":" not in text or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
            raise ValueError(f'"{text}" has no scheme; write spiffe://example.com/**')
        segments = text.split("/")
        deep = segments[-1] == "**"
        if any("**" in segment for segment in segments[: -1 if deep else None]):
            raise ValueError(f'"{text}": ** stands for everything below and can only be at the end, after a slash')
        kept = segments[:-1] if deep else segments
        return cls(text, tuple(Glob.parse(segment) if segment else None for segment in kept), deep)

    def __str__(self) -> str:
        return self.text

    def matches(self, value: str, known: Known, *, covering: bool = False) -> bool:
        """Compare segment by segment. A value with ``.`` or ``..`` segments is never below anything.

        Args:
            value: the normalised URI.
            known: what placeholders stand for.
            covering: let stars stand for anything but ``/``: for what is forbidden, more rather than less.
        """
        segments = value.split("/")
        if len(segments) < len(self.segments) + self.deep or (len(segments) > len(self.segments) and not self.deep):
            return False
        below = segments[len(self.segments) :]
        if not covering and not (_NO_SEGMENTS.isdisjoint(segments) and all(map(_is_plain, below))):
            return False
        for index, (glob, actual) in enumerate(zip(self.segments, segments, strict=False)):
            if glob is None:
                if actual:
                    return False
                continue
            host = index == _HOST and not segments[1]
            if not glob.matches(actual, known) or not (covering or _is_data(glob, actual, known, host=host)):
                return False
        return True


_NO_SEGMENTS = frozenset({".", ".."})
_HOST = 2
_DIVIDING = ("?", "#", "%2F", "%5C", "%00")
"""What divides a URI into parts, and what some readers take for a slash or an end."""


def _is_plain(segment: str) -> bool:
    return bool(segment) and not any(mark in segment for mark in _DIVIDING)


def _is_data(glob: Glob, segment: str, known: Known, *, host: bool) -> bool:
    """Whether the stars of a glob that matches stand for nothing that divides, and not for an empty segment."""
    if len(glob.parts) == 1:
        return True
    written = filled(glob.text, known)
    marks = (*_DIVIDING, "@") if host or "@" in written else _DIVIDING
    return bool(segment) and all(segment.count(mark) == written.count(mark) for mark in marks)


@dataclass(frozen=True, slots=True)
class OtherPattern:
    """An otherName: its type with text in which ``*`` is any run of characters, or with the one DER value, in hex.

    Attributes:
        type_id: the type, dotted.
        glob: for the text of a value that is a UTF8String, IA5String or PrintableString; None where `octets` count.
        octets: DER of the one value.
    """

    text: str
    type_id: str
    glob: Glob | None
    octets: bytes = b""

    @classmethod
    def parse(cls, text: str) -> OtherPattern:
        """Read ``upn:*@example.com``, ``1.3.6.1.4.1.311.20.2.3:*@example.com`` or ``1.2.3:#0403010203``.

        Raises:
            ValueError: it is none of these.
        """
        word, colon, rest = text.partition(":")
        type_id = OTHER_NAMES.get(word, word)
        if not colon or not rest or not re.fullmatch(r"[0-2](\.(0|[1-9][0-9]{0,9})){1,20}", type_id):
            raise ValueError(f'"{text}" is no otherName; write upn:*@example.com, or the dotted type, a colon and text')
        if not rest.startswith("#"):
            return cls(text, type_id, Glob.parse(rest))
        try:
            octets = bytes.fromhex(rest[1:])
            der.read(octets)
        except (ValueError, der.MalformedDer) as error:
            raise ValueError(f'"{text}": after # comes DER in hex') from error
        return cls(text, type_id, None, octets)

    def __str__(self) -> str:
        return self.text

    def matches(self, value: OtherName, known: Known, *, covering: bool = False) -> bool:
        """Compare type and value; a value that is no text matches only its own octets."""
        del covering
        if value.type_id != self.type_id:
            return False
        if self.glob is None:
            return value.value == self.octets
        text = other_text(value)
        return text is not None and self.glob.matches(text, known)


OTHER_NAMES = {
    "upn": "1.3.6.1.4.1.311.20.2.3",
    "xmppAddr": "1.3.6.1.5.5.7.8.5",
    "smtpUTF8Mailbox": "1.3.6.1.5.5.7.8.9",
    "permanentIdentifier": "1.3.6.1.5.5.7.8.3",
    "hardwareModule": "1.3.6.1.5.5.7.8.4",
}
"""Types of otherName by the words for them: UTF8Strings, and the identifiers of devices of RFC 4043 and RFC 4108."""

_PERMANENT, _HARDWARE = OTHER_NAMES["permanentIdentifier"], OTHER_NAMES["hardwareModule"]
_TEXTS = {der.UTF8_STRING: "utf-8", der.IA5_STRING: "ascii", der.PRINTABLE_STRING: "ascii"}


def other_name(text: str) -> OtherName:
    """Return the otherName that is written like a pattern without stars: its text as UTF8String. Raises ValueError.

    That of a device is a text and, after a slash, the object identifier of its assigner or of its type.
    """
    pattern = OtherPattern.parse(text)
    if pattern.glob is None:
        return OtherName(pattern.type_id, pattern.octets)
    device, slash, oid = pattern.glob.text.partition("/")
    if pattern.type_id == _HARDWARE:
        return OtherName(_HARDWARE, der.sequence(der.oid(oid), der.octet_string(device.encode())))
    if pattern.type_id == _PERMANENT:
        return OtherName(_PERMANENT, der.sequence(der.utf8(device), *([der.oid(oid)] if slash else [])))
    return OtherName(pattern.type_id, der.tlv(der.UTF8_STRING, pattern.glob.text.encode()))


def other_text(name: OtherName) -> str | None:
    """Return the text of an otherName, None for a value that is not text without control characters."""
    try:
        value = der.read(name.value)
        if name.type_id in {_PERMANENT, _HARDWARE}:
            text = _device_text(name.type_id, der.children(der.expect(value, der.SEQUENCE)))
        else:
            text = value.content.decode(_TEXTS[value.tag])
    except (der.MalformedDer, KeyError, IndexError, ValueError):
        return None
    return text if text.isprintable() else None


def _device_text(type_id: str, fields: list[der.Tlv]) -> str:
    """Return the text of a device's name, as ACME's identifiers have it. Raises ValueError, IndexError."""
    if type_id == _HARDWARE:
        device = der.expect(fields[1], der.OCTET_STRING).content.decode("utf-8")
        return f"{device}/{der.read_oid(der.expect(fields[0], der.OID).content)}"
    oids = (der.read_oid(der.expect(each, der.OID).content) for each in fields[1:])
    return "/".join((der.expect(fields[0], der.UTF8_STRING).content.decode("utf-8"), *oids))


@dataclass(frozen=True, slots=True)
class Network:
    """A network of IP addresses in CIDR form."""

    text: str
    version: int
    prefix: int
    shift: int

    @classmethod
    def parse(cls, text: str) -> Network:
        """Read ``10.0.0.0/8``, ``2001:db8::/32`` or one address. Raises ValueError."""
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ValueError(f"{error}; write an address or a network, like 10.20.0.0/16") from error
        shift = network.max_prefixlen - network.prefixlen
        return cls(text, network.version, int(network.network_address) >> shift, shift)

    def __str__(self) -> str:
        return self.text

    def matches(
        self, address: ipaddress.IPv4Address | ipaddress.IPv6Address, known: Known, *, covering: bool = False
    ) -> bool:
        """Whether the address is in the network; IPv4 and IPv6 are never mixed."""
        del known, covering
        return address.version == self.version and int(address) >> self.shift == self.prefix


@dataclass(frozen=True, slots=True)
class Characters:
    """A set of characters, written like ``A-Za-z0-9 ._:-``; a literal ``-`` stands first or last."""

    text: str
    members: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Characters:
        """Read the set. Raises ValueError for an empty set or a range that runs backwards."""
        members: set[str] = set()
        position = 0
        while position < len(text):
            is_range = text[position + 1 : position + 2] == "-" and position + 2 < len(text)
            first, last = text[position], text[position + 2 if is_range else position]
            if first > last or ord(last) - ord(first) > 0x2000:
                raise ValueError(f'"{first}-{last}" is no range of characters; a literal - stands first or last')
            members.update(map(chr, range(ord(first), ord(last) + 1)))
            position += 3 if is_range else 1
        if not members:
            raise ValueError("a set of characters can't be empty")
        return cls(text, frozenset(members))

    def __str__(self) -> str:
        return self.text

    def contain(self, value: str) -> bool:
        """Whether every character of `value` is in the set."""
        return self.members.issuperset(value)


@dataclass(frozen=True, slots=True)
class EndpointPattern:
    """An endpoint, ``est/plant``, or all of a protocol, ``est/*``."""

    text: str
    glob: Glob

    @classmethod
    def parse(cls, text: str) -> EndpointPattern:
        """Read the pattern. Raises ValueError."""
        protocol, slash, label = text.partition("/")
        if not slash or not label or "/" in label or not re.fullmatch(r"[a-z]+", protocol):
            raise ValueError(
                f'"{text}" is no endpoint; write protocol/label like est/default, or est/* for all of them'
            )
        return cls(text, Glob.parse(text))

    def __str__(self) -> str:
        return self.text

    def matches(self, endpoint: str) -> bool:
        """Compare with ``protocol/label``."""
        return self.glob.matches(endpoint, {})


Pattern = DnsPattern | EmailPattern | Network | OtherPattern | UriPattern

P = TypeVar("P")


def _from_text(parse: Callable[[str], P]) -> Any:  # pieces of Annotated have no common type
    def read(value: object) -> P:
        if not isinstance(value, str):
            raise ValueError("must be text; put it in quotes")  # noqa: TRY004 - pydantic collects ValueError only
        return parse(value)

    return BeforeValidator(read)


_TEXT = WithJsonSchema({"type": "string"})

GlobField = Annotated[Glob, _from_text(Glob.parse), _TEXT]
DnsPatternField = Annotated[DnsPattern, _from_text(DnsPattern.parse), _TEXT]
EmailPatternField = Annotated[EmailPattern, _from_text(EmailPattern.parse), _TEXT]
OtherPatternField = Annotated[OtherPattern, _from_text(OtherPattern.parse), _TEXT]
UriPatternField = Annotated[UriPattern, _from_text(UriPattern.parse), _TEXT]
NetworkField = Annotated[Network, _from_text(Network.parse), _TEXT]
CharactersField = Annotated[Characters, _from_text(Characters.parse), _TEXT]
EndpointPatternField = Annotated[EndpointPattern, _from_text(EndpointPattern.parse), _TEXT]
