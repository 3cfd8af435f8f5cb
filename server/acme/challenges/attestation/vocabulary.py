"""What a statement is expected to say, and what it does say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from cryptography import x509

    from server.acme.messages import Identifier


class BadStatement(ValueError):
    """The statement does not attest what it should. The text is one sentence for the client."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a statement must be about.

    Attributes:
        token: the challenge's token.
        key_authorization: token and thumbprint of the account key (RFC 8555 section 8.1).
    """

    token: str
    key_authorization: str


@dataclass(frozen=True, slots=True)
class Attested:
    """What a good statement says.

    Attributes:
        spki: DER of the key that lies in the device.
        devices: identifiers of the device, each in the form that an order may have.
    """

    spki: bytes
    devices: frozenset[Identifier]


def spki(certificate: x509.Certificate) -> bytes:
    """Return DER of a certificate's key. Raises BadStatement."""
    try:
        key = certificate.public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:  # noqa: BLE001 - whatever a device's key is, this is the one answer
        raise BadStatement("the attested key can't be read") from None
