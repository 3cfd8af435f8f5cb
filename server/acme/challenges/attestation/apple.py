"""Managed Device Attestation of Apple devices: the attestation is a certificate with the nonce in it."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography import x509

from server.acme.challenges.attestation.vocabulary import Attested, BadStatement, spki
from server.acme.messages import Identifier

if TYPE_CHECKING:
    from server.acme.challenges.attestation.statement import Statement
    from server.acme.challenges.attestation.vocabulary import Expected

SERIAL_NUMBER = "1.2.840.113635.100.8.9.1"
UDID = "1.2.840.113635.100.8.9.2"
FRESHNESS = "1.2.840.113635.100.8.11.1"


def judge(statement: Statement, expected: Expected) -> Attested:
    """Return what the statement attests; its chain was followed. Raises BadStatement.

    Apple's servers sign before the account's key could be part of it, so the nonce is that of the token alone.
    """
    statement.expect("x5c", optional=("alg",))
    leaf = statement.certificates()[0]
    values = {each.oid.dotted_string: each.value for each in leaf.extensions}
    nonce = _octets(values.get(FRESHNESS))
    if not hmac.compare_digest(nonce, hashlib.sha256(expected.token.encode("ascii")).digest()):
        raise BadStatement("the attestation is not for the token of this challenge")
    texts = (_text(_octets(values.get(oid))) for oid in (SERIAL_NUMBER, UDID))
    return Attested(spki(leaf), frozenset(Identifier("permanent-identifier", text) for text in texts if text))


def _octets(value: x509.ExtensionType | None) -> bytes:
    return value.value if isinstance(value, x509.UnrecognizedExtension) else b""


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise BadStatement("an identifier in the attestation certificate is no text") from None
