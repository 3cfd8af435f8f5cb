"""An issuer that is another CA: what all of them have in common, whatever they speak.

To write a backend is to write an `Upstream`: one method that asks for a certificate. `UpstreamIssuer` makes an issuer
of it: the permit is redeemed, the plan judged as a local CA judges it, the time limited, and every failure told as what
it is. The door compares what comes back.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding

from ca.csr import BadProof, Csr, MalformedCsr, parse_csr, read_recorded_csr
from ca.issuer import AnswerUnusable, IssuerConfigurationError, IssuerRefused, IssuerUnavailable, Latitude
from ca.keys import UnusableKey
from ca.tbs import IssuerProfile, UnsignablePlan, write_tbs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime

    from cryptography import x509

    from ca.issuer import Permit
    from ca.plan import CertificatePlan

INFORMATIONAL = frozenset(
    {
        "1.3.6.1.5.5.7.1.1",  # authorityInfoAccess
        "2.5.29.31",  # cRLDistributionPoints
        "2.5.29.46",  # freshestCRL
        "2.5.29.32",  # certificatePolicies
        "2.5.29.56",  # noRevAvail (RFC 9608)
        "1.3.6.1.4.1.11129.2.4.2",  # signed certificate timestamps (RFC 6962)
    }
)
"""Extensions that say where to learn more about a certificate and give it no power: a CA may add them."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to ask a CA for.

    Attributes:
        request_id: the request; a CA that knows idempotency keys gets this.
        plan: what was approved.
        csr: the request of who wants the certificate, parsed; its key is the plan's.
        reference: what the CA called this order when it was pending; None at first.
        renews: the serial number of the certificate that is to be renewed, whichever CA gave it; None for a new one.
        proven: whether the CSR itself proves possession of the key, to whoever reads it. It doesn't when the proof that
            was verified here was another, or covered a challenge password, which is a secret and on no record.
    """

    request_id: str
    plan: CertificatePlan
    csr: Csr
    reference: str | None
    renews: int | None = None
    proven: bool = True

    @property
    def speaks_for_itself(self) -> bool:
        """Whether who gets nothing but the CSR sees what is planned, and that the key is there."""
        return self.proven and not self._differs(subject=True)

    def _differs(self, *, subject: bool) -> bool:
        return set(self.csr.names) != set(self.plan.names) or (subject and self.csr.subject != self.plan.subject)

    def require_names(self, *, subject: bool = True) -> None:
        """Make sure that a CA which takes names from the CSR can do what is planned. Raises IssuerRefused."""
        self.require_proof()
        if self._differs(subject=subject):
            raise IssuerRefused("this CA takes the names from the CSR, and the policy has approved others")

    def require_proof(self) -> None:
        """Make sure that a CA which verifies the CSR's signature can. Raises IssuerRefused."""
        if not self.proven:
            why = "which is over a challenge password that is not passed on, or by another key"
            raise IssuerRefused(f"this CA verifies the signature of the CSR, {why}")


class Upstream(Protocol):
    """Another CA."""

    async def enroll(self, order: Order) -> x509.Certificate:
        """Return the certificate.

        The caller limits the time, and takes network errors and malformed values for what they are.

        Raises:
            IssuerRefused: the CA says no, and would again; it has signed nothing now.
            NothingSigned: it has signed nothing in an earlier attempt either.
            AnswerUnusable: it may have signed, but what it sent is no certificate that can be used.
            IssuerUnavailable: it can't be asked now.
            IssuerPending: it needs time; the reference comes back in the next order.
        """
        ...

    async def close(self) -> None:
        """Give connections back."""
        ...


@runtime_checkable
class RevokingUpstream(Protocol):
    """Another CA that takes revocations: a power of its own."""

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:
        """Have one of its certificates revoked; to revoke it again is no failure.

        Raises:
            IssuerRefused: the CA says no.
            IssuerUnavailable: it can't be asked now.
        """
        ...


class UpstreamIssuer:
    """An `Issuer` that asks another CA."""

    def __init__(
        self,
        upstream: Upstream,
        chain: Sequence[x509.Certificate],
        *,
        seconds: float = 8,
        clock: timedelta = timedelta(hours=1),
        subject: bool = False,
    ) -> None:
        """Take the other CA, its issuing certificate and those above it, root last.

        Args:
            upstream: the other CA.
            chain: what its certificates are verified with.
            seconds: how long one attempt may take.
            clock: by how much the validity may differ from the plan.
            subject: whether the CA may reduce the subject to a name or nothing.

        Raises:
            IssuerConfigurationError: the key of the other CA is of a kind that can't be verified here.
        """
        self._upstream = upstream
        self._chain = tuple(chain)
        self._seconds = seconds
        self._latitude = Latitude(
            serial=True, clock=clock, shorter=True, extensions=INFORMATIONAL, subject=subject, constraints=True
        )
        try:
            self._profile = IssuerProfile.of(self._chain[0], above=self._chain[1:])
        except UnusableKey as error:
            raise IssuerConfigurationError(f"the CA's key can't be used: {error}") from error

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        """Redeem the permit and ask the CA; see `ca.issuer.Issuer.issue`. The CA gives another serial number."""
        permit.redeem(plan, serial)
        order = self._order(permit, plan, serial)
        async with self._told():
            return (await self._upstream.enroll(order)).public_bytes(Encoding.DER)

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Limit the time, and tell every failure as what it is."""
        try:
            async with asyncio.timeout(self._seconds):
                yield
        except TimeoutError as error:
            raise IssuerUnavailable(f"the CA has not answered within {self._seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise IssuerUnavailable(f"the CA can't be reached: {type(error).__name__} {error}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise AnswerUnusable(f"the CA's answer can't be understood: {type(error).__name__} {error}") from error

    def _order(self, permit: Permit, plan: CertificatePlan, serial: int) -> Order:
        try:
            write_tbs(plan, serial, self._profile)  # nothing is asked of others that would not be signed here
        except UnsignablePlan as error:
            raise IssuerRefused(f"the plan can't be signed: {error}") from error
        if permit.csr is None:
            raise IssuerRefused("this CA wants a certification request, and there is none")
        csr, proven = _read(permit.csr)
        if csr.spki != plan.spki:
            raise IssuerRefused("the certification request is for another key than planned")
        return Order(permit.request_id, plan, csr, permit.reference, permit.renews, proven)

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return the issuing CA's certificate and those above it, root last."""
        return self._chain

    def latitude(self) -> Latitude:
        """Return what the CA may choose by itself."""
        return self._latitude

    async def close(self) -> None:
        """Give connections back."""
        await self._upstream.close()


def _read(recorded: bytes) -> tuple[Csr, bool]:
    """Return a request of our record, whose proof was verified before, and whether it proves itself."""
    try:
        try:
            return parse_csr(recorded, allow_sha1=True), True
        except BadProof:
            return read_recorded_csr(recorded), False
    except MalformedCsr as error:
        raise IssuerRefused(f"the certification request can't be read any more: {error}") from error


class RevokingIssuer(UpstreamIssuer):
    """An `UpstreamIssuer` whose CA takes revocations: a `ca.issuer.Revoker` too."""

    def __init__(self, upstream: RevokingUpstream, chain: Sequence[x509.Certificate], **settings: Any) -> None:
        """Take what `UpstreamIssuer` takes."""
        super().__init__(cast("Upstream", upstream), chain, **settings)
        self._revoking = upstream

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:
        """Tell the CA; see `ca.issuer.Revoker.revoke`."""
        async with self._told():
            await self._revoking.revoke(certificate, reason, at)


def issuer_of(upstream: Upstream, chain: Sequence[x509.Certificate], **settings: Any) -> UpstreamIssuer:
    """Return the issuer with the powers that the other CA has; the settings are those of `UpstreamIssuer`."""
    if isinstance(upstream, RevokingUpstream):
        return RevokingIssuer(upstream, chain, **settings)
    return UpstreamIssuer(upstream, chain, **settings)
