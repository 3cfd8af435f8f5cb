"""The registration authority's key: clients encrypt to it, replies are signed with it (RFC 8894 section 2.1.2).

It is RSA whatever the CA's key is, and never the CA's or a TLS key (section 7.2). The two methods are coroutines
because such a key may live in a device.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ca import der
from server.cms.algorithms import PKCS1_PADDING
from server.cms.certificates import BagCertificate, read_bag_certificate

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from server.cms.algorithms import Digest, KeyTransport

_LEAST_BITS = 2048
T = TypeVar("T")


class RaConfigurationError(ValueError):
    """Certificate and key can't serve as RA. The text says what to change, for administrators."""


class RaKey:
    """An RSA key with its certificate: unwraps content keys and signs replies.

    Attributes:
        certificate: what clients find by GetCACert.
        addressed: the same, as messages address it.
        bits: how long the key is.
    """

    def __init__(self, certificate: x509.Certificate, key: rsa.RSAPrivateKey, queue: Executor | None = None) -> None:
        """Take over a matching pair; a key that blocks, because it lives in a device, comes with the queue to it.

        Raises RaConfigurationError for a pair that clients could not work with.
        """
        if key.public_key() != certificate.public_key():
            raise RaConfigurationError("the RA key does not belong to the RA certificate")
        if key.key_size < _LEAST_BITS:
            raise RaConfigurationError(f"the RA key has {key.key_size} bits; at least {_LEAST_BITS} are needed")
        _expect_usages(certificate)
        self.certificate = certificate
        self.addressed: BagCertificate = read_bag_certificate(der.read(certificate.public_bytes(Encoding.DER)))
        self._key = key
        self._queue = queue
        self.bits = key.key_size
        self._octets = (key.key_size + 7) // 8

    @property
    def key(self) -> rsa.RSAPrivateKey:
        """The key itself, for work within `done` alone."""
        return self._key

    def under(self, certificate: x509.Certificate) -> RaKey:
        """Return the same key under another certificate. Raises RaConfigurationError."""
        return RaKey(certificate, self._key, self._queue)

    async def unwrap(self, encrypted_key: bytes, transport: KeyTransport) -> bytes | None:
        """Return the content key, None when it can't be had.

        For PKCS#1 v1.5 bad padding gives random octets (implicit rejection in the library), not None; callers treat
        both alike.
        """
        octets, scheme = encrypted_key.rjust(self._octets, b"\x00"), transport.padding()
        try:
            return await self.done(lambda: self._key.decrypt(octets, scheme))
        except ValueError:
            return None

    async def sign(self, octets: bytes, digest: Digest) -> bytes:
        """Return the PKCS#1 v1.5 signature over some octets."""
        return await self.done(lambda: self._key.sign(octets, PKCS1_PADDING, digest.hash))

    async def done(self, work: Callable[[], T]) -> T:
        """Return what the work comes to; with a key in a device it waits for its turn."""
        if self._queue is None:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._queue, work)


def expect_role(certificate: x509.Certificate, *, as_ca: bool) -> None:
    """Raise RaConfigurationError unless an RA is what clients of GetCACert will take it for.

    Args:
        certificate: the RA's.
        as_ca: whether clients are shown CA certificates alone, so that they encrypt for the CA.
    """
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if as_ca and not is_ca:
        raise RaConfigurationError(
            "ca_certificates shows clients no RA, so that they encrypt for the CA: then ra must be the CA's own"
        )
    if is_ca and not as_ca:
        raise RaConfigurationError("the RA certificate is a CA's: give the RA a key of its own (RFC 8894 section 7.2)")


def _expect_usages(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature and usage.key_encipherment):
        raise RaConfigurationError(
            "the RA certificate needs the key usages digitalSignature and keyEncipherment (RFC 8894 section 2.1.2)"
        )


def load_ra_key(certificate_pem: bytes, key_pem: bytes, passphrase: bytes | None) -> RaKey:
    """Load certificate and key of an RA from PEM.

    Args:
        certificate_pem: the certificate.
        key_pem: the private key, PKCS#8, encrypted unless ``passphrase`` is None.
        passphrase: opens the key.

    Raises:
        RaConfigurationError: one of them can't be read, they don't belong together, or the key is not RSA.
    """
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise RaConfigurationError("the RA certificate is not a PEM certificate") from error
    try:
        key = load_pem_private_key(key_pem, passphrase)
    except (ValueError, TypeError) as error:
        raise RaConfigurationError("the RA key can't be read: not PEM, or another passphrase") from error
    if not isinstance(key, rsa.RSAPrivateKey):
        raise RaConfigurationError("the RA key must be RSA: clients encrypt to it (RFC 8894 section 3.1)")
    return RaKey(certificate, key)
