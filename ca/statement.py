"""Statements of possession of a private key (RFC 9883): for keys that can't sign the request for their certificate.

Whoever holds a key for encapsulation signs the request with another key, one that has a certificate already, and names
that certificate in an attribute of the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca import der, keys

if TYPE_CHECKING:
    from ca.keys import SubjectKey

STATEMENT_OF_POSSESSION = "1.3.6.1.4.1.22112.2.1"
"""id-at-statementOfPossession."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a request says of the key that signed it; believed once `prove` has not raised.

    Attributes:
        issuer: DER of the name that issued the certificate of that key.
        serial: the certificate's serial number.
        certificate: DER of the certificate, None when the request only names it.
        signed: the octets that were signed.
        algorithm: DER of the AlgorithmIdentifier of the signature.
        signature: the signature.
    """

    issuer: bytes
    serial: int
    certificate: bytes | None
    signed: bytes
    algorithm: bytes
    signature: bytes

    def prove(self, key: SubjectKey) -> None:
        """Verify the request's signature with the key of the certificate. Raises BadSignature and UnusableSignature."""
        keys.verify(key, der.read(self.algorithm), self.signature, self.signed)


def read_statement(value: bytes, signed: bytes, algorithm: bytes, signature: bytes) -> Statement:
    """Read a PrivateKeyPossessionStatement (RFC 9883 section 3). Raises MalformedDer."""
    parts = der.inside(der.read(value), der.SEQUENCE)
    if not 1 <= len(parts) <= 2:
        raise der.MalformedDer("a statement of possession has too few or too many elements")
    signer = der.inside(parts[0], der.SEQUENCE)
    if len(signer) != 2:
        raise der.MalformedDer("a statement of possession does not name a certificate")
    issuer, serial = der.expect(signer[0], der.SEQUENCE), der.read_integer(der.expect(signer[1], der.INTEGER))
    certificate = der.expect(parts[1], der.SEQUENCE).raw if len(parts) == 2 else None
    return Statement(issuer.raw, serial, certificate, signed, algorithm, signature)
