"""Certificates in CMS messages: the degenerate certs-only message and a tolerant look at what a bag holds.

Requesters sign with certificates of their own making, and some of these are so old or odd that a strict parser refuses
them. Nothing is trusted because of what is read here: it only says which key to verify with and how to address it.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from ca import der
from ca.fields import EXTENSIONS, read_fields
from server.cms.algorithms import MalformedCms

if TYPE_CHECKING:
    from collections.abc import Iterable

DATA = "1.2.840.113549.1.7.1"
SIGNED_DATA = "1.2.840.113549.1.7.2"
ENVELOPED_DATA = "1.2.840.113549.1.7.3"
_SUBJECT_KEY_IDENTIFIER = der.oid("2.5.29.14")
_NO_SIGNERS = der.set_of()
_NOTHING_SIGNED = der.integer(1) + der.set_of() + der.sequence(der.oid(DATA))
"""Version, digests and content of a SignedData that only carries certificates."""


class BagCertificate(NamedTuple):
    """What addresses a certificate and its key; all octets as received.

    Attributes:
        der: the certificate.
        version: 1, 2 or 3.
        serial: the encoded serial number, an INTEGER.
        issuer, subject: the encoded names.
        spki: the encoded SubjectPublicKeyInfo.
        extensions: the encoded extensions in their explicit tag, None when there are none.
    """

    der: bytes
    version: int
    serial: bytes
    issuer: bytes
    subject: bytes
    spki: bytes
    extensions: bytes | None

    @property
    def key_identifier(self) -> bytes | None:
        """The subject key identifier; None when the certificate has none that can be read."""
        try:
            return None if self.extensions is None else _key_identifier(self.extensions)
        except der.MalformedDer:
            return None

    @property
    def self_issued(self) -> bool:
        """Whether issuer and subject are the same octets."""
        return self.issuer == self.subject


@lru_cache(maxsize=64)  # several ask for it in one enrollment: the key of the signer is that to be certified
def key_digest(spki: bytes) -> str:
    """Return by what a key is known on record: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal digits."""
    return sha256(spki).hexdigest()


def degenerate(certificates: Iterable[bytes], crls: Iterable[bytes] = ()) -> bytes:
    """Return a certs-only SignedData in its ContentInfo (RFC 8894 section 3.4, RFC 7030 section 4.1.3).

    Args:
        certificates: DER certificates; their order is kept.
        crls: DER certificate revocation lists.
    """
    bags = [der.tlv(tag, *each) for tag, each in ((0xA0, tuple(certificates)), (0xA1, tuple(crls))) if each]
    signed = der.sequence(_NOTHING_SIGNED, *bags, _NO_SIGNERS)
    return content_info(SIGNED_DATA, signed)


def content_info(content_type: str, content: bytes) -> bytes:
    """Return a ContentInfo around an encoded content (RFC 5652 section 3)."""
    return der.sequence(der.oid(content_type), der.tlv(0xA0, content))


def open_content_info(data: bytes, content_type: str) -> der.Tlv:
    """Return the content of a ContentInfo of this type. Raises MalformedDer, and MalformedCms for another type."""
    parts = der.inside(der.read(data, ber=True), der.SEQUENCE, ber=True)
    if len(parts) != 2 or der.dotted(parts[0]) != content_type:
        raise MalformedCms("a CMS message of another type than expected")
    inside = der.inside(parts[1], 0xA0, ber=True)
    if len(inside) != 1:
        raise MalformedCms("a CMS message with more or less than one content")
    return inside[0]


def read_bag_certificate(element: der.Tlv) -> BagCertificate:
    """Read a certificate just deep enough to find its key. Raises MalformedDer."""
    outer = der.inside(element, der.SEQUENCE, ber=True)
    if len(outer) != 3:
        raise der.MalformedDer("not a certificate")
    version, serial, _, issuer, _, subject, spki, more = read_fields(outer[0], ber=True)
    return BagCertificate(
        der=element.raw,
        version=1 if version is None else 1 + der.read_integer(der.read(version.content, ber=True)),
        serial=der.expect(serial, der.INTEGER).raw,
        issuer=der.expect(issuer, der.SEQUENCE).raw,
        subject=der.expect(subject, der.SEQUENCE).raw,
        spki=der.expect(spki, der.SEQUENCE).raw,
        extensions=next((field.raw for field in more if field.tag == EXTENSIONS), None),
    )


def _key_identifier(extensions: bytes) -> bytes | None:
    listed = der.read(der.read(extensions, ber=True).content, ber=True)
    for extension in der.children(listed, ber=True):
        parts = der.children(extension, ber=True)
        if parts and parts[0].raw == _SUBJECT_KEY_IDENTIFIER:
            return der.octets(der.read(der.expect(parts[-1], der.OCTET_STRING).content, ber=True), ber=True)
    return None
