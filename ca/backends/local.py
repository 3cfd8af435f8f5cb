"""The issuing CA whose key this process holds: read from files, kept in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from ca.issuer import IssuerConfigurationError, IssuerRefused
from ca.keys import UnusableKey
from ca.tbs import IssuerProfile, SigningKey, UnsignablePlan, signer, write_certificate, write_tbs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca.issuer import Permit
    from ca.plan import CertificatePlan


class LocalIssuer:
    """An `Issuer` with its private key in memory.

    It signs with SHA-256 (RSA PKCS #1 v1.5, P-256), SHA-384 (P-384), SHA-512 (P-521) or Ed25519. EC and Ed25519 take
    30 microseconds and are done on the event loop; RSA goes to a thread, where it releases the interpreter lock.
    """

    def __init__(self, key: SigningKey, certificate: x509.Certificate, chain: Sequence[x509.Certificate] = ()) -> None:
        """Take the CA's key, its certificate, and the certificates above it, in order, root last.

        Raises IssuerConfigurationError when these do not belong together or the certificate is not a CA's.
        """
        if key.public_key() != certificate.public_key():
            raise IssuerConfigurationError("the private key does not belong to the issuing CA's certificate")
        _require_ca(certificate)
        self._chain = (certificate, *chain)
        for below, above in zip(self._chain, self._chain[1:], strict=False):
            _require_issued(below, above)
        try:
            self._profile = IssuerProfile.of(certificate)
        except UnusableKey as error:
            raise IssuerConfigurationError(f"the issuing CA's key can't be used: {error}") from error
        self._sign = signer(key)
        self._in_thread = isinstance(key, rsa.RSAPrivateKey)

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> x509.Certificate:
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
        return x509.load_der_x509_certificate(write_certificate(tbs, self._profile, signature))

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return the issuing CA's certificate and those above it, root last."""
        return self._chain


def load_local_issuer(certificate_pem: bytes, key_pem: bytes, passphrase: bytes, chain_pem: bytes) -> LocalIssuer:
    """Return the issuer of these files.

    Args:
        certificate_pem: the issuing CA's certificate; what follows it in the file is ignored.
        key_pem: its private key, PEM.
        passphrase: of the private key, without line end; empty when the key is not encrypted.
        chain_pem: the certificates above, in any order; the issuing CA's own may be among them. May be empty.

    Raises:
        IssuerConfigurationError: something can't be read or does not belong together; the text says what.
    """
    certificate = _certificates(certificate_pem, "the issuing CA's certificate")[0]
    above = _certificates(chain_pem, "the chain") if chain_pem.strip() else []
    return LocalIssuer(_key(key_pem, passphrase), certificate, _ordered(certificate, above))


def _require_ca(certificate: x509.Certificate) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise IssuerConfigurationError("the issuing CA's certificate lacks basicConstraints or keyUsage") from error
    if not constraints.ca or not usage.key_cert_sign:
        raise IssuerConfigurationError("the issuing CA's certificate is not a CA certificate")


def _require_issued(below: x509.Certificate, above: x509.Certificate) -> None:
    try:
        below.verify_directly_issued_by(above)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        names = f"{below.subject.rfc4514_string()} is not issued by {above.subject.rfc4514_string()}"
        raise IssuerConfigurationError(f"the chain does not hold: {names}") from error


def _ordered(certificate: x509.Certificate, above: list[x509.Certificate]) -> list[x509.Certificate]:
    """Bring the certificates above an issuing CA into order. What is left over is a mistake worth telling."""
    rest = [other for other in dict.fromkeys(above) if other != certificate]
    ordered: list[x509.Certificate] = []
    last = certificate
    while rest and last.subject != last.issuer:
        following = next((other for other in rest if other.subject == last.issuer), None)
        if following is None:
            break
        rest.remove(following)
        ordered.append(following)
        last = following
    if rest:
        raise IssuerConfigurationError(f"the chain has a foreign certificate: {rest[0].subject.rfc4514_string()}")
    return ordered


def _certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise IssuerConfigurationError(f"{what} can't be read: {error}") from error


def _key(pem: bytes, passphrase: bytes) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(pem, passphrase or None)
    except TypeError as error:  # a passphrase too many, or one too few
        wrong = "is not encrypted, but there is" if passphrase else "is encrypted, but there is not"
        raise IssuerConfigurationError(f"the issuing CA's private key {wrong} a passphrase") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        text = "the passphrase is wrong, or the file is damaged" if passphrase else "the file is damaged"
        raise IssuerConfigurationError(f"the issuing CA's private key can't be read: {text}") from error
    if not isinstance(key, SigningKey):
        raise IssuerConfigurationError("the issuing CA's private key is neither RSA, EC nor Ed25519")
    return key
