"""Certificates like one that was read before, told by their octets.

The certificates of a profile are octet for octet the same around a few places: the serial number, the validity, the
texts of the subject, the key and its identifier, the DNS names. When one of them was read with care, another is as
right as that one if it has the same octets around these places and in them what its own plan says, of the same lengths.

That is sound because nothing in these places changes how anything is read: all lengths and types are around them, texts
are ASCII, which all string types write alike, and the values are put there as they are, by no encoder that could be
wrong. The validity alone is encoded: who asks here must read the times besides.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from ca import der
from ca.names import DnsName
from ca.tbs import SUBJECT_ALT_NAME, SUBJECT_KEY_IDENTIFIER, key_identifier, write_validity

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

    from ca.plan import CertificatePlan

_VERSION, _SUBJECT, _EXTENSIONS = 0, 5, 7
_OWN = frozenset({1, 4, 6})  # serial number, validity and key among the fields of a TBSCertificate
_NAMES_TYPE, _IDENTIFIER_TYPE = der.oid(SUBJECT_ALT_NAME), der.oid(SUBJECT_KEY_IDENTIFIER)
_DNS_NAMES = frozenset({DnsName})


class Frames:
    """What is around the places, of the certificates of one issuing CA that were right."""

    def __init__(self, *, remembered: int = 1024) -> None:
        """Remember so many: there is one for each shape of plan and lengths of what is in it."""
        self._remembered = remembered
        self._known: dict[Hashable, list[bytes]] = {}

    def expected(self, plan: CertificatePlan, serial: int) -> bytes | None:
        """Return the TBSCertificate that is like one that was right, with what is planned in its places.

        None decides nothing. That the validity means what it should is for the caller to see.
        """
        try:
            own = _own(plan, serial)
        except (ValueError, OverflowError):
            return None
        around = self._known.get(_kind(plan, own))
        return None if around is None else b"".join(chain.from_iterable(zip(around, own, strict=True)))

    def remember(self, plan: CertificatePlan, serial: int, tbs: bytes) -> None:
        """Keep what is around the places of a TBSCertificate that is in everything what was planned."""
        try:
            own = _own(plan, serial)
            around = _around(tbs, own)
        except (ValueError, OverflowError):
            return  # it has other places
        if len(self._known) >= self._remembered:
            self._known.clear()
        self._known[_kind(plan, own)] = around


def _own(plan: CertificatePlan, serial: int) -> list[bytes]:
    """Return what is in the places, and nothing at the end.

    Raises ValueError or OverflowError for a plan that has other places: texts that are not ASCII, names that are not
    DNS names, several attributes in one part of the subject, a serial number that is not positive.
    """
    if not _DNS_NAMES.issuperset(map(type, plan.names)):
        raise ValueError
    return [
        serial.to_bytes(serial.bit_length() // 8 + 1, "big"),
        write_validity(plan.not_before, plan.not_after),
        *[attribute.value.encode("ascii") for (attribute,) in plan.subject.rdns],
        plan.spki,
        key_identifier(plan.spki),
        *[str(name.value).encode("ascii") for name in plan.names],
        b"",
    ]


def _kind(plan: CertificatePlan, own: list[bytes]) -> Hashable:
    types = tuple([attribute.oid for (attribute,) in plan.subject.rdns])
    return plan.key_usage, plan.extended_key_usage, plan.extensions, types, tuple(map(len, own))


def _around(tbs: bytes, own: list[bytes]) -> list[bytes]:
    """Return the octets before each place and those behind the last one. Raises ValueError when they are elsewhere."""
    around, places = [b""], iter(own)
    for octets, is_own in _pieces(tbs):
        place = next(places, b"") if is_own else b""
        if not octets.endswith(place):
            raise ValueError
        around[-1] += octets[: len(octets) - len(place)]
        if is_own:
            around.append(b"")
    if len(around) != len(own):
        raise ValueError
    return around


def _pieces(tbs: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the octets of a TBSCertificate in pieces, and of each whether a place is at its end."""
    fields = der.pieces(tbs)
    yield _before(tbs, fields), False
    for number, field in enumerate(fields):
        if number == _SUBJECT:
            yield from _opened(field, own=True)
        elif number == _EXTENSIONS:
            (extensions,) = der.pieces(field)
            yield _before(field, [extensions]), False
            inner = der.pieces(extensions)
            yield _before(extensions, inner), False
            yield from chain.from_iterable(map(_extension, inner))
        else:
            yield field, number in _OWN


def _extension(extension: bytes) -> Iterator[tuple[bytes, bool]]:
    *before, value = der.pieces(extension)
    if before[0] != _NAMES_TYPE:
        yield extension, before[0] == _IDENTIFIER_TYPE
        return
    (names,) = der.pieces(value)
    yield _before(extension, [value]), False
    yield _before(value, [names]), False
    yield from _opened(names, own=True)


def _opened(element: bytes, *, own: bool) -> Iterator[tuple[bytes, bool]]:
    inner = der.pieces(element)
    yield _before(element, inner), False
    yield from ((each, own) for each in inner)


def _before(element: bytes, inner: Iterable[bytes]) -> bytes:
    """Return what comes before elements that are the last ones inside another."""
    return element[: len(element) - sum(map(len, inner))]
