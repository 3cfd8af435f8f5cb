"""The names of an ACME order: the CSR must ask for exactly what was ordered (RFC 8555 section 7.4)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from ca.names import IpAddress, MalformedName, dns_name
from policies.request import AccountEvidence
from policies.ruling import SILENT, Ruling, failed, passed

if TYPE_CHECKING:
    from ca.names import GeneralName
    from policies.ruling import Draft, Question


def judge(question: Question, draft: Draft) -> Ruling:
    """Compare subjectAltName and every commonName of the CSR with the authorized names of the order."""
    del draft
    accounts = [e for e in question.request.requester.evidence if isinstance(e, AccountEvidence)]
    if not accounts:
        return SILENT
    place = question.profile.place("names")
    ordered = set(accounts[0].authorized)
    limit = ", ".join(sorted(map(str, ordered)))
    csr = question.request.csr
    common = [_as_name(text) for text in csr.subject.common_names]
    value = ", ".join([*map(str, csr.names), *(f"CN={text}" for text in csr.subject.common_names)])
    if not ordered or any(name not in ordered for name in common):
        return failed("order.names", place, "the common name is not one of the order's identifiers", value, limit)
    if {*csr.names, *common} != ordered:
        return failed("order.names", place, "the names in the CSR are not those of the order", value, limit)
    return passed("order.names", place, value, limit)


def _as_name(text: str) -> GeneralName | None:
    try:
        return IpAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    try:
        return dns_name(text)
    except MalformedName:
        return None
