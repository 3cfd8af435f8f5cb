"""Android's key attestation: the certificate of a key says how the key is kept (WebAuthn section 8.4)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal, NamedTuple

from cryptography import x509

from ca import der
from server.acme.challenges.attestation.signatures import verify
from server.acme.challenges.attestation.vocabulary import Attested, BadStatement, spki
from server.acme.messages import Identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.acme.challenges.attestation.statement import Statement
    from server.acme.challenges.attestation.vocabulary import Expected

KEY_DESCRIPTION = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.1.17")
PURPOSE, ALL_APPLICATIONS, ORIGIN, ROOT_OF_TRUST, SERIAL = 1, 600, 702, 704, 713
"""Tags of the AuthorizationList."""

Boot = Literal["verified", "self-signed", "any"]
"""How a phone must have been started: with what its maker signed, or also what its owner did; or it does not matter."""

_STARTED: dict[Boot, frozenset[int]] = {"verified": frozenset({0}), "self-signed": frozenset({0, 1})}
"""VerifiedBootState by what is wanted; with an unlocked bootloader none counts."""
_FIELDS = 8
_ROOT_FIELDS = (3, 4)
_CONTEXT, _CONSTRUCTED, _LONG, _MORE, _SEVEN = 0x80, 0x20, 0x1F, 0x80, 0x7F
_TAG_OCTETS = 2
_SIGNS = 2


class _Description(NamedTuple):
    """A KeyDescription: how secure attestation and key are, for what it was made, and what the hardware enforces."""

    levels: tuple[int, int]
    challenge: bytes
    software: dict[int, bytes]
    hardware: dict[int, bytes]


def judge(statement: Statement, expected: Expected, *, boot: Boot = "verified") -> Attested:
    """Return what the statement attests; its chain was followed. Raises BadStatement."""
    statement.expect("alg", "sig", "x5c")
    leaf, *above = statement.certificates()
    if any(each.oid == KEY_DESCRIPTION for certificate in above for each in certificate.extensions):
        # Whoever has an attested key could otherwise issue an "attestation" with it.
        raise BadStatement("a certificate above the attestation certificate is itself an attestation")
    octets = expected.key_authorization.encode("ascii")
    verify(statement.number("alg"), leaf.public_key(), statement.octets("sig"), octets)
    try:
        description = _description(leaf)
        fault = _fault(description, octets) or _fault_of_start(description.hardware.get(ROOT_OF_TRUST), boot)
        found = frozenset(map(_device, filter(None, (description.hardware.get(SERIAL),))))
    except (der.MalformedDer, UnicodeDecodeError):
        raise BadStatement("the key description can't be read") from None
    if fault:
        raise BadStatement(fault)
    return Attested(spki(leaf), found)


def _device(serial: bytes) -> Identifier:
    """Read an attested serial number. Raises MalformedDer, UnicodeDecodeError."""
    text = der.expect(der.read(serial), der.OCTET_STRING).content.decode("utf-8")
    return Identifier("permanent-identifier", text)


def _fault(description: _Description, key_authorization: bytes) -> str:
    """Say what is wrong with a key or its attestation, empty for nothing. Raises MalformedDer."""
    if description.challenge not in {key_authorization, hashlib.sha256(key_authorization).digest()}:
        return "the attestation is not for the key authorization of this challenge"
    if min(description.levels) < 1:
        return "the key, or its attestation, is not in secure hardware"
    if ALL_APPLICATIONS in description.software or ALL_APPLICATIONS in description.hardware:
        return "the key is for all applications of the device"
    if description.hardware.get(ORIGIN) != der.integer(0):
        return "the key was not made in the secure hardware"
    purposes = description.hardware.get(PURPOSE, b"")
    if not purposes or _SIGNS not in map(der.read_integer, der.inside(der.read(purposes), der.SET)):
        return "the key is not for signatures"
    return ""


def _fault_of_start(root: bytes | None, boot: Boot) -> str:
    """Say what is wrong with how the device was started, empty for nothing. Raises MalformedDer.

    What runs on a device whose bootloader is unlocked can use its keys for whom it likes.
    """
    wanted = _STARTED.get(boot)
    if wanted is None:
        return ""
    if root is None:
        return "the hardware does not say how the device was started"
    fields = der.inside(der.read(root), der.SEQUENCE)
    if len(fields) not in _ROOT_FIELDS:
        raise der.MalformedDer("a root of trust of other fields")
    if not der.read_boolean(der.expect(fields[1], der.BOOLEAN)):
        return "the device was started with an unlocked bootloader"
    state = der.read_integer(der.expect(fields[2], der.ENUMERATED))
    return "" if state in wanted else "the device was not started with software that is vouched for"


def _description(leaf: x509.Certificate) -> _Description:
    """Read the KeyDescription of a certificate. Raises BadStatement, MalformedDer."""
    found = [each.value for each in leaf.extensions if each.oid == KEY_DESCRIPTION]
    if len(found) != 1 or not isinstance(found[0], x509.UnrecognizedExtension):
        raise BadStatement("the attestation certificate has no key description")
    fields = der.inside(der.read(found[0].value), der.SEQUENCE)
    if len(fields) != _FIELDS:
        raise BadStatement("the key description has not eight fields")
    levels = (_level(fields[1]), _level(fields[3]))
    challenge = der.octets(der.expect(fields[4], der.OCTET_STRING))
    software, hardware = (dict(_authorizations(der.expect(each, der.SEQUENCE).content)) for each in fields[6:])
    return _Description(levels, challenge, software, hardware)


def _level(element: der.Tlv) -> int:
    return int.from_bytes(der.expect(element, der.ENUMERATED).content, signed=True)


def _authorizations(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each; the tags are longer than the DER reader takes. Raises MalformedDer."""
    seen: set[int] = set()
    while octets:
        number, octets = _tag(octets)
        # What follows the tag is length and content: as an element of its own, with another tag, it can be read.
        element, end = der.read_first(bytes([der.OCTET_STRING]) + octets)
        if number in seen:
            raise der.MalformedDer("an authorization that is repeated")
        seen.add(number)
        yield number, element.content
        octets = octets[end - 1 :]


def _tag(octets: bytes) -> tuple[int, bytes]:
    """Read an explicit context-specific tag. Raises MalformedDer."""
    if octets[0] & ~_LONG != _CONTEXT | _CONSTRUCTED:
        raise der.MalformedDer("an authorization without an explicit tag")
    number = octets[0] & _LONG
    if number != _LONG:
        return number, octets[1:]
    number = 0
    for index in range(1, 1 + _TAG_OCTETS):
        if index >= len(octets):
            break
        number = number << 7 | octets[index] & _SEVEN
        if not octets[index] & _MORE:
            return number, octets[index + 1 :]
    raise der.MalformedDer("a tag that is cut off or too long")
