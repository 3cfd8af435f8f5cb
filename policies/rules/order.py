"""The names of an ACME order: the CSR must ask for exactly what was ordered (RFC 8555 section 7.4)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ca.names import IpAddress, MalformedName, dns_name
from policies.request import DeviceEvidence

if TYPE_CHECKING:
    from ca.names import GeneralName
    from policies.ruling import Draft, Question, Report


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Compare subjectAltName and every commonName of the CSR with the authorized names of the order."""
    del draft
    if "account" not in question.asked.evidence:
        return
    place, csr = question.profile.place("names"), question.request.csr
    ordered, names = set(question.asked.names), set(csr.names)
    attested = (one.devices for one in question.request.requester.evidence if isinstance(one, DeviceEvidence))
    devices = {device for each in attested for device in each}
    foreign = False
    for text in csr.subject.common_names:
        if text in devices:
            continue
        name = _as_name(text)
        foreign = foreign or name not in ordered
        if name is not None:
            names.add(name)
    if (ordered or devices) and names == ordered and not foreign:
        report.passed("order.names", place)
        return
    message = "the names in the CSR are not those of the order"
    if foreign:
        message = "the common name in the CSR is not one of the order's identifiers"
    report.failed("order.names", place, message, _words(names), _words(ordered))


def _words(names: set[GeneralName]) -> str:
    return ", ".join(sorted(map(str, names)))


def _as_name(text: str) -> GeneralName | None:
    try:
        return IpAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return dns_name(text)
    except MalformedName:
        return None
