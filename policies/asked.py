"""What a request asks for, read out of the CSR and the evidence once for all rules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from ca import der
from ca.names import DnsName, EmailAddress, IpAddress, Uri
from ca.plan import KeyUsage
from policies.patterns import NOBODY, REQUESTER, filled, placeholders
from policies.request import EVIDENCE_WORDS, AccountEvidence, CertificateEvidence, requester_name
from policies.words import BASIC_CONSTRAINTS, EXTENDED_KEY_USAGE, EXTENSION_NAMES, KEY_USAGE, SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca.csr import Csr
    from ca.names import DistinguishedName, GeneralName
    from policies.patterns import Known
    from policies.request import EnrollmentRequest

_PLAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@ -]{0,62}[A-Za-z0-9])?")
_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._@: -]{0,62}[A-Za-z0-9])?")
_BITS = tuple(KeyUsage)
_READ = (KEY_USAGE, EXTENDED_KEY_USAGE, BASIC_CONSTRAINTS)


class UnusableRequester(ValueError):
    """A value depends on something that is not there once, or has characters that can't go into a certificate."""


class Asked(NamedTuple):
    """What is asked for.

    Attributes:
        requester: the requester's identity without its kind; ``NOBODY`` unless it is plain text of up to 64 characters.
        evidence: the words for the evidence that was presented.
        names: the names of the order for an ACME account, else those of the CSR.
        known: what placeholders stand for.
        key_usage, purposes, ca: the CSR's keyUsage, extendedKeyUsage (dotted) and basicConstraints.
        unreadable: names of requested extensions that are not what their specification says; nothing was read of them.
    """

    requester: str
    evidence: frozenset[str]
    names: tuple[GeneralName, ...]
    known: Known
    key_usage: frozenset[KeyUsage] = frozenset()
    purposes: tuple[str, ...] = ()
    ca: bool = False
    unreadable: tuple[str, ...] = ()

    def fill(self, template: str) -> str:
        """Put what placeholders stand for into a value of the profile. Raises UnusableRequester."""
        for placeholder in placeholders(template):
            if self.known[placeholder] == NOBODY:
                what = "the requester's name" if placeholder == REQUESTER else f"what stands for {placeholder}"
                raise UnusableRequester(f"{what} can't be part of a certificate")
        return filled(template, self.known)


def read_request(request: EnrollmentRequest) -> Asked:
    """Read out what the request asks for. Raises nothing for what stands in a CSR."""
    name = requester_name(request)
    requester = name if _PLAIN.fullmatch(name) else NOBODY
    evidence = request.requester.evidence
    words = frozenset([EVIDENCE_WORDS[type(one)] for one in evidence])
    names = request.csr.names
    for one in evidence:
        if isinstance(one, AccountEvidence):
            names = one.authorized
    known = _Known(request, requester)
    for extension in request.csr.extensions:
        if extension.oid in _READ:
            return Asked(requester, words, names, known, *_usages(request.csr))
    return Asked(requester, words, names, known)


class _Known(dict[str, str]):
    """What placeholders stand for, found out when it is wanted: plain text of up to 64 characters, or `NOBODY`."""

    __slots__ = ("_request",)

    def __init__(self, request: EnrollmentRequest, requester: str) -> None:
        self[REQUESTER] = requester
        self._request = request

    def __missing__(self, placeholder: str) -> str:
        source, _, word = placeholder.strip("{}").partition(".")
        values = tuple(_values(self._request, source, word))
        usable = len(values) == 1 and _VALUE.fullmatch(values[0]) is not None
        return self.setdefault(placeholder, values[0] if usable else NOBODY)


def _values(request: EnrollmentRequest, source: str, word: str) -> Iterator[str]:
    """Yield what the CSR, the certificate that was shown, or a look-up has of the word."""
    if source == "lookup":
        name, _, key = word.partition(".")
        for answer in request.facts.lookups:
            if answer.name == name and answer.found:
                yield from (text for field_, text in answer.values if field_ == key)
        return
    holders: list[tuple[DistinguishedName, tuple[GeneralName, ...]]] = []
    if source == "csr":
        holders.append((request.csr.subject, request.csr.names))
    elif source == "certificate":
        shown = (one for one in request.requester.evidence if isinstance(one, CertificateEvidence))
        holders += ((one.subject, one.names) for one in shown)
    for subject, names in holders:
        if word in SUBJECT_ATTRIBUTES:
            yield from subject.values(SUBJECT_ATTRIBUTES[word])
        else:
            yield from (str(name.value) for name in names if isinstance(name, _KINDS[word]))


_KINDS: dict[str, type[DnsName | IpAddress | EmailAddress | Uri]] = {
    "dns": DnsName,
    "ip": IpAddress,
    "email": EmailAddress,
    "uri": Uri,
}


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
