"""The sections of a profile: the format of policy files.

Three words decide over each part of a certificate, and they never mean each other: what is *forced* is in the
certificate whatever was asked for, what is *allowed* is taken from the request when it fits, what is a *default* is
used when the request has nothing of the kind. What is absent is forbidden.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from ca.names import MalformedName, dns_name
from ca.plan import KeyUsage
from policies.document import Strict, did_you_mean
from policies.durations import Duration, parse_duration
from policies.patterns import (
    REQUESTER,
    CharactersField,
    DnsPattern,
    DnsPatternField,
    EmailPatternField,
    EndpointPatternField,
    GlobField,
    NetworkField,
    Pattern,
    UriPatternField,
    known_placeholders,
)
from policies.request import EVIDENCE_WORDS
from policies.words import CA_USAGES, NEVER_REQUESTED_PURPOSES, PURPOSES, SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ca.keys import KeyShape

KEY_KINDS = ("rsa", "ec", "ed25519")
_CURVES = ("P-256", "P-384", "P-521")
_RSA = re.compile(r"rsa:([0-9]{3,5})(?:-([0-9]{3,5}))?")
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,9})){1,20}")


def _list(patterns: Iterable[object]) -> str:
    return ", ".join(map(str, patterns))


def _known(word: str, known: dict[str, str] | tuple[str, ...], what: str) -> str:
    if word not in known:
        raise ValueError(f'"{word}" is no {what}{did_you_mean(word, known)}')
    return word


def _attribute(word: str) -> str:
    return _known(word, SUBJECT_ATTRIBUTES, "subject attribute")


def _evidence(word: str) -> str:
    return _known(word, tuple(EVIDENCE_WORDS.values()), "kind of evidence")


def _key_kind(word: str) -> str:
    return _known(word, KEY_KINDS, "kind of key")


def _purpose(word: str) -> str:
    return word if _OID.fullmatch(word) else PURPOSES[_known(word, PURPOSES, "extended key usage (or dotted number)")]


def _template(text: str) -> str:
    if not text:
        raise ValueError("a value can't be empty")
    known_placeholders(text)
    return text


AttributeWord = Annotated[str, AfterValidator(_attribute)]
EvidenceWord = Annotated[str, AfterValidator(_evidence)]
KeyKind = Annotated[str, AfterValidator(_key_kind)]
Purpose = Annotated[str, AfterValidator(_purpose)]
Template = Annotated[str, AfterValidator(_template)]


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """A kind of key with its size: ``ec:P-256``, ``rsa:2048``, ``rsa:2048-4096`` or ``ed25519``."""

    text: str
    kind: str
    least: int = 0
    most: int = 0
    curve: str | None = None

    @classmethod
    def parse(cls, text: object) -> KeyPattern:
        """Read the pattern. Raises ValueError."""
        if not isinstance(text, str):
            raise ValueError("a key is written ec:P-256, rsa:2048-4096 or ed25519")  # noqa: TRY004 - pydantic collects it
        if text == "ed25519":
            return cls(text, "ed25519")
        if text.startswith("ec:"):
            return cls(text, "ec", curve=_known(text[3:], _CURVES, "curve"))
        match = _RSA.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text}" is no key; write ec:P-256, rsa:2048, rsa:2048-4096 or ed25519')
        least = int(match[1])
        most = int(match[2] or least)
        if most < least:
            raise ValueError(f'"{text}" begins with the larger size')
        return cls(text, "rsa", least, most)

    def __str__(self) -> str:
        return self.text

    def matches(self, shape: KeyShape) -> bool:
        """Whether a key of this shape is meant."""
        if shape.kind != self.kind:
            return False
        return (
            shape.curve == self.curve
            if self.kind == "ec"
            else self.kind != "rsa" or self.least <= shape.bits <= self.most
        )


KeyPatternField = Annotated[KeyPattern, BeforeValidator(KeyPattern.parse), WithJsonSchema({"type": "string"})]


class Evidence(Strict):
    """How the requester must have proven who it is: any one of the kinds, or all of them."""

    any: tuple[EvidenceWord, ...] = ()
    all: tuple[EvidenceWord, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> Evidence:
        if bool(self.any) == bool(self.all):
            raise ValueError("write either any: [...] or all: [...], with at least one kind of evidence")
        return self

    @cached_property
    def limit(self) -> str:
        """The demand in words."""
        return f"any of {', '.join(self.any)}" if self.any else f"all of {', '.join(self.all)}"

    def is_met_by(self, present: frozenset[str]) -> bool:
        """Whether these kinds of evidence are enough."""
        return not present.isdisjoint(self.any) if self.any else present.issuperset(self.all)


class Keys(Strict):
    """Which public keys may be certified."""

    allowed: Annotated[tuple[KeyPatternField, ...], Field(min_length=1)]

    @cached_property
    def limit(self) -> str:
        """The list in words."""
        return _list(self.allowed)


class Text(Strict):
    """What a subject attribute of the request may be."""

    like: Annotated[tuple[GlobField, ...], Field(min_length=1)]
    characters: CharactersField | None = None
    length: Annotated[int, Field(ge=1)] | None = None
    required: bool = False
    max: Annotated[int, Field(ge=1, le=16)] = 1
    among_names: bool = False

    @cached_property
    def limit(self) -> str:
        """The patterns in words."""
        return _list(self.like)

    @cached_property
    def is_free(self) -> bool:
        """Whether one of the patterns matches everything."""
        return any(pattern.text == "*" for pattern in self.like)


class Subject(Strict):
    """The subject of the certificate."""

    forced: dict[AttributeWord, Template] = Field(default_factory=dict)
    allowed: dict[AttributeWord, Text] = Field(default_factory=dict)
    default: dict[AttributeWord, Template] = Field(default_factory=dict)
    others: Literal["refuse", "ignore"] = "refuse"

    @cached_property
    def counted(self) -> tuple[tuple[str, str, Text], ...]:
        """The allowed attributes with their dotted numbers."""
        return tuple((SUBJECT_ATTRIBUTES[word], word, rule) for word, rule in self.allowed.items())

    @model_validator(mode="after")
    def _once(self) -> Subject:
        both = sorted(self.forced.keys() & (self.allowed.keys() | self.default.keys()))
        if both:
            raise ValueError(f"{', '.join(both)} is forced: it can't be allowed or have a default as well")
        return self


class _Kind(Strict):
    allowed: tuple[Pattern, ...] = ()
    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=1, le=100)] = 1

    @cached_property
    def limit(self) -> str:
        """The allowed patterns in words."""
        return _list(self.allowed)

    def permits(self, value: Any, requester: str) -> bool:
        """Whether a name's value matches one of the allowed patterns."""
        return any(pattern.matches(value, requester) for pattern in self.allowed)

    @model_validator(mode="after")
    def _range(self) -> _Kind:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


def _dns_template(text: str) -> str:
    try:
        dns_name(_template(text).replace(REQUESTER, "x"))
    except MalformedName as error:
        raise ValueError(str(error)) from error
    return text


def _ip_text(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise ValueError(f"{error}; write one address, like 10.20.0.1") from error
    return text


class DnsNames(_Kind):
    """DNS names in subjectAltName."""

    forced: tuple[Annotated[str, AfterValidator(_dns_template)], ...] = ()
    allowed: tuple[DnsPatternField, ...] = ()
    default: tuple[Annotated[str, AfterValidator(_dns_template)], ...] = ()
    forbidden: tuple[DnsPatternField, ...] = ()
    wildcards: Literal["forbidden", "allowed"] = "forbidden"

    @cached_property
    def _sorted(self) -> tuple[frozenset[str], frozenset[str], tuple[str, ...], tuple[DnsPattern, ...]]:
        """The allowed patterns by kind: whole names, what follows one label, endings, and those with a placeholder."""
        plain = [pattern for pattern in self.allowed if REQUESTER not in pattern.text]
        return (
            frozenset(pattern.fixed for pattern in plain if not pattern.stars),
            frozenset(pattern.fixed for pattern in plain if pattern.stars == "*"),
            tuple("." + pattern.fixed for pattern in plain if pattern.stars == "**"),
            tuple(pattern for pattern in self.allowed if REQUESTER in pattern.text),
        )

    def permits(self, value: Any, requester: str) -> bool:
        """Whether a normalised DNS name matches one of the allowed patterns; as the patterns say, for many at once."""
        whole, below, endings, personal = self._sorted
        if value in whole or value.endswith(endings) or value.partition(".")[2] in below:
            return True
        return any(pattern.matches(value, requester) for pattern in personal)


class IpAddresses(_Kind):
    """IP addresses in subjectAltName."""

    forced: tuple[Annotated[str, AfterValidator(_ip_text)], ...] = ()
    allowed: tuple[NetworkField, ...] = ()
    default: tuple[Annotated[str, AfterValidator(_ip_text)], ...] = ()
    forbidden: tuple[NetworkField, ...] = ()


class EmailAddresses(_Kind):
    """Mail addresses in subjectAltName."""

    forced: tuple[Template, ...] = ()
    allowed: tuple[EmailPatternField, ...] = ()
    default: tuple[Template, ...] = ()
    forbidden: tuple[EmailPatternField, ...] = ()


class Uris(_Kind):
    """URIs in subjectAltName."""

    forced: tuple[Template, ...] = ()
    allowed: tuple[UriPatternField, ...] = ()
    default: tuple[Template, ...] = ()
    forbidden: tuple[UriPatternField, ...] = ()


class Names(Strict):
    """subjectAltName, each kind for itself; a kind that is absent is forbidden."""

    dns: DnsNames | None = None
    ip: IpAddresses | None = None
    email: EmailAddresses | None = None
    uri: Uris | None = None

    @cached_property
    def kinds(self) -> tuple[tuple[str, DnsNames | IpAddresses | EmailAddresses | Uris], ...]:
        """The kinds that there are, by their words."""
        every = (("dns", self.dns), ("ip", self.ip), ("email", self.email), ("uri", self.uri))
        return tuple((word, kind) for word, kind in every if kind is not None)


class KeyUsages(Strict):
    """The bits of keyUsage."""

    forced: tuple[KeyUsage, ...] = ()
    forced_for: dict[KeyKind, tuple[KeyUsage, ...]] = Field(default_factory=dict)
    allowed: tuple[KeyUsage, ...] = ()

    @model_validator(mode="after")
    def _no_ca(self) -> KeyUsages:
        every = {*self.forced, *self.allowed, *(bit for bits in self.forced_for.values() for bit in bits)}
        if every & CA_USAGES:
            raise ValueError("keyCertSign and cRLSign make a CA; a profile never has them")
        return self

    @cached_property
    def _granted(self) -> dict[str, tuple[frozenset[KeyUsage], str]]:
        granted = {}
        for kind in KEY_KINDS:
            bits = frozenset((*self.forced, *self.forced_for.get(kind, ())))
            granted[kind] = (bits, ", ".join(sorted(bits)))
        return granted

    def granted(self, kind: str) -> tuple[frozenset[KeyUsage], str]:
        """Return what a key of this kind always gets, as bits and in words."""
        return self._granted[kind]


class Purposes(Strict):
    """Extended key usages, as dotted numbers after reading."""

    forced: tuple[Purpose, ...] = ()
    allowed: tuple[Purpose, ...] = ()
    default: tuple[Purpose, ...] = ()

    @model_validator(mode="after")
    def _bounded(self) -> Purposes:
        if PURPOSES["anyExtendedKeyUsage"] in {*self.forced, *self.allowed, *self.default}:
            raise ValueError("anyExtendedKeyUsage removes every restriction; name the purposes")
        powerful = NEVER_REQUESTED_PURPOSES.intersection(self.allowed)
        if powerful:
            raise ValueError(
                f"{', '.join(sorted(powerful))} gives power over others: it can be forced, never asked for"
            )
        if not (self.forced or self.allowed or self.default):
            raise ValueError("no purpose at all would be every purpose; name at least one")
        return self


class Validity(Strict):
    """From when to when."""

    default: Duration
    max: Duration | None = None
    backdate: Duration = timedelta(minutes=5)
    issuer_end: Literal["refuse", "shorten"] = "refuse"

    @cached_property
    def limit(self) -> timedelta:
        """The longest whole period, backdating included."""
        return self.max or self.default + self.backdate

    @model_validator(mode="after")
    def _within(self) -> Validity:
        if self.default < timedelta(minutes=1):
            raise ValueError("a certificate lives at least one minute")
        if self.backdate > timedelta(hours=48):
            raise ValueError("backdate is more than 48h")
        if self.default + self.backdate > self.limit:
            raise ValueError("default and backdate together are longer than max")
        return self


def _window(text: object) -> timedelta | float:
    """Read ``30d`` or ``33%``."""
    match = re.fullmatch(r"([0-9]{1,3})%", text) if isinstance(text, str) else None
    if match is None:
        return parse_duration(text)
    if not 0 < int(match[1]) <= 100:
        raise ValueError("a share of the lifetime is from 1% to 100%")
    return int(match[1]) / 100


class Renewal(Strict):
    """What a renewal may change, and when it may come; without this section nothing is renewed."""

    evidence: Evidence | None = None
    profiles: tuple[str, ...] = ()
    subject: Literal["same", "any"] = "same"
    names: Literal["same", "fewer", "any"] = "same"
    key: Literal["any", "new", "same"] = "any"
    window: Annotated[timedelta | float, BeforeValidator(_window), WithJsonSchema({"type": "string"})] | None = None


Treatment = Literal["ignore", "refuse"]


class Unused(Strict):
    """What happens when a request carries something that can't go into the certificate."""

    attributes: Treatment = "ignore"
    extensions: Treatment = "ignore"
    critical_extensions: Treatment = "refuse"
    usages: Treatment = "ignore"
    duplicate_names: Treatment = "ignore"
    powers: Treatment = "refuse"


class Sections(Strict):
    """One profile as its file has it."""

    description: str = ""
    endpoints: Annotated[tuple[EndpointPatternField, ...], Field(min_length=1)]
    issuer: str
    evidence: Evidence
    certificate_names: Literal["same", "any"] = "same"
    key: Keys
    subject: Subject = Subject()
    names: Names = Names()
    key_usage: KeyUsages = KeyUsages()
    extended_key_usage: Purposes
    validity: Validity
    renewal: Renewal | None = None
    unused: Unused = Unused()
    approval: Literal["none", "manual"] = "none"
    lint: Literal["shape", "always"] = "shape"
