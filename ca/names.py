"""Names as PKIX knows them, typed and normalised once (RFC 5280 sections 4.1.2.4 and 4.2.1.6).

Two names are the same when the values here compare equal; nobody compares bytes or strings of the wire.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509

COMMON_NAME = "2.5.4.3"
SERIAL_NUMBER = "2.5.4.5"
EMAIL_ADDRESS = "1.2.840.113549.1.9.1"

_SHORT_NAMES = {  # RFC 4514 section 3
    COMMON_NAME: "CN",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "2.5.4.6": "C",
    "2.5.4.9": "STREET",
    "0.9.2342.19200300.100.1.25": "DC",
    "0.9.2342.19200300.100.1.1": "UID",
}
_SPECIAL = re.compile(r'[\\",+;<>]|^[ #]| $')
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_DNS_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//([^/?#]*))?([^#]*(?:#[^#]*)?)")
_URI_TEXT = re.compile(r"(?:[A-Za-z0-9._~:/?#@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_ESCAPED = re.compile("%..")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_AUTHORITY = re.compile(r"(?:([^@]*)@)?(\[[0-9A-Fa-f:.]+\]|[^@:\[\]]+)(:[0-9]{0,5})?")


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
        value = self.value
        folded = value.lower() if value.isascii() else unicodedata.normalize("NFKC", value).casefold()
        return self.oid, " ".join(folded.split())


@dataclass(frozen=True, slots=True)
class DistinguishedName:
    """A distinguished name: relative names in the order of the encoding, each of one or more attributes.

    The attributes of one relative name are a set; here they are sorted.
    """

    rdns: tuple[tuple[Attribute, ...], ...] = ()

    def __post_init__(self) -> None:
        if any(len(rdn) > 1 for rdn in self.rdns):
            object.__setattr__(self, "rdns", tuple(tuple(sorted(rdn)) for rdn in self.rdns))

    def __bool__(self) -> bool:
        return bool(self.rdns)

    def __str__(self) -> str:
        """Write the RFC 4514 form, most specific part first; any name has one, also those no CA would sign."""
        return ",".join("+".join(map(_rfc4514, rdn)) for rdn in reversed(self.rdns))

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
        return self.rdns == other.rdns or self.canonical() == other.canonical()


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
    if not text.isascii() or len(value) > 253 or not _DNS_NAME.fullmatch(value):
        raise MalformedName(f"not a DNS name: {text!r:.80}")
    return DnsName(value)


def ip_address(octets: bytes) -> IpAddress:
    """Return the address of 4 or 16 octets in network order (RFC 5280 section 4.2.1.6). Raises MalformedName."""
    if len(octets) == 4:
        return IpAddress(IPv4Address(octets))
    if len(octets) == 16:
        return IpAddress(IPv6Address(octets))
    raise MalformedName("an IP address is neither 4 nor 16 octets long")


def email_address(text: str) -> EmailAddress:
    """Return the normalised mailbox, dot-atom form only (RFC 5280 section 4.2.1.6). Raises MalformedName."""
    local, _, domain = text.rpartition("@")
    if len(local) > 64 or not _LOCAL_PART.fullmatch(local) or domain.startswith("*"):
        raise MalformedName(f"not an e-mail address: {text!r:.80}")
    return EmailAddress(f"{local}@{dns_name(domain).value}")


def uri(text: str) -> Uri:
    """Return the absolute URI in the form in which equal ones are written equally (RFC 3986 section 6.2.2).

    Scheme and host are in lower case, and nothing is escaped that need not be. An authority must have a host: a DNS
    name or an address (RFC 5280 section 4.2.1.6). Raises MalformedName.
    """
    match = _URI.fullmatch(text)
    if match is None or not (match[3] or match[4]):
        raise MalformedName(f"not an absolute URI: {text!r:.80}")
    authority = "" if match[2] is None else f"//{_authority(match[3], text)}"
    return Uri(f"{match[1].lower()}:{authority}{_plainly_escaped(match[4], text)}")


def _authority(written: str, text: str) -> str:
    match = _AUTHORITY.fullmatch(written)
    if match is None:
        raise MalformedName(f"not an absolute URI: {text!r:.80}")
    user, host, port = match[1], match[2].lower(), match[3] or ""
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
        elif dns_name(host).value.startswith("*"):
            raise MalformedName("a wildcard is no host")
    except ValueError as error:
        raise MalformedName(f"a URI's host is neither a DNS name nor an address: {text!r:.80}") from error
    return f"{host}{port}" if user is None else f"{_plainly_escaped(user, text)}@{host}{port}"


def _plainly_escaped(part: str, text: str) -> str:
    """Return a part with capital digits in its escapes, and none of what need not be escaped."""
    if not _URI_TEXT.fullmatch(part):
        raise MalformedName(f"not an absolute URI: {text!r:.80}")
    return _ESCAPED.sub(_escape, part) if "%" in part else part


def _escape(found: re.Match[str]) -> str:
    character = chr(int(found[0][1:], 16))
    return character if character in _UNRESERVED else found[0].upper()


def subject_of(certificate: x509.Certificate) -> DistinguishedName:
    """Return a certificate's subject. Raises MalformedName."""
    try:
        return DistinguishedName.from_x509(certificate.subject)
    except (ValueError, TypeError) as error:  # the latter for a BIT STRING as value
        raise MalformedName("a subject can't be read") from error


def names_of(certificate: x509.Certificate) -> tuple[GeneralName, ...]:
    """Return a certificate's subjectAltName in order, empty when it has none.

    Raises MalformedName for a name that can't be read, and for extensions that can't.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise MalformedName("the extensions of a certificate can't be read") from error
    return tuple(from_x509(name) for name in extension.value)


def from_x509(name: x509.GeneralName) -> GeneralName:  # noqa: PLR0911 - one for each kind of name
    """Take over a parsed general name, normalised. Raises MalformedName."""
    match name:
        case x509.DNSName():
            return dns_name(name.value)
        case x509.IPAddress(value=IPv4Address() | IPv6Address() as address):
            return IpAddress(address)
        case x509.RFC822Name():
            return email_address(name.value)
        case x509.UniformResourceIdentifier():
            return uri(name.value)
        case x509.DirectoryName():
            return DirectoryName(DistinguishedName.from_x509(name.value))
        case x509.RegisteredID():
            return RegisteredId(name.value.dotted_string)
        case x509.OtherName():
            return OtherName(name.type_id.dotted_string, name.value)
        case _:
            raise MalformedName("a kind of name that is not supported")


def to_x509(name: GeneralName) -> x509.GeneralName:  # noqa: PLR0911 - one for each kind of name
    """Return the general name for ``cryptography``'s builders. Raises MalformedName."""
    match name:
        case DnsName(value):
            return x509.DNSName(value)
        case IpAddress(address):
            return x509.IPAddress(address)
        case EmailAddress(value):
            return x509.RFC822Name(value)
        case Uri(value):
            return x509.UniformResourceIdentifier(value)
        case DirectoryName(directory):
            return x509.DirectoryName(directory.to_x509())
        case RegisteredId(value):
            return x509.RegisteredID(x509.ObjectIdentifier(value))
        case OtherName(type_id, octets):
            return x509.OtherName(x509.ObjectIdentifier(type_id), octets)


def _rfc4514(attribute: Attribute) -> str:
    escaped = _SPECIAL.sub(lambda found: f"\\{found[0]}", attribute.value)
    escaped = _CONTROL.sub(lambda found: "".join(f"\\{octet:02x}" for octet in found[0].encode()), escaped)
    return f"{_SHORT_NAMES.get(attribute.oid, attribute.oid)}={escaped}"
