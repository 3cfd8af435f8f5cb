"""The section of a profile on subjectAltName: each kind of name with its own lists; what is absent is forbidden."""

from __future__ import annotations

import ipaddress
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from ca.names import MalformedName, dns_name
from policies.document import Strict
from policies.fields import Template, listed, template
from policies.patterns import (
    DnsPattern,
    DnsPatternField,
    EmailPatternField,
    Known,
    NetworkField,
    OtherPattern,
    OtherPatternField,
    Pattern,
    UriPatternField,
    sample,
)


class _Kind(Strict):
    allowed: tuple[Pattern, ...] = ()
    min: Annotated[int, Field(ge=0)] = 0
    max: Annotated[int, Field(ge=1, le=100)] = 1

    @cached_property
    def limit(self) -> str:
        """The allowed patterns in words."""
        return listed(self.allowed)

    def permits(self, value: Any, known: Known) -> bool:
        """Whether a name's value matches one of the allowed patterns."""
        return any(pattern.matches(value, known) for pattern in self.allowed)

    @model_validator(mode="after")
    def _range(self) -> _Kind:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


def _dns_template(text: str) -> str:
    try:
        dns_name(sample(template(text)))
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
        plain = [pattern for pattern in self.allowed if "{" not in pattern.text]
        return (
            frozenset(pattern.fixed for pattern in plain if not pattern.stars),
            frozenset(pattern.fixed for pattern in plain if pattern.stars == "*"),
            tuple("." + pattern.fixed for pattern in plain if pattern.stars == "**"),
            tuple(pattern for pattern in self.allowed if "{" in pattern.text),
        )

    def permits(self, value: Any, known: Known) -> bool:
        """Whether a normalised DNS name matches one of the allowed patterns; as the patterns say, for many at once."""
        whole, below, endings, personal = self._sorted
        if value in whole or value.endswith(endings) or value.partition(".")[2] in below:
            return True
        return any(pattern.matches(value, known) for pattern in personal)


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


def _other_template(text: str) -> str:
    if "*" in str(OtherPattern.parse(template(text))):
        raise ValueError(f'"{text}" is a pattern; write the whole value')
    return text


class OtherNames(_Kind):
    """otherNames in subjectAltName, by type."""

    forced: tuple[Annotated[str, AfterValidator(_other_template)], ...] = ()
    allowed: tuple[OtherPatternField, ...] = ()
    default: tuple[Annotated[str, AfterValidator(_other_template)], ...] = ()
    forbidden: tuple[OtherPatternField, ...] = ()


NameKind = DnsNames | IpAddresses | EmailAddresses | Uris | OtherNames


class Names(Strict):
    """subjectAltName, each kind for itself; a kind that is absent is forbidden."""

    dns: DnsNames | None = None
    ip: IpAddresses | None = None
    email: EmailAddresses | None = None
    uri: Uris | None = None
    other: OtherNames | None = None

    @cached_property
    def kinds(self) -> tuple[tuple[str, NameKind], ...]:
        """The kinds that there are, by their words."""
        every = (("dns", self.dns), ("ip", self.ip), ("email", self.email), ("uri", self.uri), ("other", self.other))
        return tuple((word, kind) for word, kind in every if kind is not None)
