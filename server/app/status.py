"""The status of certificates: which issuers publish it, and how."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ca.ceremony import generate_key
from ca.constraints import permitted_base
from ca.issuer import CrlIssuer, Revoker
from ca.keys import key_shape
from ca.tbs import IssuerProfile
from server.config import LocalIssuerConfig, Pkcs11IssuerConfig
from server.status import routes
from server.status.addresses import Addressing, IssuerAddresses
from server.status.own import OwnCertificates, OwnPlans
from server.status.publisher import Publisher, Publishing
from server.status.responder import Answering, Responder
from server.status.shelf import Shelf
from server.status.teller import Teller

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp import web
    from cryptography import x509

    from ca.issuer import Issuer
    from ca.names import DistinguishedName
    from policies.decision import Decision
    from policies.request import EnrollmentRequest
    from server.app.material import Material
    from server.clock import Clock
    from server.config import Config
    from server.config.status import StatusConfig
    from server.enrollment import Enrollment
    from server.store import Store


@dataclass(frozen=True, slots=True)
class StatusService:
    """What publishes the status of certificates.

    Attributes:
        publisher: makes revocation lists.
        shelf: hands them out.
        teller: tells CAs elsewhere of revocations.
        routes: what the http listener serves.
    """

    publisher: Publisher
    shelf: Shelf
    teller: Teller
    routes: routes.Status

    @classmethod
    def make(
        cls, config: Config, material: Material, enrollment: Enrollment, store: Store, clock: Clock
    ) -> StatusService:
        """Wire the parts. Nothing is made before `start`."""
        issuers = material.issuers
        found = _addresses(config)
        publishing = {
            name: _publishing(issuer, settings, found.get(name))
            for name, settings in _settings(config).items()
            if isinstance(issuer := issuers[name], CrlIssuer)
        }
        shelf = Shelf(store, tuple(publishing))
        chains = {name: issuer.chain for name, issuer in issuers.items()}
        answering = {name: _answering(issuers[name], _settings(config)[name]) for name in publishing}
        bases = {name: _base(issuers[name].chain()) for name in publishing}
        own = OwnCertificates(enrollment.submit, clock, generate_key, material.ocsp_keys, bases)
        responder = Responder(store, answering, own, clock) if answering else None
        publisher = Publisher(store, publishing, clock, secrets.token_hex(8))
        revokers = {name: issuer for name, issuer in issuers.items() if isinstance(issuer, Revoker)}
        teller = Teller(store, revokers, clock)
        return cls(publisher, shelf, teller, routes.Status(shelf, chains, clock, responder))

    def mount(self, app: web.Application) -> None:
        """Mount what is public."""
        routes.mount(app, self.routes)

    def start(self) -> None:
        """Publish from now on."""
        self.publisher.start()
        self.teller.start()
        self.shelf.start()

    async def stop(self) -> None:
        """Stop publishing."""
        await self.publisher.stop()
        await self.teller.stop()
        await self.shelf.stop()


def addressing(config: Config) -> Addressing | None:
    """Return what puts addresses into certificates; None when no issuer has any."""
    found = _addresses(config)
    return Addressing(found) if found else None


def own_plans(
    config: Config, issuers: Mapping[str, Issuer], decide: Callable[[EnrollmentRequest], Decision]
) -> OwnPlans:
    """Return what decides over the server's own certificates, and leaves everything else to the policy."""
    return OwnPlans(
        decide,
        {name: issuer.chain()[0].not_valid_after_utc for name, issuer in issuers.items()},
        {name: each.ocsp.certificate for name, each in _settings(config).items()},
    )


def _base(chain: tuple[x509.Certificate, ...]) -> DistinguishedName:
    """Return under which name the subjects of an issuer's certificates must be."""
    return permitted_base(IssuerProfile.of(chain[0], above=chain[1:]).constraints)


def _answering(issuer: Issuer, settings: StatusConfig) -> Answering:
    """Return how the status of an issuer's certificates is answered, by a key that is no weaker than the issuer's."""
    profile = IssuerProfile.of(issuer.chain()[0])
    kind = key_shape(profile.key).kind
    return Answering(profile, kind if kind.startswith("ml-dsa") else "P-256", settings.ocsp.lifetime)


def _settings(config: Config) -> dict[str, StatusConfig]:
    """Return the settings of the issuers whose lists are signed here."""
    signing = (LocalIssuerConfig, Pkcs11IssuerConfig)
    return {name: issuer.status for name, issuer in config.issuers.items() if isinstance(issuer, signing)}


def _addresses(config: Config) -> dict[str, IssuerAddresses]:
    settings = _settings(config)
    return {
        name: IssuerAddresses(name, each.url, each.crl.shards)
        for name, each in settings.items()
        if each.url is not None
    }


def _publishing(issuer: CrlIssuer, settings: StatusConfig, addresses: IssuerAddresses | None) -> Publishing:
    crl = settings.crl
    return Publishing(
        issuer=issuer,
        every=crl.every,
        lifetime=crl.lifetime,
        after_revocation=crl.after_revocation,
        shards=crl.shards,
        delta=crl.delta,
        addresses=addresses,
    )
