"""The addresses at which the status of certificates is found, and putting them into certificates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ca import der
from ca.crl import write_distribution_points
from ca.plan import PlannedExtension
from server.status.records import COMPLETE, Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ca.plan import CertificatePlan

_DISTRIBUTION_POINTS, _ACCESS = "2.5.29.31", "1.3.6.1.5.5.7.1.1"
_OCSP, _ISSUERS = "1.3.6.1.5.5.7.48.1", "1.3.6.1.5.5.7.48.2"
_URI = 0x86


@dataclass(frozen=True, slots=True)
class IssuerAddresses:
    """Where things of one issuer are.

    Attributes:
        issuer: its configured name.
        url: the address of the http listener as relying parties see it.
        shards: over so many lists new certificates are spread; 0: none but the complete list.
    """

    issuer: str
    url: str
    shards: int = 0

    def crl(self, shard: int, *, delta: bool = False) -> str:
        """Return the address of a revocation list."""
        return self.url + crl_path(Scope(self.issuer, shard), delta=delta)

    @property
    def certificate(self) -> str:
        """The address of the issuer's certificate."""
        return f"{self.url}/ca/{self.issuer}.cer"

    @property
    def ocsp(self) -> str:
        """The address of the OCSP responder: one for all issuers."""
        return f"{self.url}/ocsp"

    def extensions(self, serial: int) -> tuple[PlannedExtension, ...]:
        """Return what a certificate with this serial number says about its status; its shard is fixed by this."""
        return _extensions(self, 1 + serial % self.shards if self.shards else COMPLETE)


@lru_cache(maxsize=4096)
def _extensions(addresses: IssuerAddresses, shard: int) -> tuple[PlannedExtension, ...]:
    ways = ((_OCSP, addresses.ocsp), (_ISSUERS, addresses.certificate))
    access = der.sequence(
        *(der.sequence(der.oid(way), der.tlv(_URI, address.encode("ascii"))) for way, address in ways)
    )
    return (
        PlannedExtension(_DISTRIBUTION_POINTS, critical=False, value=write_distribution_points(addresses.crl(shard))),
        PlannedExtension(_ACCESS, critical=False, value=access),
    )


def crl_path(scope: Scope, *, delta: bool = False) -> str:
    """Return the path of a revocation list on the http listener."""
    shard = "" if scope.shard == COMPLETE else f"/{scope.shard}"
    return f"/crl/{scope.issuer}{shard}{'-delta' if delta else ''}.crl"


class Addressing:
    """Puts the addresses of its issuer into each plan; those that the profile forces come first."""

    def __init__(self, issuers: Mapping[str, IssuerAddresses]) -> None:
        """Take the addresses of the issuers that have any, by configured name."""
        self._issuers = issuers

    def __call__(self, plan: CertificatePlan, serial: int) -> CertificatePlan:
        """Return the plan with the addresses for this serial number."""
        addresses = self._issuers.get(plan.issuer)
        if addresses is None:
            return plan
        added = addresses.extensions(serial)
        if plan.extensions:
            forced = {extension.oid for extension in plan.extensions}
            added = plan.extensions + tuple([extension for extension in added if extension.oid not in forced])
        return replace(plan, extensions=added)
