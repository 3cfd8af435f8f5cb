"""The issuing boundary: what any CA behind Certwright must do, and how it may fail.

A backend signs a plan and never sees a request. It gets a `Permit`, which can be redeemed once and only for the plan
it was made for; the enrollment door makes permits, after the intent is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from ca.crl import RevocationList
    from ca.plan import CertificatePlan


class IssuerError(Exception):
    """The issuer did not issue. The text is for administrators, never for the requester."""


class IssuerConfigurationError(IssuerError):
    """An issuer can't be set up from what is configured. The text says what to mend."""


class IssuerKeyUnusable(IssuerConfigurationError):
    """The private key can't be opened, or belongs to another certificate."""


class IssuerRefused(IssuerError):
    """The CA understood and refused: trying the same again is pointless."""


class NothingSigned(IssuerRefused):
    """The CA refused for good, and has signed nothing for this request in any earlier attempt either."""


class AnswerUnusable(IssuerRefused):
    """The CA answered, and not with a certificate that can be used: it may have signed one all the same."""


class IssuerUnavailable(IssuerError):
    """The CA did not answer, or not in time: the same request may succeed later."""


class IssuerPending(IssuerError):
    """The CA has taken the request and needs time, or a person: ask again with the reference.

    Attributes:
        retry_after: seconds after which asking again makes sense.
        reference: what the CA calls the request; it comes back in the next permit for the same plan.
    """

    def __init__(self, retry_after: int, reference: str) -> None:
        super().__init__(f"the CA asks to come back in {retry_after} s ({reference})")
        self.retry_after = retry_after
        self.reference = reference


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
        csr: DER of the request whose proof of possession was verified, for CAs that want to see it themselves.
        reference: what the CA called this request when it was pending; None at first.
        renews: the serial number of the certificate that this one renews, None for a new one.
    """

    request_id: str
    plan: CertificatePlan
    serial: int
    csr: bytes | None = None
    reference: str | None = None
    renews: int | None = None
    _spent: bool = field(default=False, init=False)

    def redeem(self, plan: CertificatePlan, serial: int) -> None:
        """Use the permit up. Raises PermitSpent the second time, PermitMismatch for anything but its own plan."""
        if self._spent:
            raise PermitSpent(f"the permit of request {self.request_id} is spent")
        self._spent = True
        if plan != self.plan or serial != self.serial:
            raise PermitMismatch(f"the permit of request {self.request_id} is for another plan")


@dataclass(frozen=True, slots=True)
class Latitude:
    """What a CA that builds certificates itself may choose; one that signs our octets has none.

    Attributes:
        serial: whether it numbers its certificates itself.
        clock: by how much the validity may begin and end before or after what was planned.
        shorter: whether the validity may end earlier than that.
        extensions: types of non-critical extensions that it may add, in dotted form.
        subject: whether it may leave the subject empty, or put nothing but one of the names there.
        constraints: whether it may leave basicConstraints out, or not critical, in what is not a CA certificate.
    """

    serial: bool = False
    clock: timedelta = timedelta()
    shorter: bool = False
    extensions: frozenset[str] = frozenset()
    subject: bool = False
    constraints: bool = False


NO_LATITUDE = Latitude()


class Issuer(Protocol):
    """A CA that signs plans."""

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        """Redeem the permit, sign the plan and return the certificate, DER: it is for others to read.

        The same request identifier again (with a new permit for the same plan and serial) gives a certificate with
        the same content.

        Raises:
            IssuerRefused: the CA says no, and would again; it has signed nothing now, unless it is `AnswerUnusable`.
            IssuerUnavailable: the CA can't be asked now.
            IssuerPending: the CA needs time.
            PermitSpent, PermitMismatch: the caller is at fault; nothing was signed.
        """
        ...

    def chain(self) -> tuple[x509.Certificate, ...]:
        """Return the issuing CA's certificate and those above it, root last."""
        ...


@runtime_checkable
class CrlIssuer(Protocol):
    """A CA whose revocation lists are signed here; a power of its own. A CA elsewhere publishes its own."""

    async def sign_crl(self, content: RevocationList) -> bytes:
        """Return the DER of the signed list. Raises IssuerUnavailable."""
        ...


@runtime_checkable
class Revoker(Protocol):
    """A CA that must be told when a certificate is revoked: a power of its own, checked when the app is built."""

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:
        """Tell the CA. Idempotent. Raises IssuerRefused or IssuerUnavailable."""
        ...


@runtime_checkable
class RemoteIssuer(Protocol):
    """What a CA beyond our octets says besides; a power of its own."""

    def latitude(self) -> Latitude:
        """Return what it may choose by itself."""
        ...


@runtime_checkable
class ClosingIssuer(Protocol):
    """An issuer that holds connections or processes; a power of its own."""

    async def close(self) -> None:
        """Give them back. The issuer is not used afterwards."""
        ...
