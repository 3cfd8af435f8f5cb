"""A CA that numbers its certificates itself and takes its time, as remote CAs do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ca.issuer import IssuerPending, Latitude, Permit

if TYPE_CHECKING:
    from cryptography import x509

    from ca.issuer import Issuer
    from ca.plan import CertificatePlan


class SlowCa:
    """Says "later" as often as `waits` says, then signs with the issuer inside, under the serial number `number`.

    Before all that it raises each of `failures` once.
    """

    def __init__(self, inner: Issuer, *, waits: int = 0, number: int = 0xF0) -> None:
        self.inner, self.waits, self.number = inner, waits, number
        self.permits: list[Permit] = []
        self.changes: dict[str, object] = {}
        self.failures: list[Exception] = []

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        permit.redeem(plan, serial)
        self.permits.append(permit)
        if self.failures:
            raise self.failures.pop(0)
        if self.waits:
            self.waits -= 1
            raise IssuerPending(7, f"ticket/{permit.request_id}")
        signed = replace(plan, **self.changes)  # type: ignore[arg-type] # a test that mistypes a field fails anyway
        return await self.inner.issue(Permit(permit.request_id, signed, self.number), signed, self.number)

    def chain(self) -> tuple[x509.Certificate, ...]:
        return self.inner.chain()

    def latitude(self) -> Latitude:
        return Latitude(serial=True)
