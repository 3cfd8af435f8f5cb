"""EnvelopedData for recipients of every kind (RFC 5652 section 6.2): write.

RSA keys get a key transport, EC keys a key agreement (RFC 5753), shared secrets wrap the content key (RFC 3565), and
so do passwords (`server.cms.passwords`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
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
_USUAL = {"secp256r1": "1.3.132.1.11.1", "secp384r1": "1.3.132.1.11.2", "secp521r1": "1.3.132.1.11.3"}
AGREEMENTS = {
    "1.3.132.1.11.3": Digest.SHA512,
    "1.3.132.1.11.2": Digest.SHA384,
    "1.3.132.1.11.1": Digest.SHA256,
    # dhSinglePass-cofactorDH: the cofactor of these curves is 1, so that it comes to the same.
    "1.3.132.1.14.3": Digest.SHA512,
    "1.3.132.1.14.2": Digest.SHA384,
    "1.3.132.1.14.1": Digest.SHA256,
}
"""The ways to agree on a key, dotted, with the digest of their KDF; those with the longest first."""
AES_CIPHERS = (Cipher.AES256, Cipher.AES192, Cipher.AES128)


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A recipient with whom a secret is shared.

    Attributes:
        identifier: which secret.
        secret: an AES key of 16, 24 or 32 octets.
    """

    identifier: bytes
    secret: bytes = field(repr=False)

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
class Agreement:
    """How a key is agreed on, and what becomes of it.

    Attributes:
        scheme: one of `AGREEMENTS`.
        wrap: the octets of the key that is agreed on, which wraps the one for the content.
    """

    scheme: str
    wrap: int


def usual_agreement(key: ec.EllipticCurvePublicKey) -> str:
    """Return the way to agree on a key whose digest fits the curve: P-256, P-384 or P-521."""
    return _USUAL[key.curve.name]


@dataclass(frozen=True, slots=True)
class EcKey:
    """A recipient with a key on P-256, P-384 or P-521.

    Attributes:
        identifier: its subject key identifier; or its certificate, to name it by issuer and serial number.
        key: the public key.
        agreement: how a key is agreed on with it; None: as fits the curve, and as long as that for the content.
    """

    identifier: bytes | BagCertificate
    key: ec.EllipticCurvePublicKey
    agreement: Agreement | None = None

    def info(self, content_key: bytes, random: Callable[[int], bytes]) -> bytes:
        """Return the KeyAgreeRecipientInfo (RFC 5753 section 3.1.1)."""
        agreement = self.agreement or Agreement(usual_agreement(self.key), len(content_key))
        wrap = der.sequence(der.oid(AES_WRAPS[agreement.wrap]))
        entropy = random(32)
        ephemeral = ec.generate_private_key(self.key.curve)
        shared = ephemeral.exchange(ec.ECDH(), self.key)
        # ECC-CMS-SharedInfo: what wraps, what both sides may add, and how many bits are wanted
        shared_info = der.sequence(
            wrap,
            der.tlv(der.context(0), der.octet_string(entropy)),
            der.tlv(der.context(2), der.octet_string((agreement.wrap * 8).to_bytes(4))),
        )
        digest = AGREEMENTS[agreement.scheme]
        wrapping_key = X963KDF(digest.hash, agreement.wrap, shared_info).derive(shared)
        point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        originator = der.tlv(der.context(1), der.sequence(der.oid(EC_PUBLIC_KEY)), der.bit_string(point))
        info = der.sequence(
            der.integer(3),
            der.tlv(der.context(0), originator),
            der.tlv(der.context(1), der.octet_string(entropy)),
            der.sequence(der.oid(agreement.scheme), wrap),
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
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _USUAL


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
