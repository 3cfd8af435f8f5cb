"""The issuing CA whose key is in an HSM (PKCS#11)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa

from ca.backends.chain import held_together
from ca.backends.local import RSA_BITS
from ca.crl import write_crl
from ca.issuer import IssuerConfigurationError, IssuerRefused, IssuerUnavailable
from ca.keys import UnusableKey
from ca.tbs import IssuerProfile, UnsignablePlan, signer, write_certificate, write_tbs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from ca.backends.hsm import HsmEcKey, HsmRsaKey
    from ca.crl import RevocationList
    from ca.issuer import Permit
    from ca.plan import CertificatePlan

QUEUE_LIMIT = 1000
"""More waiting requests than this are turned away: the HSM is too slow for them."""


class Pkcs11Issuer:
    """An `Issuer` whose key is in an HSM, asked through a process of its own."""

    def __init__(
        self,
        key: HsmRsaKey | HsmEcKey,
        certificate: x509.Certificate,
        chain: Sequence[x509.Certificate] = (),
        *,
        pss: bool = False,
        limit: int = QUEUE_LIMIT,
    ) -> None:
        """Take the key, the CA's certificate, and the certificates above it, in order, root last.

        Raises IssuerConfigurationError when these do not belong together.
        """
        if key.public_key() != certificate.public_key():
            raise IssuerConfigurationError("the key in the HSM does not belong to the issuing CA's certificate")
        self._chain = held_together(certificate, *chain)
        try:
            self._profile = IssuerProfile.of(certificate, pss=pss, above=chain)
        except UnusableKey as error:
            raise IssuerConfigurationError(f"the issuing CA's key can't be used: {error}") from error
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size not in RSA_BITS:
            raise IssuerConfigurationError(f"the issuing CA's RSA key has {key.key_size} bits")
        self._process = key.signer
        self._sign = signer(key, pss=pss)
        self._limit = limit
        self._waiting = 0

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        """Redeem the permit and sign the plan; see `ca.issuer.Issuer.issue`."""
        permit.redeem(plan, serial)
        try:
            tbs = write_tbs(plan, serial, self._profile)
        except UnsignablePlan as error:
            raise IssuerRefused(f"the plan can't be signed: {error}") from error
        if self._waiting >= self._limit:
            raise IssuerUnavailable(f"{self._waiting} requests wait for the HSM already")
        self._waiting += 1
        try:
            signature = await asyncio.get_running_loop().run_in_executor(self._process.executor, self._sign, tbs)
        except IssuerConfigurationError as error:
            raise IssuerUnavailable(str(error)) from error  # it was there when the server started
        finally:
            self._waiting -= 1
        return write_certificate(tbs, self._profile, signature)

    async def sign_crl(self, content: RevocationList) -> bytes:
        """Return the DER of the signed list. Raises IssuerUnavailable."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._process.executor, write_crl, content, self._profile, self._sign)
        except IssuerConfigurationError as error:
            raise IssuerUnavailable(str(error)) from error

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return the issuing CA's certificate and those above it, root last."""
        return self._chain

    async def close(self) -> None:
        """End the signer process."""
        self._process.close()
