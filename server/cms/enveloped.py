"""EnvelopedData for RSA recipients (RFC 5652 section 6): read, open, seal.

Opening is split so that the private key stays elsewhere: the reader says what to unwrap, and `decipher` takes the
content key. Nothing after the private-key operation may tell an attacker what went wrong: there is one exception,
and a content key of the wrong length is replaced by a random one of the right length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from ca import der
from server.cms.algorithms import (
    AlgorithmIdentifier,
    Cipher,
    KeyTransport,
    MalformedCms,
    cipher_of,
    read_identifier,
    transport_of,
)
from server.cms.certificates import DATA, ENVELOPED_DATA, BagCertificate, content_info, open_content_info

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric import rsa

_RECIPIENT_LIMIT = 16
_VERSION_0 = der.integer(0)
_BEFORE_VECTOR = {
    cipher: (der.oid(DATA) + der.sequence(der.oid(cipher.oid), der.octet_string(bytes(cipher.block_octets))))[
        : -cipher.block_octets
    ]
    for cipher in Cipher
}
"""How an EncryptedContentInfo begins, for each algorithm."""
_ORIGINATOR, _KEY_IDENTIFIER = 0xA0, 0x80
# An SKI extension's value copied with its inner OCTET STRING header, as one client sends it.
_DOUBLY_WRAPPED = b"\x04\x14"


class Undecipherable(ValueError):
    """The content could not be deciphered. Why, nobody is told."""


class KeyTransRecipient(NamedTuple):
    """One recipient with an RSA key.

    Attributes:
        issuer, serial: the encoded name and INTEGER of its certificate; None when ``key_identifier`` identifies it.
        key_identifier: its subject key identifier; None when ``issuer`` and ``serial`` identify it.
        algorithm: the key transport algorithm as named.
        encrypted_key: the wrapped content key.
    """

    issuer: bytes | None
    serial: bytes | None
    key_identifier: bytes | None
    algorithm: AlgorithmIdentifier
    encrypted_key: bytes

    def transport(self) -> KeyTransport:
        """Return the key transport. Raises UnsupportedAlgorithm, and MalformedCms for odd parameters."""
        try:
            return transport_of(self.algorithm)
        except der.MalformedDer as error:
            raise MalformedCms(str(error)) from error

    def names(self, certificate: BagCertificate) -> bool:
        """Whether this is the recipient with that certificate."""
        if self.key_identifier is None:
            return (self.issuer, self.serial) == (certificate.issuer, certificate.serial)
        return self.key_identifier.removeprefix(_DOUBLY_WRAPPED) == certificate.key_identifier


class Envelope(NamedTuple):
    """A parsed EnvelopedData.

    Attributes:
        recipients: those with key transport; others are left out.
        cipher: the content encryption algorithm.
        vector: its initialisation vector, of one block.
        ciphertext: the encrypted content, pieces joined.
    """

    recipients: tuple[KeyTransRecipient, ...]
    cipher: Cipher
    vector: bytes
    ciphertext: bytes

    def recipient(self, certificate: BagCertificate) -> KeyTransRecipient | None:
        """Return the recipient with that certificate; the only one there is when none fits the name.

        Clients re-encode issuer names or cache an earlier certificate; the private key decides in any case.
        """
        for recipient in self.recipients:
            if recipient.names(certificate):
                return recipient
        return self.recipients[0] if len(self.recipients) == 1 else None


def read_envelope(data: bytes) -> Envelope:
    """Read a ContentInfo with EnvelopedData. Raises MalformedCms and UnsupportedAlgorithm, nothing else."""
    try:
        return _envelope(open_content_info(data, ENVELOPED_DATA))
    except der.MalformedDer as error:
        raise MalformedCms(str(error)) from error


def _envelope(element: der.Tlv) -> Envelope:
    fields = der.inside(element, der.SEQUENCE, ber=True)
    if len(fields) > 1 and fields[1].tag == _ORIGINATOR:
        del fields[1]
    if len(fields) not in {3, 4}:
        raise MalformedCms("not an EnvelopedData")
    infos = der.inside(fields[1], der.SET, ber=True)
    if len(infos) > _RECIPIENT_LIMIT:
        raise MalformedCms("a message with too many recipients")
    recipients = tuple(_recipient(info) for info in infos if info.tag == der.SEQUENCE)
    encrypted = der.inside(fields[2], der.SEQUENCE, ber=True)
    if len(encrypted) != 3 or encrypted[2].tag & ~0x20 != 0x80:
        raise MalformedCms("not an EncryptedContentInfo")
    if der.dotted(encrypted[0]) != DATA:
        raise MalformedCms("an encrypted content that is not data")
    cipher, vector = _cipher(encrypted[1])
    return Envelope(recipients, cipher, vector, der.octets(encrypted[2], ber=True))


def _cipher(element: der.Tlv) -> tuple[Cipher, bytes]:
    """Return the algorithm and its vector. Not by `read_identifier`, which remembers: each vector comes once."""
    parts = der.inside(element, der.SEQUENCE, ber=True)
    if not 1 <= len(parts) <= 2:
        raise der.MalformedDer("not an algorithm identifier")
    cipher = cipher_of(AlgorithmIdentifier(der.dotted(parts[0]), b""))
    parameters = parts[1] if len(parts) > 1 else der.read(b"")
    vector = der.expect(parameters, der.OCTET_STRING).content
    if len(vector) != cipher.block_octets:
        raise MalformedCms("an initialisation vector of the wrong length")
    return cipher, vector


def _recipient(element: der.Tlv) -> KeyTransRecipient:
    fields = der.children(element, ber=True)
    if len(fields) != 4:
        raise MalformedCms("not a KeyTransRecipientInfo")
    _version, rid, algorithm, key = fields
    issuer = serial = key_identifier = None
    if rid.tag & ~0x20 == _KEY_IDENTIFIER:
        key_identifier = der.octets(rid, ber=True)
    else:
        parts = der.inside(rid, der.SEQUENCE, ber=True)
        if len(parts) != 2:
            raise MalformedCms("not an IssuerAndSerialNumber")
        issuer, serial = parts[0].raw, der.expect(parts[1], der.INTEGER).raw
    return KeyTransRecipient(
        issuer,
        serial,
        key_identifier,
        read_identifier(algorithm),
        der.octets(der.expect(key, der.OCTET_STRING), ber=True),
    )


def decipher(envelope: Envelope, key: bytes | None, random: Callable[[int], bytes]) -> bytes:
    """Decrypt the content.

    Args:
        envelope: what to decrypt.
        key: the unwrapped content key; None when unwrapping failed.
        random: returns that many random octets.

    Raises:
        Undecipherable: whatever went wrong.
    """
    substitute = random(envelope.cipher.key_octets)
    if key is None or len(key) != envelope.cipher.key_octets:
        key = substitute
    context = CipherContext(envelope.cipher.keyed(key), CBC(envelope.vector)).decryptor()
    unpadder = PKCS7(envelope.cipher.block_octets * 8).unpadder()
    try:
        padded = context.update(envelope.ciphertext) + context.finalize()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        raise Undecipherable from None


def seal(
    content: bytes,
    recipient: BagCertificate,
    key: rsa.RSAPublicKey,
    *,
    cipher: Cipher,
    transport: KeyTransport,
    random: Callable[[int], bytes],
) -> bytes:
    """Return a ContentInfo with EnvelopedData for one recipient.

    Args:
        content: the octets to encrypt, of type data.
        recipient: the certificate that the recipient is addressed by.
        key: the recipient's key.
        cipher: encrypts the content.
        transport: encrypts the content key.
        random: returns that many random octets.
    """
    fresh = random(cipher.key_octets + cipher.block_octets)
    content_key, vector = fresh[: cipher.key_octets], fresh[cipher.key_octets :]
    context = CipherContext(cipher.keyed(content_key), CBC(vector)).encryptor()
    padder = PKCS7(cipher.block_octets * 8).padder()
    ciphertext = context.update(padder.update(content) + padder.finalize()) + context.finalize()
    info = der.sequence(
        _VERSION_0,
        der.sequence(recipient.issuer, recipient.serial),
        transport.identifier(),
        der.octet_string(key.encrypt(content_key, transport.padding())),
    )
    encrypted = der.sequence(_BEFORE_VECTOR[cipher], vector, der.tlv(0x80, ciphertext))
    return content_info(ENVELOPED_DATA, der.sequence(_VERSION_0, der.tlv(der.SET, info), encrypted))
