"""EnvelopedData for recipients of every kind (RFC 5652 section 6.2): write.

RSA keys get a key transport, EC keys a key agreement (RFC 5753), shared secrets wrap the content key (RFC 3565), and
so do passwords (`server.cms.passwords`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from server.cms.algorithms import EC_PUBLIC_KEY, Cipher, Digest, KeyTransport
from server.cms.certificates import ENVELOPED_DATA, content_info
from server.cms.passwords import Password

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric import rsa

    from server.cms.certificates import BagCertificate

AES_WRAPS = {16: "2.16.840.1.101.3.4.1.5", 24: "2.16.840.1.101.3.4.1.25", 32: "2.16.840.1.101.3.4.1.45"}
"""The AES key wraps by the octets of their keys (RFC 3565 section 2.3.2)."""

# RFC 5753 section 7.1.4: dhSinglePass-stdDH with the KDF of each digest; the digest fits the curve.
_AGREEMENTS: dict[str, tuple[str, Digest]] = {
    "secp256r1": ("1.3.132.1.11.1", Digest.SHA256),
    "secp384r1": ("1.3.132.1.11.2", Digest.SHA384),
    "secp521r1": ("1.3.132.1.11.3", Digest.SHA512),
}
AES_CIPHERS = (Cipher.AES256, Cipher.AES192, Cipher.AES128)


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A recipient with whom a secret is shared.

    Attributes:
        identifier: which secret.
        secret: an AES key of 16, 24 or 32 octets.
    """

    identifier: bytes
    secret: bytes

    def info(self, content_key: bytes, random: Callable[[int], bytes]) -> bytes:
        """Return the KEKRecipientInfo."""
        del random
        info = der.sequence(
            der.integer(4),
            der.sequence(der.octet_string(self.identifier)),
            der.sequence(der.oid(AES_WRAPS[len(self.secret)])),
            der.octet_string(aes_key_wrap(self.secret, content_key)),
        )
        return _tagged(2, info)

    version = 2


@dataclass(frozen=True, slots=True)
class RsaKey:
    """A recipient with an RSA key.

    Attributes:
        identifier: its subject key identifier.
        key: the public key.
        transport: how the content key is encrypted.
    """

    identifier: bytes
    key: rsa.RSAPublicKey
    transport: KeyTransport

    def info(self, content_key: bytes, random: Callable[[int], bytes]) -> bytes:
        """Return the KeyTransRecipientInfo."""
        del random
        return der.sequence(
            der.integer(2),
            der.tlv(der.context(0, constructed=False), self.identifier),
            self.transport.identifier(),
            der.octet_string(self.key.encrypt(content_key, self.transport.padding())),
        )

    version = 2


@dataclass(frozen=True, slots=True)
class EcKey:
    """A recipient with a key on P-256, P-384 or P-521.

    Attributes:
        identifier: its subject key identifier; or its certificate, to name it by issuer and serial number.
        key: the public key.
    """

    identifier: bytes | BagCertificate
    key: ec.EllipticCurvePublicKey

    def info(self, content_key: bytes, random: Callable[[int], bytes]) -> bytes:
        """Return the KeyAgreeRecipientInfo (RFC 5753 section 3.1.1)."""
        scheme, digest = _AGREEMENTS[self.key.curve.name]
        wrap = der.sequence(der.oid(AES_WRAPS[len(content_key)]))
        entropy = random(32)
        ephemeral = ec.generate_private_key(self.key.curve)
        shared = ephemeral.exchange(ec.ECDH(), self.key)
        # ECC-CMS-SharedInfo: what wraps, what both sides may add, and how many bits are wanted
        shared_info = der.sequence(
            wrap,
            der.tlv(der.context(0), der.octet_string(entropy)),
            der.tlv(der.context(2), der.octet_string((len(content_key) * 8).to_bytes(4))),
        )
        wrapping_key = X963KDF(digest.hash, len(content_key), shared_info).derive(shared)
        point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        originator = der.tlv(der.context(1), der.sequence(der.oid(EC_PUBLIC_KEY)), der.bit_string(point))
        info = der.sequence(
            der.integer(3),
            der.tlv(der.context(0), originator),
            der.tlv(der.context(1), der.octet_string(entropy)),
            der.sequence(der.oid(scheme), wrap),
            der.sequence(der.sequence(self._name(), der.octet_string(aes_key_wrap(wrapping_key, content_key)))),
        )
        return _tagged(1, info)

    def _name(self) -> bytes:
        """Return the KeyAgreeRecipientIdentifier."""
        if isinstance(self.identifier, bytes):
            return der.tlv(der.context(0), der.octet_string(self.identifier))
        return der.sequence(self.identifier.issuer, self.identifier.serial)

    version = 2


def agrees(key: object) -> TypeGuard[ec.EllipticCurvePublicKey]:
    """Whether an `EcKey` can be made of a public key."""
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _AGREEMENTS


Recipient = SharedKey | RsaKey | EcKey | Password


def seal_for(
    content: bytes, content_type: str, recipient: Recipient, *, cipher: Cipher, random: Callable[[int], bytes]
) -> bytes:
    """Return a ContentInfo with EnvelopedData for one recipient.

    Args:
        content: DER of what is encrypted.
        content_type: what it is, dotted.
        recipient: who can open it.
        cipher: encrypts it; for keys that wrap by AES one of AES.
        random: returns that many random octets.
    """
    content_key, vector = random(cipher.key_octets), random(cipher.block_octets)
    context = CipherContext(cipher.keyed(content_key), CBC(vector)).encryptor()
    padder = PKCS7(cipher.block_octets * 8).padder()
    ciphertext = context.update(padder.update(content) + padder.finalize()) + context.finalize()
    encrypted = der.sequence(
        der.oid(content_type),
        der.sequence(der.oid(cipher.oid), der.octet_string(vector)),
        der.tlv(0x80, ciphertext),
    )
    infos = der.set_of(recipient.info(content_key, random))
    return content_info(ENVELOPED_DATA, der.sequence(der.integer(recipient.version), infos, encrypted))


def _tagged(number: int, sequence: bytes) -> bytes:
    """Return a SEQUENCE under an implicit tag."""
    return der.tlv(der.context(number), der.read(sequence).content)
