"""Names as PKIX knows them, typed and normalised once (RFC 5280 sections 4.1.2.4 and 4.2.1.6).

Two names are the same when the values here compare equal; nobody compares bytes or strings of the wire.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

COMMON_NAME = "2.5.4.3"
SERIAL_NUMBER = "2.5.4.5"
EMAIL_ADDRESS = "1.2.840.113549.1.9.1"

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")


class MalformedName(ValueError):
    """A name that its own specification does not allow. The text is safe to show to the requester."""


@dataclass(frozen=True, slots=True, order=True)
class DnsName:
    """A DNS name in lower case, A-labels, without trailing dot; the leftmost label may be ``*`` (RFC 9525)."""

    value: str

    def __str__(self) -> str:
        return f"dns:{self.value}"


@dataclass(frozen=True, slots=True)
class IpAddress:
    """An IPv4 or IPv6 host address."""

    value: IPv4Address | IPv6Address

    def __str__(self) -> str:
        return f"ip:{self.value}"


@dataclass(frozen=True, slots=True, order=True)
class EmailAddress:
    """An rfc822Name: the local part as written, the domain in lower case."""

    value: str

    def __str__(self) -> str:
        return f"email:{self.value}"


@dataclass(frozen=True, slots=True, order=True)
class Uri:
    """A uniformResourceIdentifier, ASCII, with a scheme."""

    value: str

    def __str__(self) -> str:
        return f"uri:{self.value}"


@dataclass(frozen=True, slots=True, order=True)
class RegisteredId:
    """A registeredID in dotted form."""

    value: str

    def __str__(self) -> str:
        return f"rid:{self.value}"


@dataclass(frozen=True, slots=True, order=True)
class OtherName:
    """An otherName: its type in dotted form and the DER of its value."""

    type_id: str
    value: bytes

    def __str__(self) -> str:
        return f"other:{self.type_id}:{self.value.hex()}"


@dataclass(frozen=True, slots=True, order=True)
class Attribute:
    """One attribute of a distinguished name: type in dotted form and value as text."""

    oid: str
    value: str

    def canonical(self) -> tuple[str, str]:
        """Return the form in which values compare: no string type, no case, single spaces (RFC 5280 section 7.1)."""
        folded = unicodedata.normalize("NFKC", self.value).casefold()
        return self.oid, " ".join(folded.split())


@dataclass(frozen=True, slots=True)
class DistinguishedName:
    """A distinguished name: relative names in the order of the encoding, each of one or more attributes."""

    rdns: tuple[tuple[Attribute, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rdns)

    def __str__(self) -> str:
        return self.to_x509().rfc4514_string()

    @classmethod
    def from_x509(cls, name: x509.Name) -> DistinguishedName:
        """Take over a parsed name. Raises MalformedName for a value that is not text."""
        rdns = []
        for rdn in name.rdns:
            if any(not isinstance(attribute.value, str) for attribute in rdn):
                raise MalformedName("a subject attribute is not text")
            rdns.append(tuple(Attribute(a.oid.dotted_string, str(a.value)) for a in rdn))
        return cls(tuple(rdns))

    @classmethod
    def from_text(cls, text: str) -> DistinguishedName:
        """Read the RFC 4514 form, most specific part first. Raises MalformedName."""
        try:
            return cls.from_x509(x509.Name.from_rfc4514_string(text))
        except ValueError as error:
            raise MalformedName(f"not a distinguished name (RFC 4514): {text!r}") from error

    def to_x509(self) -> x509.Name:
        """Return the name for ``cryptography``'s builders. Raises MalformedName where X.520 limits are broken."""
        try:
            return x509.Name(
                x509.RelativeDistinguishedName(x509.NameAttribute(x509.ObjectIdentifier(a.oid), a.value) for a in rdn)
                for rdn in self.rdns
            )
        except ValueError as error:
            raise MalformedName(str(error)) from error

    def values(self, oid: str) -> tuple[str, ...]:
        """Return all values of one attribute type, in order."""
        return tuple(a.value for rdn in self.rdns for a in rdn if a.oid == oid)

    @property
    def common_names(self) -> tuple[str, ...]:
        """All values of commonName."""
        return self.values(COMMON_NAME)

    def canonical(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """Return the form in which names compare: RDN order kept, attributes of one RDN sorted."""
        return tuple(tuple(sorted(a.canonical() for a in rdn)) for rdn in self.rdns)

    def matches(self, other: DistinguishedName) -> bool:
        """Compare as RFC 5280 section 7.1 says: not bytes, not string types, not case."""
        return self.canonical() == other.canonical()


@dataclass(frozen=True, slots=True)
class DirectoryName:
    """A directoryName."""

    value: DistinguishedName

    def __str__(self) -> str:
        return f"dirname:{self.value}"


GeneralName = DnsName | IpAddress | EmailAddress | Uri | RegisteredId | OtherName | DirectoryName


def dns_name(text: str) -> DnsName:
    """Return the normalised DNS name. Raises MalformedName (length, alphabet, empty label, misplaced wildcard)."""
    value = text.lower()
    if not value.isascii() or not 0 < len(value) <= 253:
        raise MalformedName(f"not a DNS name: {text!r:.80}")
    labels = value.split(".")
    if labels[0] == "*" and len(labels) > 1:
        labels = labels[1:]
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise MalformedName(f"not a DNS name: {text!r:.80}")
    return DnsName(value)
