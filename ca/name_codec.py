"""The DER of names (RFC 5280 sections 4.1.2.4 and 4.2.1.6): read into typed names or refused, never dropped."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from ca import der
from ca.names import (
    EMAIL_ADDRESS,
    Attribute,
    DirectoryName,
    DistinguishedName,
    DnsName,
    EmailAddress,
    GeneralName,
    IpAddress,
    MalformedName,
    OtherName,
    RegisteredId,
    Uri,
    dns_name,
    email_address,
    ip_address,
    uri,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNTRY = "2.5.4.6"
DOMAIN_COMPONENT = "0.9.2342.19200300.100.1.25"

_PRINTABLE_TYPES = frozenset({COUNTRY, "2.5.4.5", "2.5.4.46"})  # RFC 5280 appendix A.1: always PrintableString
_IA5_TYPES = frozenset({EMAIL_ADDRESS, DOMAIN_COMPONENT})
_UPPER_BOUNDS = {  # RFC 5280 appendix A.1, "Upper Bounds"
    "2.5.4.3": 64,
    "2.5.4.5": 64,
    COUNTRY: 2,
    "2.5.4.7": 128,
    "2.5.4.8": 128,
    "2.5.4.10": 64,
    "2.5.4.11": 64,
    "2.5.4.12": 64,
    EMAIL_ADDRESS: 255,
}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def read_name(element: der.Tlv) -> DistinguishedName:
    """Read a Name. Raises MalformedDer, and MalformedName for a value that is no text or has control characters."""
    der.expect(element, der.SEQUENCE)
    return DistinguishedName(tuple([_rdn(tag, content) for tag, content in der.contents(element.content)]))


def _rdn(tag: int, content: bytes) -> tuple[Attribute, ...]:
    if tag != der.SET:
        raise der.unexpected(tag, der.SET)
    attributes = []
    for pair_tag, pair in der.contents(content):
        if pair_tag != der.SEQUENCE:
            raise der.unexpected(pair_tag, der.SEQUENCE)
        parts = der.contents(pair)
        if len(parts) != 2:
            raise MalformedName("an attribute of a name is not a pair of type and value")
        (kind, oid), (string, value) = parts
        if kind != der.OID:
            raise der.unexpected(kind, der.OID)
        text = der.text(string, value)
        if _CONTROL.search(text):
            raise MalformedName("an attribute of a name has control characters")
        attributes.append(Attribute(der.read_oid(oid), text))
    if not attributes:
        raise MalformedName("a relative distinguished name is empty")
    return tuple(attributes)


def write_name(name: DistinguishedName) -> bytes:
    """Return the DER of a Name. Raises MalformedName for what RFC 5280 does not allow in one."""
    return der.sequence(*map(_write_rdn, name.rdns))


@lru_cache(maxsize=256)  # names of one site have all but one in common
def _write_rdn(rdn: tuple[Attribute, ...]) -> bytes:
    if len(rdn) == 1:
        return der.tlv(der.SET, _attribute(rdn[0]))
    if len({attribute.oid for attribute in rdn}) != len(rdn):
        raise MalformedName("a relative distinguished name has a type twice (X.501 section 9.3)")
    return der.set_of(*map(_attribute, rdn))


def _attribute(attribute: Attribute) -> bytes:
    oid, text = attribute.oid, attribute.value
    if not 0 < len(text) <= _UPPER_BOUNDS.get(oid, 32768) or _CONTROL.search(text):
        raise MalformedName(f"attribute {oid} of a name is empty, too long or has control characters")
    try:
        if oid in _PRINTABLE_TYPES:
            return der.sequence(der.oid(oid), der.printable(text))
        return der.sequence(der.oid(oid), der.ia5(text) if oid in _IA5_TYPES else der.utf8(text))
    except der.MalformedDer as error:
        raise MalformedName(f"attribute {oid} of a name: {error}") from error


def read_general_names(data: bytes) -> tuple[GeneralName, ...]:
    """Read GeneralNames, the value of subjectAltName: all of them, in order, normalised.

    Raises MalformedDer and MalformedName, also when there are none.
    """
    names = tuple([_general_name(tag, content) for tag, content in der.contents(der.read_as(data, der.SEQUENCE))])
    if not names:
        raise MalformedName("subjectAltName is empty (RFC 5280 section 4.2.1.6)")
    return names


def read_general_name(element: der.Tlv) -> GeneralName:
    """Read one GeneralName, normalised. Raises MalformedDer and MalformedName, also for kinds not supported."""
    return _general_name(element.tag, element.content)


def _general_name(tag: int, content: bytes) -> GeneralName:  # noqa: PLR0911 - one for each kind of name
    match tag:
        case 0x82:
            return dns_name(_ia5(content))
        case 0x87:
            return ip_address(content)
        case 0x81:
            return email_address(_ia5(content))
        case 0x86:
            return uri(_ia5(content))
        case 0xA4:
            return DirectoryName(read_name(der.read(content)))
        case 0x88:
            return RegisteredId(der.read_oid(content))
        case 0xA0:
            return _other_name(der.elements(content))
        case _:
            raise MalformedName(f"a kind of name that is not supported (tag {tag:#04x})")


def _other_name(parts: list[der.Tlv]) -> OtherName:
    if len(parts) != 2:
        raise MalformedName("an otherName is not a pair of type and value")
    type_id, value = der.expect(parts[0], der.OID), der.expect(parts[1], der.context(0))
    der.read(value.content)
    return OtherName(der.read_oid(type_id.content), value.content)


def _ia5(content: bytes) -> str:
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedName("a name has octets outside of IA5String") from error


def write_general_names(names: Iterable[GeneralName]) -> bytes:
    """Return the DER of GeneralNames in the order given. Raises MalformedName."""
    return der.sequence(*map(write_general_name, names))


def write_general_name(name: GeneralName) -> bytes:  # noqa: PLR0911 - one for each kind of name
    """Return the DER of one GeneralName. Raises MalformedName."""
    match name:
        case DnsName(value):
            return der.tlv(0x82, _ascii(value))
        case IpAddress(address):
            return der.tlv(0x87, address.packed)
        case EmailAddress(value):
            return der.tlv(0x81, _ascii(value))
        case Uri(value):
            return der.tlv(0x86, _ascii(value))
        case DirectoryName(directory):
            return der.tlv(0xA4, write_name(directory))
        case RegisteredId(value):
            return der.tlv(0x88, der.read(der.oid(value)).content)
        case OtherName(type_id, octets):
            return der.tlv(0xA0, der.oid(type_id), der.tlv(0xA0, octets))


def _ascii(value: str) -> bytes:
    if not value.isascii():
        raise MalformedName("a name has characters outside of IA5String")
    return value.encode("ascii")
