"""The issuing CA whose key this process holds: read from files, kept in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.backends.chain import held_together, load_chain
from ca.crl import write_crl
from ca.issuer import IssuerConfigurationError, IssuerKeyUnusable, IssuerRefused
from ca.keys import UnusableKey
from ca.tbs import IssuerProfile, SigningKey, UnsignablePlan, signer, write_certificate, write_tbs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from ca.crl import RevocationList
    from ca.issuer import Permit
    from ca.plan import CertificatePlan


RSA_BITS = range(2048, 4097)
"""Sizes of RSA keys that may sign certificates."""


class LocalIssuer:
    """An `Issuer` with its private key in memory.

    It signs with SHA-256 (RSA PKCS #1 v1.5 or PSS, P-256), SHA-384 (P-384), SHA-512 (P-521), Ed25519 or ML-DSA. EC and
    Ed25519 take 30 microseconds and are done on the event loop; RSA and ML-DSA go to a thread, where they release the
    interpreter lock.
    """

    def __init__(
        self,
        key: SigningKey,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate] = (),
        *,
        pss: bool = False,
    ) -> None:
        """Take the CA's key, its certificate, and the certificates above it, in order, root last.

        With `pss` an RSA key signs with RSASSA-PSS. Raises IssuerConfigurationError when these do not belong together,
        the certificate is not a CA's, or the RSA key is not of 2048 to 4096 bits.
        """
        if key.public_key() != certificate.public_key():
            raise IssuerKeyUnusable("the private key does not belong to the issuing CA's certificate")
        self._chain = held_together(certificate, *chain)
        try:
            self._profile = IssuerProfile.of(certificate, pss=pss, above=chain)
        except UnusableKey as error:
            raise IssuerConfigurationError(f"the issuing CA's key can't be used: {error}") from error
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size not in RSA_BITS:
            raise IssuerConfigurationError(
                f"the issuing CA's RSA key has {key.key_size} bits; {RSA_BITS[0]} to {RSA_BITS[-1]} are possible"
            )
        self._sign = signer(key, pss=pss)
        self._in_thread = not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey)

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        """Redeem the permit and sign the plan; see `ca.issuer.Issuer.issue`.

        The same plan and serial number give the same TBSCertificate. Raises IssuerRefused for a plan that no issuer
        may sign, PermitSpent and PermitMismatch.
        """
        permit.redeem(plan, serial)
        try:
            tbs = write_tbs(plan, serial, self._profile)
        except UnsignablePlan as error:
            raise IssuerRefused(f"the plan can't be signed: {error}") from error
        signature = await asyncio.to_thread(self._sign, tbs) if self._in_thread else self._sign(tbs)
        return write_certificate(tbs, self._profile, signature)

    async def sign_crl(self, content: RevocationList) -> bytes:
        """Return the DER of the signed list; the work is done in a thread."""
        return await asyncio.to_thread(write_crl, content, self._profile, self._sign)

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return the issuing CA's certificate and those above it, root last."""
        return self._chain


def load_local_issuer(
    certificate_pem: bytes, key_pem: bytes, passphrase: bytes, chain_pem: bytes, *, pss: bool = False
) -> LocalIssuer:
    """Return the issuer of these files.

    Args:
        certificate_pem: the issuing CA's certificate; what follows it in the file is ignored.
        key_pem: its private key, PEM.
        passphrase: of the private key, without line end; empty when the key is not encrypted.
        chain_pem: the certificates above, in any order; the issuing CA's own may be among them. May be empty.
        pss: whether an RSA key signs with RSASSA-PSS.

    Raises:
        IssuerKeyUnusable: the key can't be opened or is another certificate's; the text says why.
        IssuerConfigurationError: something else can't be read or does not belong together; the text says what.
    """
    certificate, *above = load_chain(certificate_pem, chain_pem)
    return LocalIssuer(_key(key_pem, passphrase), certificate, above, pss=pss)


def _key(pem: bytes, passphrase: bytes) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(pem, passphrase or None)
    except TypeError as error:  # a passphrase too many, or one too few
        wrong = "is not encrypted, but there is" if passphrase else "is encrypted, but there is not"
        raise IssuerKeyUnusable(f"the issuing CA's private key {wrong} a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        text = "the passphrase is wrong, or the file is damaged" if passphrase else "the file is damaged"
        raise IssuerKeyUnusable(f"the issuing CA's private key can't be read: {text}") from error
    if not isinstance(key, SigningKey):
        raise IssuerKeyUnusable("the issuing CA's private key is neither RSA, EC, Ed25519 nor ML-DSA")
    return key
