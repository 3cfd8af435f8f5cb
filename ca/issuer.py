"""The issuing boundary: what any CA behind Certwright must do, and how it may fail.

A backend signs a plan and never sees a request. It gets a `Permit`, which can be redeemed once and only for the plan
it was made for; the enrollment door makes permits, after the intent is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from ca.plan import CertificatePlan


class IssuerError(Exception):
    """The issuer did not issue. The text is for administrators, never for the requester."""


class IssuerConfigurationError(IssuerError):
    """An issuer can't be set up from what is configured. The text says what to mend."""


class IssuerRefused(IssuerError):
    """The CA understood and refused: trying the same again is pointless."""


class IssuerUnavailable(IssuerError):
    """The CA did not answer, or not in time: the same request may succeed later."""


class PermitSpent(IssuerError):
    """A permit was presented a second time."""


class PermitMismatch(IssuerError):
    """A permit was presented for a plan or a serial number that it was not made for."""


@dataclass(slots=True)
class Permit:
    """The right to sign one plan once.

    Attributes:
        request_id: the request that this belongs to; remote CAs use it as their idempotency key.
        plan: the approved plan.
        serial: the certificate's serial number, positive, at most 20 octets.
    """

    request_id: str
    plan: CertificatePlan
    serial: int
    _spent: bool = field(default=False, init=False)

    def redeem(self, plan: CertificatePlan, serial: int) -> None:
        """Use the permit up. Raises PermitSpent the second time, PermitMismatch for anything but its own plan."""
        if self._spent:
            raise PermitSpent(f"the permit of request {self.request_id} is spent")
        self._spent = True
        if plan != self.plan or serial != self.serial:
            raise PermitMismatch(f"the permit of request {self.request_id} is for another plan")


class Issuer(Protocol):
    """A CA that signs plans."""

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> x509.Certificate:
        """Redeem the permit, sign the plan and return the certificate.

        The same request identifier again (with a new permit for the same plan and serial) gives a certificate with
        the same content.

        Raises:
            IssuerRefused: the CA says no, and would again.
            IssuerUnavailable: the CA can't be asked now.
            PermitSpent, PermitMismatch: the caller is at fault; nothing was signed.
        """
        ...

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return the issuing CA's certificate and those above it, root last."""
        ...


class Revoker(Protocol):
    """A CA that must be told when a certificate is revoked: a power of its own, checked when the app is built."""

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:
        """Tell the CA. Idempotent. Raises IssuerRefused or IssuerUnavailable."""
        ...
