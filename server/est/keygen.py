"""Keys that the server makes for devices that can't (RFC 7030 section 4.4); no key is kept after the reply."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from ca import der
from ca.csr import with_generated_key, without_attributes
from server.cms.algorithms import Cipher
from server.cms.certificates import DATA, SIGNED_DATA
from server.cms.key_package import sign_key_package
from server.cms.recipients import EcKey, Recipient, RsaKey, SharedKey, seal_for
from server.est import codec
from server.est.capabilities import ANY, Capabilities, read_capabilities
from server.est.messages import KeyPart, Malformed
from server.outcome import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ca.csr import Csr
    from ca.keys import KeyShape
    from server.cms.certificates import BagCertificate
    from server.cms.key_package import GeneratorKey

CAPABILITIES = "1.2.840.113549.1.9.15"
DECRYPT_KEY = "1.2.840.113549.1.9.16.2.37"
ASYMMETRIC_DECRYPT_KEY = "1.2.840.113549.1.9.16.2.54"
_OURS = frozenset({CAPABILITIES, DECRYPT_KEY, ASYMMETRIC_DECRYPT_KEY})
_CURVES: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
_LONGEST_IDENTIFIER = 255
_RSA_STRENGTHS = ((3072, 128), (7680, 192))
_STRENGTHS = {"P-384": 192, "P-521": 256, "ml-dsa-65": 192, "ml-dsa-87": 256, "ml-kem-768": 192, "ml-kem-1024": 256}
# What cryptography raises for extensions and keys of a certificate that nobody has judged.
_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
_AT_ONCE = 2
"""RSA keys cost much; who waits for one more must not keep others from their processors."""

PrivateKey = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
    | mlkem.MLKEM768PrivateKey
    | mlkem.MLKEM1024PrivateKey
)
_POST_QUANTUM: dict[str, Callable[[], PrivateKey]] = {
    "ml-dsa-44": mldsa.MLDSA44PrivateKey.generate,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey.generate,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey.generate,
    "ml-kem-768": mlkem.MLKEM768PrivateKey.generate,
    "ml-kem-1024": mlkem.MLKEM1024PrivateKey.generate,
}


@dataclass(frozen=True, slots=True)
class Protection:
    """How a requester wants its key to be encrypted, over and above TLS.

    Attributes:
        identifier: names the key that decrypts.
        is_shared: whether that is a shared secret, not a key pair.
        capabilities: what the requester can decrypt.
    """

    identifier: bytes
    is_shared: bool
    capabilities: Capabilities


def read_protection(csr: Csr) -> Protection | None:
    """Return what a request says of the encryption of its key (section 4.4.1), None when nothing. Raises Malformed."""
    ours = [attribute for attribute in csr.attributes if attribute.oid in _OURS]
    found = {attribute.oid: attribute.values for attribute in ours}
    if len(found) < len(ours):
        raise Malformed(Reason.MALFORMED, "What the request says of encrypting its key is there twice.")
    shared, pair = found.get(DECRYPT_KEY), found.get(ASYMMETRIC_DECRYPT_KEY)
    if shared is None and pair is None:
        return None
    if shared is not None and pair is not None:
        raise Malformed(Reason.MALFORMED, "The request names both a shared key and a key pair to encrypt its key to.")
    if CAPABILITIES not in found:
        raise Malformed(
            Reason.MALFORMED,
            "A request that names a key to encrypt to must say what it can decrypt: the attribute SMIMECapabilities is "
            "missing (RFC 7030 section 4.4.1.1).",
        )
    try:
        (value,) = pair or shared or ()
        (capabilities,) = found[CAPABILITIES]
        identifier = der.expect(der.read(value), der.OCTET_STRING).content
        known = read_capabilities(capabilities)
    except (ValueError, IndexError) as error:
        raise Malformed(Reason.MALFORMED, "What the request says of encrypting its key can't be read.") from error
    if not 0 < len(identifier) <= _LONGEST_IDENTIFIER:
        raise Malformed(Reason.MALFORMED, "The identifier of the key to encrypt to is empty or too long.")
    return Protection(identifier, shared is not None, known)


def key_identifier(certificate: x509.Certificate) -> bytes:
    """Return the subject key identifier of a certificate; where it has none, method 1 of RFC 5280 section 4.2.1.2."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


def recipient_of(certificate: x509.Certificate, capabilities: Capabilities = ANY) -> Recipient | None:
    """Return who can open what is encrypted to a certificate's key; None when it is not for that.

    Raises Malformed: not with what the holder can decrypt.
    """
    key, identifier = certificate.public_key(), key_identifier(certificate)
    if isinstance(key, rsa.RSAPublicKey) and _may(certificate, "key_encipherment"):
        return RsaKey(identifier, key, capabilities.transport(key))
    if (
        isinstance(key, ec.EllipticCurvePublicKey)
        and any(curve.name == key.curve.name for curve in _CURVES.values())
        and _may(certificate, "key_agreement")
    ):
        return EcKey(identifier, key, capabilities.agreement(key))
    return None


class KeyGenerator:
    """Makes keys at an endpoint.

    Args:
        signer: returns the key that signs what it made, and its certificates, leaf first; another pair when they were
            renewed.
        shared: secrets shared with devices, by identifier: AES keys.
        recipients: certificates of devices whose keys can be encrypted to, besides the one presented in TLS.
        must_encrypt: whether a key leaves encrypted only.
        through_proxies: whether a key that is not encrypted may leave through a proxy that ends TLS.
        escrow: to whom keys are encrypted that a profile has kept.
    """

    def __init__(
        self,
        signer: Callable[[], tuple[GeneratorKey, Sequence[BagCertificate]]],
        *,
        shared: Mapping[bytes, bytes] | None = None,
        recipients: Iterable[x509.Certificate] = (),
        must_encrypt: bool = False,
        through_proxies: bool = False,
        escrow: Recipient | None = None,
    ) -> None:
        self._signer = signer
        self._shared = dict(shared or {})
        self._recipients = {key_identifier(each): each for each in recipients}
        self._must_encrypt = must_encrypt
        self._through_proxies = through_proxies
        self._escrow = escrow
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self.stand_in = _spki(ec.generate_private_key(ec.SECP256R1()))  # of requests whose key is not made yet

    def recipient(self, wanted: Protection | None, leaf: x509.Certificate | None, *, direct: bool) -> Recipient | None:
        """Return to whom the key is encrypted, None when TLS is enough. Raises Malformed.

        Args:
            wanted: what the request says.
            leaf: the certificate that was presented in TLS.
            direct: whether nothing stands between the requester and this server.
        """
        if wanted is None:
            if self._must_encrypt or not (direct or self._through_proxies):
                raise Malformed(
                    Reason.POLICY,
                    "Keys leave this service encrypted only: name a key to encrypt to (RFC 7030 section 4.4.1).",
                )
            return None
        found = self._shared_key(wanted) if wanted.is_shared else self._key_pair(wanted, leaf)
        if found is None:
            # Section 4.4.1: what it does not recognise must not be passed over.
            raise Malformed(Reason.MALFORMED, "The key that the request names to encrypt to is not known here.")
        return found

    def _shared_key(self, wanted: Protection) -> Recipient | None:
        secret = self._shared.get(wanted.identifier)
        if secret is not None and not wanted.capabilities.wraps_with(len(secret)):
            message = "The request does not list the key wrap that goes with its shared key."
            raise Malformed(Reason.BAD_ALGORITHM, message)
        return SharedKey(wanted.identifier, secret) if secret is not None else None

    def _key_pair(self, wanted: Protection, leaf: x509.Certificate | None) -> Recipient | None:
        try:
            shown = leaf is not None and key_identifier(leaf) == wanted.identifier
            certificate = leaf if shown else self._recipients.get(wanted.identifier)
            if certificate is None:
                return None
            found = recipient_of(certificate, wanted.capabilities)
        except Malformed:
            raise
        except _UNREADABLE as error:
            message = "The certificate of this TLS connection can't be read: no key can be encrypted to it."
            raise Malformed(Reason.MALFORMED, message) from error
        if found is None:
            raise Malformed(
                Reason.MALFORMED, "The key that the request names is not for encryption, by its kind or its key usage."
            )
        return found

    async def make(self, shape: KeyShape) -> PrivateKey:
        """Return a new key."""
        async with self._turns:
            return await asyncio.to_thread(_generate, shape)

    def keep(self, key: PrivateKey) -> bytes | None:
        """Return the key, PKCS#8, encrypted for who keeps keys; None where nobody does."""
        if self._escrow is None:
            return None
        return seal_for(_pkcs8(key), DATA, self._escrow, cipher=Cipher.AES256, random=secrets.token_bytes)

    def seal(self, key: PrivateKey, recipient: Recipient | None, cipher: Cipher) -> KeyPart:
        """Return the part of the reply that holds the key (section 4.4.2)."""
        pkcs8 = _pkcs8(key)
        if recipient is None:
            return KeyPart(pkcs8, encrypted=False)
        package = sign_key_package(pkcs8, *self._signer())
        sealed = seal_for(package, SIGNED_DATA, recipient, cipher=cipher, random=secrets.token_bytes)
        return KeyPart(sealed, encrypted=True)


def strength(shape: KeyShape) -> int:
    """Return the bits of security of a key (NIST SP 800-57 part 1, table 2; of ML-DSA and ML-KEM their categories)."""
    if shape.kind == "rsa":
        return next((bits for size, bits in _RSA_STRENGTHS if shape.bits <= size), 256)
    return _STRENGTHS.get(shape.curve or shape.kind, 128)


class NewKey:
    """The key of one request: what is asked of it, then the key itself, until the reply is written."""

    def __init__(
        self,
        generator: KeyGenerator,
        shape: KeyShape,
        leaf: x509.Certificate | None,
        *,
        direct: bool,
        cipher_bits: int | None = None,
    ) -> None:
        self._generator = generator
        self._shape = shape
        self._leaf = leaf
        self._direct = direct
        self._cipher_bits = cipher_bits
        self._recipient: Recipient | None = None
        self._cipher = Cipher.AES256
        self._key: PrivateKey | None = None

    def decode(self, body: bytes) -> Csr:
        """Return the request, with a key that stands for the one to be made. Raises Malformed."""
        csr = codec.decode_keyless(body, self._generator.stand_in)
        wanted = read_protection(csr)
        self._recipient = self._generator.recipient(wanted, self._leaf, direct=self._direct)
        if wanted is not None and self._recipient is not None:
            wraps = wanted.capabilities.wraps if isinstance(self._recipient, EcKey) else frozenset()
            self._cipher = wanted.capabilities.cipher(wraps)  # before a certificate is issued for nothing
        return without_attributes(csr, _OURS)  # no policy needs them

    async def make(self, csr: Csr, shape: KeyShape | None = None) -> Csr:
        """Return the request with the key that is now made. Raises Malformed.

        Args:
            csr: what `decode` returned.
            shape: kind and size of the key, where it is another than was thought when nobody had asked yet.
        """
        self._shape = shape or self._shape
        if self._recipient is None and self._cipher_bits is not None and self._cipher_bits < strength(self._shape):
            raise Malformed(
                Reason.POLICY,
                "The cipher of this TLS connection is weaker than the key that would go over it (RFC 7030 section "
                "4.4): offer one of 256 bits, or name a key to encrypt to.",
            )
        self._key = await self._generator.make(self._shape)
        return with_generated_key(csr, _spki(self._key))

    def escrow(self) -> bytes | None:
        """Return the key as it may be kept, encrypted for somebody else; None where nobody is named."""
        return self._generator.keep(self._key) if self._key is not None else None

    def part(self) -> KeyPart:
        """Return the part of the reply that holds the key, and forget the key."""
        key, self._key = self._key, None
        if key is None:
            raise RuntimeError("the key was not made, or given away before")
        return self._generator.seal(key, self._recipient, self._cipher)


def _may(certificate: x509.Certificate, usage: str) -> bool:
    """Whether the key usage of a certificate, where it has one, allows this."""
    try:
        bits = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return bool(getattr(bits, usage))


def _generate(shape: KeyShape) -> PrivateKey:
    if shape.kind == "rsa":
        return rsa.generate_private_key(65537, shape.bits)
    if shape.curve is not None:
        return ec.generate_private_key(_CURVES[shape.curve])
    return _POST_QUANTUM[shape.kind]() if shape.kind in _POST_QUANTUM else ed25519.Ed25519PrivateKey.generate()


def _pkcs8(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _spki(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
