"""Renewing the server's own TLS certificate through the one door, before it ends."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.csr import parse_csr
from ca.plan import CertificatePlan, KeyUsage
from policies.decision import Approved, Trace
from policies.request import EndpointName, EnrollmentRequest, Kind, Protocol, Requester
from server.app.live_tls import request_for
from server.outcome import Issued

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from policies.decision import Decision
    from server.app.live_tls import LiveTls, TlsFolder
    from server.clock import Clock
    from server.outcome import Outcome

PROFILE = "tls-listener"
HTTPS = EndpointName(Protocol.TLS, "https")
CMC_RA = "1.3.6.1.5.5.7.3.28"
"""id-kp-cmcRA: what EST clients may look for (RFC 7030 section 3.6.1)."""
_BACKDATE = timedelta(minutes=5)
_DIGEST = hashlib.sha256(b"certwright: the certificate of the https listener, 1").hexdigest()
_log = structlog.get_logger("server.app")


@dataclass(frozen=True, slots=True)
class TlsPlans:
    """Decides over the server's own TLS certificate, and leaves everything else to the policy.

    Attributes:
        inner: the policy.
        issuer: the configured name of the CA that signs it.
        end: when that CA's certificate ends.
        lifetime: of the certificate.
    """

    inner: Callable[[EnrollmentRequest], Decision]
    issuer: str
    end: datetime
    lifetime: timedelta

    def decide(self, request: EnrollmentRequest) -> Decision:
        """Return what is to be signed, or why nothing is."""
        if request.endpoint != HTTPS:
            return self.inner(request)
        now = request.now.replace(microsecond=0)
        plan = CertificatePlan(
            issuer=self.issuer,
            profile=PROFILE,
            policy_digest=_DIGEST,
            subject=request.csr.subject,
            names=request.csr.names,
            spki=request.csr.spki,
            not_before=now - _BACKDATE,
            not_after=min(now + self.lifetime, self.end),
            key_usage=frozenset({KeyUsage.DIGITAL_SIGNATURE}),
            extended_key_usage=(ExtendedKeyUsageOID.SERVER_AUTH.dotted_string, CMC_RA),
        )
        return Approved(plan, Trace(PROFILE, _DIGEST))


@dataclass(frozen=True, slots=True)
class TlsRenewal:
    """Keeps the certificate of the https listener from expiring.

    Attributes:
        tls: the pair in force.
        folder: where new pairs go.
        before: how long before its end a certificate is renewed.
        submit: the one door.
        clock: tells the time.
    """

    tls: LiveTls
    folder: TlsFolder
    before: timedelta
    submit: Callable[[EnrollmentRequest], Awaitable[Outcome]]
    clock: Clock

    async def check(self) -> None:
        """Take up what another process got; renew when it is time. Failures are logged, the next check tries again."""
        await self.tls.reload()
        served = self.tls.served
        now = self.clock()
        if now < served.chain[0].not_valid_after_utc - self.before:
            return
        serial = served.chain[0].serial_number
        try:
            csr = parse_csr(request_for(served, self.folder.key(served)))
            requester = Requester("certwright", ())
            key = f"{HTTPS} after {serial:x}"
            request = EnrollmentRequest(key, Kind.ENROLL, HTTPS, None, csr, requester, now)
            outcome = await self.submit(request)
            if not isinstance(outcome, Issued):
                _log.error("TLS certificate not renewed", outcome=repr(outcome))
                return
            above = [each for each in outcome.chain if each.subject != each.issuer]
            self.folder.keep(served, [x509.load_der_x509_certificate(outcome.certificate), *above])
        except (OSError, ValueError, TypeError) as error:
            _log.error("TLS certificate not renewed", cause=str(error))
            return
        await self.tls.reload()
