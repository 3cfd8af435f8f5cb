"""The format of smallstep's clients: a certificate from the device, and a signature over the key authorization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from ca import der
from server.acme.challenges.attestation.signatures import verify
from server.acme.challenges.attestation.statement import decode_cbor
from server.acme.challenges.attestation.vocabulary import Attested, BadStatement, spki
from server.acme.messages import Identifier

if TYPE_CHECKING:
    from server.acme.challenges.attestation.statement import Statement
    from server.acme.challenges.attestation.vocabulary import Expected

YUBIKEY_SERIAL = "1.3.6.1.4.1.41482.3.7"
MANAGED_DEVICE = "1.3.6.1.4.1.37476.9000.64.4"


def judge(statement: Statement, expected: Expected) -> Attested:
    """Return what the statement attests; its chain was followed. Raises BadStatement."""
    statement.expect("alg", "sig", "x5c")
    leaf = statement.certificates()[0]
    signature = decode_cbor(statement.octets("sig"))  # a byte string in a byte string
    if not isinstance(signature, bytes):
        raise BadStatement("sig is not a byte string")
    verify(statement.number("alg"), leaf.public_key(), signature, expected.key_authorization.encode("ascii"))
    try:
        found = [text for each in leaf.extensions if (text := _device(each))]
    except der.MalformedDer:
        raise BadStatement("an identifier in the attestation certificate can't be read") from None
    return Attested(spki(leaf), frozenset(Identifier("permanent-identifier", text) for text in found))


def _device(extension: x509.Extension[x509.ExtensionType]) -> str:
    if not isinstance(extension.value, x509.UnrecognizedExtension):
        return ""
    match extension.oid.dotted_string:
        case oid if oid == YUBIKEY_SERIAL:
            return str(der.read_integer(der.expect(der.read(extension.value.value), der.INTEGER)))
        case oid if oid == MANAGED_DEVICE:
            fields = der.inside(der.read(extension.value.value), der.SEQUENCE)
            return der.read_text(fields[0]) if fields else ""
        case _:
            return ""
