"""Payloads of requests (RFC 8555 section 7). Unknown members are ignored; known ones must be what they should be."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import idna

from ca.names import MalformedName, dns_name
from server.acme.codec.device_identifiers import DEVICE_TYPES, device_fault
from server.acme.codec.encodings import decode_base64url, malformed, read_object
from server.acme.codec.envelope import decode_jwk
from server.acme.messages import (
    AccountUpdate,
    ErrorType,
    Identifier,
    KeyChange,
    NewAccount,
    NewAuthorization,
    NewOrder,
    ProblemDocument,
    Rejected,
    Revocation,
    Subproblem,
    rejected,
)

IDENTIFIER_LIMIT = 100
"""Identifiers in one order."""

_CONTACT_LIMIT = 10
_ATOM = r"[A-Za-z0-9!#$%&'*+/=^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_MAILBOX = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
"""As RFC 5321 section 4.1.2 has mailboxes, without quoting and addresses in brackets."""
_HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*")
_DIGITS = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SHOWN = 80


def _payload(payload: bytes) -> dict[str, Any]:
    return read_object(payload, "the payload")


def _boolean(members: dict[str, Any], name: str) -> bool:
    value = members.get(name, False)
    if not isinstance(value, bool):
        raise malformed(f"{name} is not a boolean")
    return value


def _contact(members: dict[str, Any]) -> tuple[str, ...]:
    contact = members.get("contact", [])
    if not isinstance(contact, list) or not all(isinstance(url, str) for url in contact):
        raise malformed("contact is not an array of strings")
    if len(contact) > _CONTACT_LIMIT:
        raise rejected(ErrorType.INVALID_CONTACT, f"more than {_CONTACT_LIMIT} contacts")
    for url in contact:
        scheme, _, address = url.partition(":")
        if scheme.lower() != "mailto":
            raise rejected(ErrorType.UNSUPPORTED_CONTACT, "only mailto contacts are taken")
        if not _MAILBOX.fullmatch(address):
            raise rejected(ErrorType.INVALID_CONTACT, "a mailto contact must be one address without header fields")
    return tuple(contact)


def decode_new_account(payload: bytes) -> NewAccount:
    """Return the newAccount request. Raises Rejected: malformed, invalidContact, unsupportedContact."""
    members = _payload(payload)
    return NewAccount(
        contact=_contact(members),
        terms_agreed=_boolean(members, "termsOfServiceAgreed"),
        only_return_existing=_boolean(members, "onlyReturnExisting"),
        binding=members.get("externalAccountBinding"),
    )


def decode_account_update(payload: bytes) -> AccountUpdate:
    """Return the update; everything but contact and deactivation is ignored (RFC 8555 section 7.3.2).

    Raises Rejected: malformed, invalidContact, unsupportedContact.
    """
    members = _payload(payload)
    return AccountUpdate(
        contact=_contact(members) if "contact" in members else None,
        deactivate=members.get("status") == "deactivated",
    )


def decode_new_order(payload: bytes) -> NewOrder:
    """Return the newOrder request.

    Raises:
        Rejected: malformed (form, count, times that can't be honoured exactly), unsupportedIdentifier; with a
            subproblem for each identifier at fault.
    """
    members = _payload(payload)
    if members.get("notBefore") is not None or members.get("notAfter") is not None:
        raise malformed("notBefore and notAfter are set by the profile and can't be asked for")
    listed = members.get("identifiers")
    if not isinstance(listed, list) or not listed:
        raise malformed("identifiers is not an array with at least one identifier")
    if len(listed) > IDENTIFIER_LIMIT:
        raise malformed(f"more than {IDENTIFIER_LIMIT} identifiers")
    identifiers: dict[Identifier, str] = {}
    problems: list[Subproblem] = []
    for item in listed:
        judged = _identifier(item)
        if isinstance(judged, Subproblem):
            problems.append(judged)
        else:
            identifiers[judged] = _ancestor(judged, item)
    if problems:
        raise Rejected(compound(tuple(problems), "identifiers can't be accepted"))
    ancestors = tuple((each, above) for each, above in identifiers.items() if above)
    return NewOrder(tuple(identifiers), _text(members, "replaces"), _text(members, "profile"), ancestors)


def decode_new_authorization(payload: bytes) -> NewAuthorization:
    """Return the newAuthz request. Raises Rejected: malformed, unsupportedIdentifier."""
    members = _payload(payload)
    item = members.get("identifier")
    judged = _identifier(item)
    if isinstance(judged, Subproblem):
        raise Rejected(compound((judged,), judged.detail))
    if judged.value.startswith("*."):
        raise malformed("a wildcard can't be authorized without an order (RFC 8555 section 7.4.1)")
    inside: dict[str, Any] = item if isinstance(item, dict) else {}
    subdomains = _boolean(inside, "subdomainAuthAllowed") or _boolean(members, "subdomainAuthAllowed")
    if subdomains and judged.type != "dns":
        raise malformed("only domains have subdomains")
    return NewAuthorization(judged, subdomains)


def _ancestor(identifier: Identifier, item: dict[str, Any]) -> str:
    """Return the domain above an identifier that is to be validated instead, empty for none. Raises Rejected."""
    text = _text(item, "ancestorDomain")
    if text is None:
        return ""
    above = _identifier({"type": "dns", "value": text})
    name = identifier.value.removeprefix("*.")
    if isinstance(above, Subproblem) or identifier.type != "dns" or not f".{name}".endswith(f".{above.value}"):
        raise malformed("ancestorDomain is not a domain above the identifier")
    return above.value


def _text(members: dict[str, Any], name: str) -> str | None:
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise malformed(f"{name} is not a string")
    return value


def compound(problems: tuple[Subproblem, ...], detail: str) -> ProblemDocument:
    """Return the document for problems of identifiers: their common type, or compound (RFC 8555 section 6.7.1)."""
    types = {problem.type for problem in problems}
    common = types.pop() if len(types) == 1 else ErrorType.COMPOUND
    text = problems[0].detail if len(problems) == 1 else detail
    return ProblemDocument(common, text, subproblems=problems)


def _identifier(item: object) -> Identifier | Subproblem:
    if not isinstance(item, dict):
        raise malformed("an identifier is not a JSON object")
    type_, value = item.get("type"), item.get("value")
    if not isinstance(type_, str) or not isinstance(value, str):
        raise malformed("an identifier has no type or no value")
    shown = Identifier(type_[:_SHOWN], value[:_SHOWN])
    if type_ == "ip":
        fault = _address_fault(value)
        return Subproblem(ErrorType.MALFORMED, fault, shown) if fault else Identifier("ip", value)
    if type_ in DEVICE_TYPES:
        fault = device_fault(type_, value)
        return Subproblem(ErrorType.MALFORMED, fault, shown) if fault else Identifier(type_, value)
    if type_ != "dns":
        return Subproblem(ErrorType.UNSUPPORTED_IDENTIFIER, "identifiers of this type are not taken", shown)
    try:
        name = dns_name(value).value
    except MalformedName:
        return Subproblem(ErrorType.MALFORMED, "the identifier is not a DNS name", shown)
    fault = _fault(name)
    return Subproblem(ErrorType.MALFORMED, fault, shown) if fault else Identifier("dns", name)


def _address_fault(value: str) -> str:
    """Say why this is not the one text of an address (RFC 8738 section 3), empty when it is."""
    try:
        canonical = str(ip_address(value))
    except ValueError:
        return "the identifier is not an IP address"
    if canonical != value or "%" in value:
        return "the identifier is not the canonical text of an IP address (RFC 5952)"
    return ""


def _fault(name: str) -> str:
    """Say what keeps a well-formed DNS name from being a host name that a certificate may carry, empty for nothing."""
    host = name.removeprefix("*.")
    if not _HOST.fullmatch(host):
        return "the identifier is not a host name of letters, digits and hyphens"
    labels = host.split(".")
    if _DIGITS.fullmatch(labels[-1]):
        return "the identifier is an address, not a DNS name"
    if not all(_is_a_label(label) for label in labels if label.startswith("xn--")):
        return "a label of the identifier is not a valid A-label"
    return ""


@lru_cache(maxsize=1024)
def _is_a_label(label: str) -> bool:
    """Say whether an ``xn--`` label is the one encoding of a label that IDNA2008 allows (RFC 5891 section 5.4)."""
    try:
        idna.ulabel(label)
    except UnicodeError:
        return False
    return True


def decode_finalize(payload: bytes) -> bytes:
    """Return the DER of the CSR, not parsed. Raises Rejected: malformed."""
    return decode_base64url(_payload(payload).get("csr"), "csr")


def decode_challenge_response(payload: bytes) -> None:
    """Check the answer to a challenge: any JSON object, members ignored. Raises Rejected: malformed."""
    _payload(payload)


def decode_attestation(payload: bytes) -> bytes:
    """Return the attestation object of the answer to device-attest-01, not judged. Raises Rejected: malformed."""
    return decode_base64url(_payload(payload).get("attObj"), "attObj")


def decode_deactivation(payload: bytes) -> None:
    """Check the deactivation of an authorization (RFC 8555 section 7.5.2). Raises Rejected: malformed."""
    if _payload(payload).get("status") != "deactivated":
        raise malformed('an authorization can only be changed to status "deactivated"')


def decode_revocation(payload: bytes) -> Revocation:
    """Return the revokeCert request. Raises Rejected: malformed."""
    members = _payload(payload)
    reason = members.get("reason")
    if reason is not None and (isinstance(reason, bool) or not isinstance(reason, int)):
        raise malformed("reason is not an integer")
    return Revocation(decode_base64url(members.get("certificate"), "certificate"), reason)


def decode_key_change(payload: bytes) -> KeyChange:
    """Return the payload of the inner JWS of keyChange. Raises Rejected: malformed, badPublicKey."""
    members = _payload(payload)
    account = members.get("account")
    if not isinstance(account, str):
        raise malformed("account is not a string")
    return KeyChange(account, decode_jwk(members.get("oldKey")))
