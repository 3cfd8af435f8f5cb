"""Telling a person what happened in a SCEP transaction: each message as it came, each request as it was decided."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from server.scep.exchanges import find_exchanges
from server.scep.observation import fingerprint, looks_like, name_text
from server.store import requests
from server.store.certificates import find_by_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sqlalchemy as sa

    from server.scep.exchanges import Exchange
    from server.store.requests import StoredRequest

_TYPES = {
    "17": "RenewalReq",
    "19": "PKCSReq",
    "20": "CertPoll",
    "21": "GetCert",
    "22": "GetCRL",
    "18": "UpdateReq, which RFC 8894 does not know",
}
_ATTRIBUTES = {
    "1.2.840.113549.1.9.3": "contentType",
    "1.2.840.113549.1.9.4": "messageDigest",
    "1.2.840.113549.1.9.5": "signingTime",
    "1.2.840.113549.1.9.7": "challengePassword",
    "1.2.840.113549.1.9.14": "extensionRequest",
    "1.2.840.113549.1.9.15": "sMIMECapabilities",
    "1.2.840.113549.1.9.52": "CMSAlgorithmProtection",
    "1.3.6.1.4.1.311.13.2.2": "enrollmentCSPProvider",
    "1.3.6.1.4.1.311.13.2.3": "osVersion",
    "1.3.6.1.4.1.311.21.20": "clientInfo",
    "2.16.840.1.113733.1.9.2": "messageType",
    "2.16.840.1.113733.1.9.5": "senderNonce",
    "2.16.840.1.113733.1.9.7": "transactionID",
    "2.16.840.1.113733.1.9.8": "extensionReq",
}
_EXTENSIONS = {
    "1.3.6.1.4.1.311.20.2": "certTypeName",
    "2.5.29.14": "subjectKeyIdentifier",
    "2.5.29.15": "keyUsage",
    "2.5.29.17": "subjectAltName",
    "2.5.29.19": "basicConstraints",
    "2.5.29.37": "extKeyUsage",
}


@dataclass(frozen=True, slots=True)
class Told:
    """One message or one request.

    Attributes:
        fields: what is known of it, by name.
        findings: the policy's: rule, place, finding, what was asked for, what is allowed.
    """

    fields: Mapping[str, object]
    findings: Sequence[Sequence[object]] = ()


def explain(connection: sa.Connection, text: str) -> tuple[Told, ...]:
    """Return the messages of a transaction or about a request, then the requests, the oldest first."""
    named = requests.find_request(connection, text)
    exchanged = find_exchanges(connection, text if named is None else named.transaction or text)
    if named is not None:
        exchanged = tuple(one for one in exchanged if one.request_id == named.id)
        return (*map(_message, exchanged), _request(connection, named))
    known = {one.request_id for one in exchanged}
    found = [one for one in (requests.find_request(connection, each) for each in known if each) if one is not None]
    listed = requests.list_transaction(connection, text)
    ids = {one.id for one in found}
    found += [one for one in listed if one.id not in ids]
    found.sort(key=lambda one: one.received_at)
    return (*map(_message, exchanged), *(_request(connection, one) for one in found))


def _message(one: Exchange) -> Told:
    seen = one.observed
    signer, asked = seen.get("signer", {}), seen.get("request", {})
    return Told(
        {
            "message": f"{_TYPES.get(seen['message_type'], 'unknown type')} ({seen['message_type']})",
            "at": one.at,
            "endpoint": str(one.endpoint),
            "from": one.address,
            "client": " ".join(filter(None, (looks_like(seen) or "unknown", f"[{fingerprint(seen)}]", seen["agent"]))),
            "signed": f"{seen['digest']}, {seen['signature']}"
            + ("" if seen["sorted"] else ", attributes not in DER order"),
            "attributes": _words(seen["attributes"], _ATTRIBUTES),
            "signed_by": _signed_by(signer),
            "encrypted": ", ".join(seen[name] for name in ("cipher", "key_transport") if name in seen),
            "encrypted_for": _recipient(seen),
            "asks_for": " ".join(filter(None, (asked.get("subject"), *asked.get("names", ())))),
            "request_attributes": _words(asked.get("attributes", ()), _ATTRIBUTES),
            "request_extensions": _words(asked.get("extensions", ()), _EXTENSIONS),
            "answer": one.outcome if one.reason is None else f"{one.outcome}: {one.reason}",
            "request": one.request_id,
        }
    )


def _request(connection: sa.Connection, one: StoredRequest) -> Told:
    issued = find_by_request(connection, one.id)
    fields: dict[str, object] = {
        "request": one.id,
        "received_at": one.received_at,
        "state": one.state,
        "kind": one.kind,
        "requester": one.requester,
        "profile": one.profile,
        "renews": None if one.renews is None else format(one.renews, "x"),
        "approved_by": one.approved_by,
        "why_not": one.message,
        "cause": one.detail,
    }
    if issued is not None:
        fields["certificate"] = f"{issued.serial:x}, {issued.subject}, until {issued.not_after:%Y-%m-%d}"
        fields["revoked"] = (
            None if issued.revoked_at is None else f"{issued.revocation_reason} {issued.revoked_at:%Y-%m-%d}"
        )
    return Told(fields, [(f.rule, str(f.location), f.message, f.value, f.limit) for f in one.findings])


def _signed_by(signer: Mapping[str, Any]) -> str:
    if not signer:
        return "a certificate that is not in the message"
    kind = "self-signed" if signer["self_issued"] else f"issued by {name_text(signer['issuer'])}"
    return (
        f"{name_text(signer['subject']) or 'no name'}, {kind}, version {signer['version']}, serial {signer['serial']}"
    )


def _recipient(seen: Mapping[str, Any]) -> str:
    if "recipient" not in seen:
        return ""
    recipient = seen["recipient"]
    named = recipient.get("key_identifier") and f"key identifier {recipient['key_identifier']}"
    named = named or f"{name_text(recipient['issuer'])}, serial {recipient['serial']}"
    return named + ("" if seen["recipient_known"] else ", which names none of our certificates")


def _words(oids: Sequence[str], known: Mapping[str, str]) -> str:
    return ", ".join(known.get(oid, oid) for oid in oids)
