"""Key usage and extended key usage: what the profile forces, and what it lets the request add."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca import der
from ca.plan import KeyUsage
from policies.profile import fits_key
from policies.ruling import SILENT, Ruling, failed, ignored, joined, passed
from policies.words import (
    BASIC_CONSTRAINTS,
    EXTENDED_KEY_USAGE,
    EXTENSION_NAMES,
    KEY_USAGE,
    PURPOSE_NAMES,
    name_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ca.csr import Csr
    from policies.ruling import Question

_BITS = tuple(KeyUsage)


class UnreadableExtension(ValueError):
    """A requested extension of a known kind is not what its specification says."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a CSR asks for beyond names: key usage bits, purposes (dotted), and whether to be a CA."""

    key_usage: frozenset[KeyUsage] = frozenset()
    purposes: tuple[str, ...] = ()
    ca: bool = False


_NOTHING = Asked()


def asked(csr: Csr) -> Asked:
    """Read keyUsage, extendedKeyUsage and basicConstraints of the request. Raises UnreadableExtension."""
    found = {extension.oid: extension.value for extension in csr.extensions}
    if found.keys().isdisjoint((KEY_USAGE, EXTENDED_KEY_USAGE, BASIC_CONSTRAINTS)):
        return _NOTHING
    oid = KEY_USAGE
    try:
        bits = _bits(found[oid]) if oid in found else frozenset()
        oid = EXTENDED_KEY_USAGE
        purposes = _purposes(found[oid]) if oid in found else ()
        oid = BASIC_CONSTRAINTS
        ca = _ca(found[oid]) if oid in found else False
    except der.MalformedDer as error:
        raise UnreadableExtension(f"the requested extension {EXTENSION_NAMES[oid]} can't be read") from error
    return Asked(bits, purposes, ca)


def _bits(value: bytes) -> frozenset[KeyUsage]:
    unused, octets = der.read_bits(der.read(value))
    count = min(len(octets) * 8 - unused, len(_BITS))
    return frozenset(_BITS[index] for index in range(count) if octets[index // 8] & (0x80 >> index % 8))


def _purposes(value: bytes) -> tuple[str, ...]:
    elements = der.children(der.expect(der.read(value), der.SEQUENCE))
    return tuple(der.read_oid(der.expect(element, der.OID).content) for element in elements)


def _ca(value: bytes) -> bool:
    elements = der.children(der.expect(der.read(value), der.SEQUENCE))
    return bool(elements) and elements[0].tag == der.BOOLEAN and der.read_boolean(elements[0])


def readable(csr: Csr) -> Asked:
    """Like `asked`, but what can't be read counts as not asked for; the rule over unused parts denies it."""
    try:
        return asked(csr)
    except UnreadableExtension:
        return _NOTHING


def build_key_usage(question: Question) -> tuple[frozenset[KeyUsage], Ruling]:
    """Return the bits of keyUsage and what was found on the way."""
    section = question.profile.sections.key_usage
    kind = question.request.csr.key_shape.kind
    wanted = readable(question.request.csr).key_usage
    forced = frozenset((*section.forced, *section.forced_for.get(kind, ())))
    granted = forced | {bit for bit in wanted.intersection(section.allowed) if fits_key(bit, kind)}
    place = question.profile.place("key_usage")
    ruling = passed("key_usage", place, _words(wanted), _words(granted))
    return granted, joined((ruling, _left_over(question, "key_usage", sorted(wanted - granted))))


def build_purposes(question: Question) -> tuple[tuple[str, ...], Ruling]:
    """Return the extended key usages and what was found on the way; none at all is a finding."""
    section = question.profile.sections.extended_key_usage
    place = question.profile.place("extended_key_usage")
    wanted = readable(question.request.csr).purposes
    granted = dict.fromkeys(section.forced)
    granted.update(dict.fromkeys(purpose for purpose in wanted if purpose in section.allowed))
    if not wanted:
        granted.update(dict.fromkeys(section.default))
    value, limit = _purpose_words(wanted), _purpose_words(granted)
    if not granted:
        message = "none of the extended key usages that are asked for is allowed here"
        return (), failed("extended_key_usage", place, message, value, _purpose_words(section.allowed))
    left = [name_of(purpose, PURPOSE_NAMES) for purpose in wanted if purpose not in granted]
    ruling = passed("extended_key_usage", place, value, limit)
    return tuple(granted), joined((ruling, _left_over(question, "extended_key_usage", left)))


def _left_over(question: Question, rule: str, words: Sequence[str]) -> Ruling:
    """Say what was asked for and is not granted."""
    if not words:
        return SILENT
    if question.profile.sections.unused.usages == "ignore":
        return ignored(*(f"{rule} {word}" for word in words))
    place = question.profile.place("unused", "usages")
    return failed(rule, place, f"not allowed here: {', '.join(words)}", ", ".join(words), "refuse")


def _words(bits: Iterable[KeyUsage]) -> str:
    return ", ".join(sorted(bits))


def _purpose_words(purposes: Iterable[str]) -> str:
    return ", ".join(name_of(purpose, PURPOSE_NAMES) for purpose in purposes)
