"""What a request asks for, read out of the CSR and the evidence once for all rules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca import der
from ca.plan import KeyUsage
from policies.patterns import REQUESTER
from policies.request import EVIDENCE_WORDS, AccountEvidence
from policies.words import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, EXTENSION_NAMES, KEY_USAGE

if TYPE_CHECKING:
    from ca.csr import Csr
    from ca.names import GeneralName
    from policies.request import EnrollmentRequest

NOBODY = "\x00"
"""Stands for a requester's name that can't be used in a certificate; no pattern with it matches anything."""

_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@ -]{0,62}[A-Za-z0-9])?")
_BITS = tuple(KeyUsage)
_READ = (KEY_USAGE, EXTENDED_KEY_USAGE, BASIC_CONSTRAINTS)


class UnusableRequester(ValueError):
    """A value depends on the requester's name, and that has characters that can't go into a certificate."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for.

    Attributes:
        requester: the requester's identity without its kind; `NOBODY` unless it is plain text of up to 64 characters.
        evidence: the words for the evidence that was presented.
        names: the names of the order for an ACME account, else those of the CSR.
        key_usage, purposes, ca: the CSR's keyUsage, extendedKeyUsage (dotted) and basicConstraints.
        unreadable: names of requested extensions that are not what their specification says; nothing was read of them.
    """

    requester: str
    evidence: frozenset[str]
    names: tuple[GeneralName, ...]
    key_usage: frozenset[KeyUsage] = frozenset()
    purposes: tuple[str, ...] = ()
    ca: bool = False
    unreadable: tuple[str, ...] = ()

    def fill(self, template: str) -> str:
        """Put the requester's name into a value of the profile. Raises UnusableRequester."""
        if REQUESTER not in template:
            return template
        if self.requester == NOBODY:
            raise UnusableRequester("the requester's name can't be part of a certificate")
        return template.replace(REQUESTER, self.requester)


def read_request(request: EnrollmentRequest) -> Asked:
    """Read out what the request asks for. Raises nothing for what stands in a CSR."""
    name = request.requester.identity.partition(":")[2]
    requester = name if _PLAIN.fullmatch(name) else NOBODY
    evidence = request.requester.evidence
    words = frozenset([EVIDENCE_WORDS[type(one)] for one in evidence])
    names = request.csr.names
    for one in evidence:
        if isinstance(one, AccountEvidence):
            names = one.authorized
    if any(extension.oid in _READ for extension in request.csr.extensions):
        return Asked(requester, words, names, *_usages(request.csr))
    return Asked(requester, words, names)


def _usages(csr: Csr) -> tuple[frozenset[KeyUsage], tuple[str, ...], bool, tuple[str, ...]]:
    key_usage: frozenset[KeyUsage] = frozenset()
    purposes: tuple[str, ...] = ()
    ca = False
    unreadable: list[str] = []
    for extension in csr.extensions:
        try:
            if extension.oid == KEY_USAGE:
                key_usage = _bits(extension.value)
            elif extension.oid == EXTENDED_KEY_USAGE:
                purposes = _purposes(extension.value)
            elif extension.oid == BASIC_CONSTRAINTS:
                ca = _ca(extension.value)
        except der.MalformedDer:
            unreadable.append(EXTENSION_NAMES[extension.oid])
    return key_usage, purposes, ca, tuple(unreadable)


def _bits(value: bytes) -> frozenset[KeyUsage]:
    unused, octets = der.read_bits(der.expect(der.read(value), der.BIT_STRING))
    count = min(len(octets) * 8 - unused, len(_BITS))
    return frozenset(_BITS[index] for index in range(count) if octets[index // 8] & (0x80 >> index % 8))


def _purposes(value: bytes) -> tuple[str, ...]:
    elements = der.children(der.expect(der.read(value), der.SEQUENCE))
    return tuple(der.read_oid(der.expect(element, der.OID).content) for element in elements)


def _ca(value: bytes) -> bool:
    elements = der.children(der.expect(der.read(value), der.SEQUENCE))
    return bool(elements) and elements[0].tag == der.BOOLEAN and der.read_boolean(elements[0])
