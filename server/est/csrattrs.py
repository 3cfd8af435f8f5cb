"""CSR attributes: what a requester should put into its request (RFC 7030 section 4.5.2, RFC 9908). Pure.

Two forms of the same: the flat list of RFC 7030, and the template of RFC 9908, which can also say which parts of a
name or extension the device fills in.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

from ca import der
from ca.keys import POST_QUANTUM
from ca.name_codec import write_general_name, write_name
from ca.names import Attribute, DistinguishedName, IpAddress
from ca.plan import KeyUsage
from server.est.linking import IDENTITY_LINKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca.keys import KeyShape
    from policies.expectations import Expectations, Wanted
    from server.config import EstEndpointConfig

_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - an object identifier
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
EXTENSION_REQUEST_TEMPLATE = "1.2.840.113549.1.9.16.2.62"
REQUEST_TEMPLATE = "1.2.840.113549.1.9.16.2.61"

_SUBJECT_ALT_NAME, _KEY_USAGE, _EXTENDED_KEY_USAGE = "2.5.29.17", "2.5.29.15", "2.5.29.37"
_RSA, _EC, _ED25519 = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112"
_CURVES = {"P-256": "1.2.840.10045.3.1.7", "P-384": "1.3.132.0.34", "P-521": "1.3.132.0.35"}
_BITS = tuple(KeyUsage)
_OPEN_ADDRESS = der.tlv(0x87)
_EXPONENT = 65537


class Form(StrEnum):
    """Which forms are written."""

    NONE = "none"
    LEGACY = "legacy"
    RFC9908 = "rfc9908"
    BOTH = "both"


def attributes_of(config: EstEndpointConfig) -> tuple[str, ...]:
    """Return the attributes that an endpoint itself demands, dotted: where requests must be bound to their connection.

    RFC 7030 section 3.5 has challengePassword listed then; who knows RFC 7894 takes estIdentityLinking instead.
    """
    if config.linking != "required":
        return ()
    if config.challenge_password == "one-time-password":  # noqa: S105 - a word
        return (IDENTITY_LINKING,)
    return (_CHALLENGE_PASSWORD, IDENTITY_LINKING)


@lru_cache(maxsize=64)
def write_csrattrs(expected: Expectations, form: Form, attributes: tuple[str, ...] = ()) -> bytes | None:
    """Return the DER of CsrAttrs, None where the form is ``none``.

    Args:
        expected: what the profile that will judge wants.
        form: the forms to write; who knows the template must overlook the list (RFC 9908 section 4).
        attributes: attributes, dotted, that the endpoint itself demands, such as challengePassword for the binding to
            the connection. They can't stand in a template, having no value yet, so they are listed in every form.
    """
    if form is Form.NONE:
        return None
    items = [der.oid(each) for each in attributes]
    if form in {Form.LEGACY, Form.BOTH}:
        items += _flat(expected)
    if form in {Form.RFC9908, Form.BOTH}:
        items.append(attribute(REQUEST_TEMPLATE, _template(expected)))
    return der.sequence(*items)


def attribute(oid: str, *values: bytes) -> bytes:
    """Return an encoded Attribute."""
    return der.sequence(der.oid(oid), der.set_of(*values))


def key_attribute(key: KeyShape) -> bytes:
    """Return the one attribute that says kind and size of the key (RFC 9908 section 3.2)."""
    if key.kind == "rsa":
        return attribute(_RSA, der.integer(key.bits))
    if key.kind in POST_QUANTUM:
        return attribute(POST_QUANTUM[key.kind][0])
    return attribute(_EC, der.oid(_CURVES[key.curve])) if key.curve is not None else attribute(_ED25519)


def extension(oid: str, value: bytes | None, *, critical: bool = False) -> bytes:
    """Return an encoded Extension, or an ExtensionTemplate whose value is left to the device."""
    mark = der.boolean(True) if critical else b""  # noqa: FBT003 - the value to be written
    return der.sequence(der.oid(oid), mark, b"" if value is None else der.octet_string(value))


def _flat(expected: Expectations) -> Iterator[bytes]:
    """Yield the list: bare types for what the device fills in, one extensionRequest for extensions with values."""
    yield key_attribute(expected.key)
    yield from (der.oid(wanted.oid) for wanted in dict.fromkeys(expected.subject))
    extensions = list(_extensions(expected))
    yield from (der.oid(oid) for oid, value, _ in extensions if value is None)
    valued = [extension(oid, value, critical=critical) for oid, value, critical in extensions if value is not None]
    if valued:
        yield attribute(EXTENSION_REQUEST, der.sequence(*valued))


def _template(expected: Expectations) -> bytes:
    subject = der.sequence(*map(_relative_name, expected.subject)) if expected.subject else b""
    every = list(_extensions(expected, partly=True))
    if not every:
        requests = []
    elif expected.open_names or any(value is None for _, value, _ in every):
        written = [extension(oid, value, critical=critical) for oid, value, critical in every]
        requests = [attribute(EXTENSION_REQUEST_TEMPLATE, der.sequence(*written))]
    else:
        written = [extension(oid, value, critical=critical) for oid, value, critical in every]
        requests = [attribute(EXTENSION_REQUEST, der.sequence(*written))]
    key = der.tlv(der.context(0), *_key_info(expected.key))
    return der.sequence(der.integer(0), subject, key, der.tlv(der.context(1), *requests))


def _relative_name(wanted: Wanted) -> bytes:
    if wanted.value is None:
        return der.set_of(der.sequence(der.oid(wanted.oid)))
    name = write_name(DistinguishedName(((Attribute(wanted.oid, wanted.value),),)))
    return der.read(name).content


def _key_info(key: KeyShape) -> Iterator[bytes]:
    """Yield the fields of SubjectPublicKeyInfoTemplate; of RSA with a key that shows the size and is none."""
    if key.curve is not None:
        yield der.sequence(der.oid(_EC), der.oid(_CURVES[key.curve]))
    elif key.kind == "rsa":
        yield der.sequence(der.oid(_RSA), der.null())
        yield der.bit_string(der.sequence(der.integer((1 << key.bits - 1) | 1), der.integer(_EXPONENT)))
    else:
        yield der.sequence(der.oid(POST_QUANTUM[key.kind][0] if key.kind in POST_QUANTUM else _ED25519))


def _extensions(expected: Expectations, *, partly: bool = False) -> Iterator[tuple[str, bytes | None, bool]]:
    """Yield type, value (None when the device fills it in) and criticality.

    Args:
        expected: what is wanted.
        partly: whether a value may have gaps, which only the template can say: an address without octets.
    """
    names = [write_general_name(name) for name in expected.names]
    if expected.open_names:
        gaps = partly and all(kind is IpAddress for kind in expected.open_names)
        names += [_OPEN_ADDRESS] * len(expected.open_names)
        yield _SUBJECT_ALT_NAME, der.sequence(*names) if gaps else None, False
    elif names:
        yield _SUBJECT_ALT_NAME, der.sequence(*names), False
    if expected.key_usage:
        yield _KEY_USAGE, _bits(expected.key_usage), True
    if expected.purposes:
        yield _EXTENDED_KEY_USAGE, der.sequence(*map(der.oid, expected.purposes)), False
    elif expected.must_ask_purpose:
        yield _EXTENDED_KEY_USAGE, None, False


def _bits(usages: frozenset[KeyUsage]) -> bytes:
    """Return a named bit list, without zero bits at its end (X.690 section 11.2.2)."""
    places = {_BITS.index(usage) for usage in usages}
    count = max(places) // 8 + 1
    octets = bytes(sum(0x80 >> place % 8 for place in places if place // 8 == index) for index in range(count))
    return der.bit_string(octets, 8 * count - 1 - max(places))
