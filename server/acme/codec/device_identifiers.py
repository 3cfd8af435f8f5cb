"""Identifiers of devices (draft-ietf-acme-device-attest sections 3, 4), in orders and in certificates."""

from __future__ import annotations

import re

from ca import der
from ca.names import OtherName
from server.acme.messages import Identifier

PERMANENT_IDENTIFIER, HARDWARE_MODULE = "permanent-identifier", "hardware-module"
DEVICE_TYPES = frozenset({PERMANENT_IDENTIFIER, HARDWARE_MODULE})
OTHER_NAMES = {PERMANENT_IDENTIFIER: "1.3.6.1.5.5.7.8.3", HARDWARE_MODULE: "1.3.6.1.5.5.7.8.4"}
"""PermanentIdentifier (RFC 4043) and HardwareModuleName (RFC 4108), as types of otherName."""

_LIMIT = 200
_OID = re.compile(r"([01]\.(0|[1-9]|[123][0-9])|2\.(0|[1-9][0-9]{0,9}))(\.(0|[1-9][0-9]{0,9})){0,20}")


def device_of(value: str) -> str:
    """Return the part of an identifier's value that names the device."""
    return value.partition("/")[0]


def device_fault(type_: str, value: str) -> str:
    """Say why this is not the value of such an identifier, empty when it is."""
    device, slash, oid = value.partition("/")
    if not device or len(value) > _LIMIT or not value.isprintable():
        return f"the identifier is not text of 1 to {_LIMIT} characters that can be printed"
    if slash and not _OID.fullmatch(oid):
        return "what follows the slash in the identifier is not a dotted object identifier"
    if type_ == HARDWARE_MODULE and not slash:
        return "the identifier of a hardware module needs a slash and the object identifier of its type"
    return ""


def to_other_name(identifier: Identifier) -> OtherName:
    """Return the name that a certificate has for an identifier without fault."""
    device, _, oid = identifier.value.partition("/")
    if identifier.type == HARDWARE_MODULE:
        value = der.sequence(der.oid(oid), der.octet_string(device.encode()))
    else:
        value = der.sequence(der.utf8(device), *([der.oid(oid)] if oid else []))
    return OtherName(OTHER_NAMES[identifier.type], value)


def from_other_name(type_id: str, value: bytes) -> Identifier | None:
    """Return the identifier that an otherName stands for, None for another one and for what no order could have."""
    type_ = next((word for word, oid in OTHER_NAMES.items() if oid == type_id), None)
    if type_ is None:
        return None
    try:
        fields = der.inside(der.read(value), der.SEQUENCE)
        text = _hardware(fields) if type_ == HARDWARE_MODULE else _permanent(fields)
    except (der.MalformedDer, ValueError, IndexError):
        return None
    found = Identifier(type_, text)
    return None if device_fault(type_, text) or to_other_name(found).value != value else found


def _permanent(fields: list[der.Tlv]) -> str:
    device = der.expect(fields[0], der.UTF8_STRING).content.decode("utf-8")
    return "/".join((device, *(der.dotted(each) for each in fields[1:])))


def _hardware(fields: list[der.Tlv]) -> str:
    type_ = der.dotted(fields[0])
    return f"{der.expect(fields[1], der.OCTET_STRING).content.decode('utf-8')}/{type_}"
