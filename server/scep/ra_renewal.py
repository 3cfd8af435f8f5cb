"""The RA renews its own certificate before it ends, through the one door like everybody else.

With a new key; one in an HSM stays, because it has not been where it could be copied.
Where the new pairs are is said in `server.successors`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from ca.csr import parse_csr
from ca.issuer import IssuerUnavailable
from ca.names import names_of, subject_of
from policies.request import CertificateEvidence, EnrollmentRequest, Kind, Renewed, Requester, certificate_identity
from server.outcome import Issued
from server.scep.ra import RaConfigurationError, RaKey, load_ra_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from policies.request import EndpointName
    from server.clock import Clock
    from server.enrollment import Enrollment
    from server.scep.keyring import Keyring
    from server.successors import Successors

_log = structlog.get_logger("server.scep")


def new_rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return a new key."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


class RaFolder:
    """The pairs that the server made itself.

    Args:
        pairs: where they are.
        same_key: whether the key stays and is not here, as that of an HSM.
    """

    def __init__(self, pairs: Successors, *, same_key: bool = False) -> None:
        self._pairs = pairs
        self._same_key = same_key

    def follow(self, ra: RaKey) -> RaKey | None:
        """Return the pair that follows one, None when there is none. Raises RaConfigurationError for a bad one."""
        certificate, key = self._pairs.paths(ra.certificate)
        try:
            if not certificate.exists():
                return None
            if self._same_key:
                return ra.under(x509.load_pem_x509_certificate(certificate.read_bytes()))
            return load_ra_key(certificate.read_bytes(), key.read_bytes(), self._pairs.passphrase)
        except (OSError, ValueError) as error:
            cause = f": {error.strerror}" if isinstance(error, OSError) else ""
            what = error if isinstance(error, RaConfigurationError) else f"can't be read{cause}"
            raise RaConfigurationError(f"{certificate} or its key: {what}") from error

    def key(self, ra: RaKey, make: Callable[[], rsa.RSAPrivateKey]) -> rsa.RSAPrivateKey:
        """Return the key for the pair to follow; the first process that asks makes it.

        Raises:
            RaConfigurationError: it can't be written or read.
        """
        if self._same_key:
            return ra.key
        path = self._pairs.paths(ra.certificate)[1]
        try:
            key = self._pairs.key(ra.certificate, make)
        except (OSError, ValueError, TypeError) as error:
            raise RaConfigurationError(f"{path} can't be written or read: {error}") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise RaConfigurationError(f"{path} is not an RSA key")
        return key

    def keep(self, ra: RaKey, certificate: bytes) -> None:
        """Keep the certificate that follows; from then on every process finds the pair. Raises RaConfigurationError."""
        renewed = x509.load_der_x509_certificate(certificate)
        try:
            self._pairs.keep(ra.certificate, [renewed])
        except OSError as error:
            raise RaConfigurationError(f"{self._pairs.folder} can't be written: {error}") from error


def walk(keys: Keyring, folder: RaFolder) -> None:
    """Make the newest pair of the folder the current one. Raises RaConfigurationError for one that can't serve."""
    while (newer := folder.follow(keys.current)) is not None:
        keys.renew(newer)


def _csr(old: x509.Certificate, key: rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder(old.subject)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


class RaRenewal:
    """Keeps one endpoint's RA from expiring.

    Args:
        endpoint: the endpoint.
        profile: what judges the request.
        before: how long before its end a certificate is renewed.
        folder: where the new pairs go.
        keys: the RA keys of the endpoint.
        enrollment: the one door.
        clock: tells the time.
        make: makes a key of so many bits.
    """

    def __init__(
        self,
        *,
        endpoint: EndpointName,
        profile: str,
        before: timedelta,
        folder: RaFolder,
        keys: Keyring,
        enrollment: Enrollment,
        clock: Clock,
        make: Callable[[int], rsa.RSAPrivateKey] = new_rsa_key,
    ) -> None:
        self._endpoint = endpoint
        self._profile = profile
        self._before = before
        self._folder = folder
        self._keys = keys
        self._enrollment = enrollment
        self._clock = clock
        self._make = make
        self._sample: bytes | None = None
        self._said = ""

    async def check(self) -> None:
        """Take up what another process made; renew when it is time. Failures are logged, the next check tries again."""
        try:
            walk(self._keys, self._folder)
            current = self._keys.current
            if self._clock() < current.certificate.not_valid_after_utc - self._before:
                await self._foresee(current)
                return
            key = await asyncio.to_thread(self._folder.key, current, lambda: self._make(current.bits))
            csr = await current.done(lambda: _csr(current.certificate, key))
            outcome = await self._enrollment.submit(self._request(current.certificate, csr))
            if not isinstance(outcome, Issued):
                _log.error("RA not renewed", endpoint=str(self._endpoint), outcome=repr(outcome))
                return
            RaKey(x509.load_der_x509_certificate(outcome.certificate), key)  # refuses what clients can't work with
            self._folder.keep(current, outcome.certificate)
            walk(self._keys, self._folder)
        except (RaConfigurationError, IssuerUnavailable) as error:  # the second from an HSM that does not answer
            _log.error("RA not renewed", endpoint=str(self._endpoint), cause=str(error))
            return
        until = self._keys.current.certificate.not_valid_after_utc
        _log.warning("RA renewed", endpoint=str(self._endpoint), until=until.isoformat())

    async def _foresee(self, ra: RaKey) -> None:
        """Warn, while there is time to change it, when the policy as it is now would not renew this RA."""
        if self._sample is None:
            self._sample = await asyncio.to_thread(lambda: _csr(ra.certificate, self._make(ra.bits)))
        due = ra.certificate.not_valid_after_utc - self._before
        problem = await self._enrollment.foresee(replace(self._request(ra.certificate, self._sample), now=due))
        said = "" if problem is None else problem.message
        if problem is not None and said != self._said:
            places = ", ".join(f"{found.location}: {found.rule}" for found in problem.findings)
            _log.warning("the policy would not renew this RA", endpoint=str(self._endpoint), why=said, where=places)
        self._said = said

    def _request(self, old: x509.Certificate, csr: bytes) -> EnrollmentRequest:
        subject, names, serial = subject_of(old), names_of(old), old.serial_number
        end = old.not_valid_after_utc
        evidence = CertificateEvidence(subject, names, serial, end, "own", self._profile, self._endpoint)
        spki = old.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return EnrollmentRequest(
            key=f"{self._endpoint} RA after {serial:x}",
            kind=Kind.RENEW,
            endpoint=self._endpoint,
            profile=self._profile,
            csr=parse_csr(csr),
            requester=Requester(certificate_identity(serial), (evidence,)),
            now=self._clock(),
            renewed=Renewed(serial, subject, names, spki, old.not_valid_before_utc, end, self._profile, self._endpoint),
        )
