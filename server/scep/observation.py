"""What can be seen of a message, for people: algorithms, attributes, names, and which client it looks like.

Nothing secret is among it, and nothing that is long.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from cryptography import x509

from server.cms.algorithms import EC_PUBLIC_KEY, RSA_ENCRYPTION, RSASSA_PSS, Cipher, Digest, label_of
from server.cms.certificates import key_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ca.csr import Csr
    from server.cms.certificates import BagCertificate
    from server.cms.enveloped import KeyTransRecipient
    from server.scep.gate import Sealed
    from server.scep.messages import PkiMessage

_LONGEST = 200
_LONGEST_NAME = 2000
_MOST = 40
_MICROMDM = b"SCEP SIGNER".hex()
_STRING_TYPES = {0x0C: "UTF8String", 0x13: "PrintableString", 0x14: "T61String", 0x16: "IA5String", 0x1E: "BMPString"}
_DIGESTS = {digest.oid: digest.label for digest in Digest}
_SIGNATURES = {
    RSA_ENCRYPTION: "RSA",
    RSASSA_PSS: "PSS",
    EC_PUBLIC_KEY: "ECDSA",
    **{digest.rsa_oid: f"RSA with {digest.label}" for digest in Digest},
    **{digest.ecdsa_oid: f"ECDSA with {digest.label}" for digest in Digest if digest.ecdsa_oid},
}


class Carrier(NamedTuple):
    """How a message came.

    Attributes:
        method: of HTTP.
        agent: its User-Agent, empty when there is none.
    """

    method: str = ""
    agent: str = ""


UNKNOWN_CARRIER = Carrier()


def observe(message: PkiMessage, carrier: Carrier, sealed: Sealed | None, csr: Csr | None) -> dict[str, Any]:
    """Return what was seen of a message; what was not reached or not understood is not there.

    What follows from it (`looks_like`, `fingerprint`) is left to whoever reads the record.

    Args:
        message: the message.
        carrier: how it came.
        sealed: its envelope, None when that was not reached.
        csr: the certification request in it, None when that was not reached.
    """
    signer = message.signed.signer
    seen: dict[str, Any] = {
        "message_type": message.type_text[:_LONGEST],
        "method": carrier.method,
        "agent": _printable(carrier.agent),
        "digest": _DIGESTS.get(signer.digest_algorithm.oid) or label_of(signer.digest_algorithm.oid),
        "signature": _SIGNATURES.get(signer.signature_algorithm.oid, signer.signature_algorithm.oid),
        "attributes": list(signer.attributes)[:_MOST],
        "sorted": signer.is_sorted,
        "transaction_form": _form(message.transaction),
        "transaction_type": _STRING_TYPES.get(message.transaction_id[0], f"tag {message.transaction_id[0]}"),
        "nonce_octets": len(message.sender_nonce or b""),
        "certificates": len(message.signed.certificates),
    }
    if message.signer is not None:
        seen["signer"] = _signer(message.signer)
    if sealed is not None:
        wrapped, cipher = sealed.wrapped, sealed.envelope.cipher
        seen["cipher"] = cipher.label
        seen["key_transport"] = _transport(sealed)
        seen["recipient"] = _recipient(wrapped)
        seen["recipient_known"] = wrapped.names(sealed.ours)
    if csr is not None:
        seen["request"] = _request(csr)
    return seen


def broken_algorithms(message: PkiMessage, sealed: Sealed | None) -> tuple[str, ...]:
    """Return what a message uses that nobody should use any more: MD5 and single DES, by their names."""
    md5 = message.signed.signer.digest_algorithm.oid == Digest.MD5.oid
    des = sealed is not None and sealed.envelope.cipher is Cipher.DES
    return (*((Digest.MD5.label,) if md5 else ()), *((Cipher.DES.label,) if des else ()))


def fingerprint(seen: Mapping[str, Any]) -> str:
    """Return twelve digits that are the same for messages of the same software with the same settings."""
    signer, request = seen.get("signer", {}), seen.get("request", {})
    traits = (
        seen.get("method"),
        seen.get("agent"),
        seen.get("digest"),
        seen.get("signature"),
        seen.get("cipher"),
        seen.get("key_transport"),
        seen.get("sorted"),
        seen.get("transaction_form"),
        seen["attributes"],
        signer.get("version"),
        request.get("attributes"),
        request.get("extensions"),
    )
    return sha256(repr(traits).encode()).hexdigest()[:12]


def looks_like(seen: Mapping[str, Any]) -> str:
    """Return which client this looks like, empty when it looks like none in particular."""
    agent, signer = str(seen["agent"]), seen.get("signer", {})
    if _MICROMDM in str(signer.get("subject")) or agent.startswith("Go-http-client"):
        return "micromdm scepclient, or another one in Go"
    if "NDES" in agent or "Win32" in agent or str(seen.get("key_transport", "")).startswith("OAEP SHA-1"):
        return "Windows"
    if "CFNetwork" in agent or "Darwin" in agent:
        return "Apple"
    if signer.get("version") == 1 and seen["digest"] == "MD5":
        return "Cisco IOS"
    if "1.2.840.113549.1.9.52" in seen["attributes"]:
        return "jscep"
    return _BY_TRANSACTION.get(str(seen["transaction_form"]), "")


_FORMS = (
    ("40 hexadecimal capitals", re.compile(r"[0-9A-F]{40}").fullmatch),
    ("32 hexadecimal capitals", re.compile(r"[0-9A-F]{32}").fullmatch),
    ("decimal", re.compile(r"[0-9]{60,80}").fullmatch),
    ("base64", re.compile(r"[A-Za-z0-9+/]{27}=").fullmatch),
)
_BY_TRANSACTION = {
    "40 hexadecimal capitals": "strongSwan",
    "32 hexadecimal capitals": "sscep, or Cisco IOS",
    "decimal": "certmonger",
    "base64": "micromdm scepclient",
}
"""Clients make the transactionID from their key, each in its own way."""


def _form(transaction: str) -> str:
    for name, matches in _FORMS:
        if matches(transaction):
            return name
    return "other"


def _printable(text: str) -> str:
    if text.isprintable():  # nearly every one is
        return text[:_LONGEST]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_LONGEST])


def _signer(certificate: BagCertificate) -> dict[str, Any]:
    return {
        "version": certificate.version,
        "subject": certificate.subject.hex()[:_LONGEST_NAME],
        "issuer": certificate.issuer.hex()[:_LONGEST_NAME],
        "serial": certificate.serial[2:].hex()[:_LONGEST],
        "self_issued": certificate.self_issued,
        "key": key_digest(certificate.spki),
    }


def name_text(encoded: str) -> str:
    """Return a name as people read it; on record it is as it was sent, in hexadecimal digits."""
    try:
        return _printable(x509.Name.from_bytes(bytes.fromhex(encoded)).rfc4514_string())
    except ValueError:
        return f"unreadable: {encoded[:64]}"


def _transport(sealed: Sealed) -> str:
    oaep = sealed.transport.oaep
    return "PKCS#1 v1.5" if oaep is None else f"OAEP {oaep[0].label}, MGF1 {oaep[1].label}"


def _recipient(wrapped: KeyTransRecipient) -> dict[str, str]:
    if wrapped.key_identifier is not None:
        return {"key_identifier": wrapped.key_identifier.hex()[:_LONGEST]}
    return {"issuer": (wrapped.issuer or b"").hex()[:_LONGEST_NAME], "serial": (wrapped.serial or b"")[2:].hex()[:64]}


def _request(csr: Csr) -> dict[str, Any]:
    return {
        "subject": _printable(str(csr.subject)),
        "names": [_printable(str(name)) for name in csr.names[:_MOST]],
        "key": key_digest(csr.spki),
        "attributes": [attribute.oid for attribute in csr.attributes[:_MOST]],
        "extensions": [extension.oid for extension in csr.extensions[:_MOST]],
    }
