"""The identifier of a certificate in a renewalInfo URL and in ``replaces`` (RFC 9773 section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from server.acme.codec.encodings import decode_base64url, encode_base64url, malformed

_LIMIT = 128
_SERIAL_LIMIT = 21
"""Octets: 20 of the number (RFC 5280 section 4.1.2.2), and one in front of a leading 1 bit."""


@dataclass(frozen=True, slots=True)
class CertificateId:
    """What identifies a certificate: keyIdentifier of its authority key identifier, and its serial number."""

    key_identifier: bytes
    serial: int

    def __str__(self) -> str:
        number = self.serial.to_bytes(self.serial.bit_length() // 8 + 1)
        return f"{encode_base64url(self.key_identifier)}.{encode_base64url(number)}"


def decode_certificate_id(text: object) -> CertificateId:
    """Read the identifier: the one form of it that DER and base64url without padding have.

    Raises Rejected: malformed.
    """
    if not isinstance(text, str) or len(text) > _LIMIT or text.count(".") != 1:
        raise malformed("a certificate is identified by two base64url texts with a dot between them")
    key_identifier, number = (decode_base64url(part, "the certificate identifier") for part in text.split("."))
    found = CertificateId(key_identifier, int.from_bytes(number))
    if not key_identifier or not 0 < len(number) <= _SERIAL_LIMIT or str(found) != text:
        raise malformed("the certificate identifier does not hold a key identifier and a serial number in DER")
    return found
