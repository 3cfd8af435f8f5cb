"""The protocols, each on its listener."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.acme import routes as acme
from server.app.acme import (
    acme_origins,
    acme_profiles,
    external_accounts,
    hard_for_clients,
    proofs,
    proofs_by_profile,
    rate_limits,
    roots_of,
)
from server.app.alternate_chains import load_alternate_chains
from server.app.cmc import responder
from server.app.est import expected_at, judging, keeping, key_generator
from server.app.peers import Peers
from server.app.scep import authorizers
from server.app.secret_sources import Reader
from server.app.trust import load_trust
from server.est import routes as est
from server.ordered import ordered_id
from server.scep import pages as scep_pages
from server.scep import routes as scep
from server.scep.ra_renewal import RaFolder, RaRenewal
from server.scep.ra_watch import RaWatch
from server.scep.superseded import Superseded
from server.status.records import Scope
from server.successors import Successors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiohttp import web
    from cryptography import x509

    from server.acme.nonces import Nonces
    from server.app.material import Material
    from server.app.status import StatusService
    from server.clock import Clock
    from server.config import Config
    from server.credentials import Credentials
    from server.enrollment import Enrollment
    from server.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """What every protocol stands on.

    Attributes:
        config: the configuration.
        material: what it names, loaded.
        store: the record.
        enrollment: the one door to the signer.
        credentials: judges evidence.
        nonces: those of ACME.
        clock: tells the time.
        status: publishes the status of certificates.
    """

    config: Config
    material: Material
    store: Store
    enrollment: Enrollment
    credentials: Credentials
    nonces: Nonces
    clock: Clock
    status: StatusService

    def chain(self, issuer: str | None) -> Callable[[], tuple[x509.Certificate, ...]]:
        """Return what gives the chain of an issuer; None is the only one."""
        issuers = self.material.issuers
        return issuers[issuer].chain if issuer is not None else next(iter(issuers.values())).chain

    def issuing(self) -> tuple[x509.Certificate, ...]:
        """Return the issuing CAs' own certificates."""
        return tuple(issuer.chain()[0] for issuer in self.material.issuers.values())

    def current_crl(self, preferred: str | None) -> Callable[[bytes], bytes | None]:
        """Return what gives the newest revocation list of the issuer with an encoded name, None for none.

        Of several with one name it is that of the preferred one.
        """
        names = sorted(self.material.issuers, key=lambda name: name != preferred)

        def current(wanted: bytes) -> bytes | None:
            return next((crl for name in names if (crl := self._crl_as(name, wanted)) is not None), None)

        return current

    def _crl_as(self, issuer: str, wanted: bytes) -> bytes | None:
        is_meant = self.material.issuers[issuer].chain()[0].subject.public_bytes() == wanted
        return self.status.shelf.current_crl(issuer) if is_meant else None

    def newest_crl(self, issuer: str | None) -> Callable[[], Awaitable[bytes | None]]:
        """Return what reads the newest revocation list of an issuer on record; None is the only one."""
        scope = Scope(issuer if issuer is not None else next(iter(self.material.issuers)))

        async def newest() -> bytes | None:
            item = await self.status.shelf.get(scope)
            return item.der if item is not None else None

        return newest


def mount(listener: str, app: web.Application, services: Services, endpoints: Mapping[str, scep.ScepEndpoint]) -> None:
    """Mount what belongs on a listener.

    Args:
        listener: its name.
        app: its application.
        services: what the protocols stand on.
        endpoints: those of SCEP by label, the same for all listeners.
    """
    served = {name.label for name, config in services.config.endpoints.scep.items() if config.https}
    if listener == "https":
        _mount_est(app, services)
        _mount_scep_pages(app, services)  # before SCEP, which takes every path below its own
        _mount_acme(app, services, acme_origins(services.config.listeners, "https"))
    elif listener == "proxied":
        _mount_est(app, services)
        _mount_acme(app, services, acme_origins(services.config.listeners, "proxied"))
    elif listener == "http":
        served = set(endpoints)
        services.status.mount(app)
    if served and listener != "admin":
        scep.mount(app, endpoints, served)


def _mount_est(app: web.Application, services: Services) -> None:
    endpoints = {
        name.label: est.EstEndpoint(
            label=name.label,
            config=config,
            enrollment=services.enrollment,
            credentials=services.credentials,
            chain=services.chain(config.issuer),
            clock=services.clock,
            expected=expected_at(name, services.config, services.material.policies),
            judging=judging(services.config, services.material.policies),
            links=load_trust(name, services.config, Reader(services.config), services.chain(config.issuer)()),
            newest_crl=services.newest_crl(config.issuer),
            responder=responder(name, services.config, services.material.tls),
            peers=Peers(config.eecerts, services.store, services.clock) if config.eecerts else None,
            generator=key_generator(name, services.config, services.material.tls, services.material.policies.select),
            generated=est.GeneratedKeys(
                endpoint=name,
                store=services.store,
                enrollment=services.enrollment,
                escrows=keeping(services.material.policies),
            ),
        )
        for name, config in services.config.endpoints.est.items()
    }
    if endpoints:
        est.mount(app, endpoints)


def _mount_scep_pages(app: web.Application, services: Services) -> None:
    pages = {
        name.label: scep_pages.OtpPage(
            endpoint=name,
            expires=config.challenge.page.expires,
            store=services.store,
            credentials=services.credentials,
            chain=services.chain(config.issuer),
            clock=services.clock,
        )
        for name, config in services.config.endpoints.scep.items()
        if config.challenge is not None and config.challenge.page is not None
    }
    if pages:
        scep_pages.mount(app, pages)


def scep_endpoints(services: Services) -> Mapping[str, scep.ScepEndpoint]:
    """Return the SCEP endpoints by label."""
    return {
        name.label: scep.ScepEndpoint(
            label=name.label,
            config=config,
            store=services.store,
            enrollment=services.enrollment,
            credentials=services.credentials,
            keys=services.material.ra_keys[name],
            proxies=services.material.scep_proxies[name],
            authorizers=authorizers(config, services.material.scep_secrets[name], services.credentials, services.clock),
            chain=services.chain(config.issuer),
            clock=services.clock,
            nonce=lambda: secrets.token_bytes(16),
            current_crl=services.current_crl(config.issuer),
        )
        for name, config in services.config.endpoints.scep.items()
    }


def scep_rounds(services: Services) -> tuple[RaRenewal | RaWatch | Superseded, ...]:
    """Return what SCEP endpoints look after once an hour."""
    reader = Reader(services.config)
    found: list[RaRenewal | RaWatch | Superseded] = [
        RaWatch(name, services.material.ra_keys[name], services.clock) for name in services.config.endpoints.scep
    ]
    for name, config in services.config.endpoints.scep.items():
        if config.revoke_renewed is not None:
            found.append(
                Superseded(
                    endpoint=name,
                    after=config.revoke_renewed,
                    store=services.store,
                    enrollment=services.enrollment,
                    clock=services.clock,
                )
            )
    for name, config in services.config.endpoints.scep.items():
        renewal, file = config.ra_renewal, config.ra.passphrase_file
        if renewal is None:
            continue
        path = ("endpoints", str(name), "ra", "passphrase_file")
        passphrase = reader.file(path, file).rstrip(b"\r\n") if file is not None else None
        found.append(
            RaRenewal(
                endpoint=name,
                profile=renewal.profile,
                before=renewal.before,
                folder=RaFolder(Successors(renewal.folder, passphrase or None), same_key=config.ra.hsm is not None),
                keys=services.material.ra_keys[name],
                enrollment=services.enrollment,
                clock=services.clock,
            )
        )
    return tuple(found)


def _mount_acme(app: web.Application, services: Services, origins: tuple[str, ...]) -> None:
    endpoints = {
        name.label: acme.AcmeEndpoint(
            label=name.label,
            external_urls=origins,
            store=services.store,
            enrollment=services.enrollment,
            nonces=services.nonces,
            challenges=(shown := proofs(config, roots_of(name, services.config))).challenges,
            caa=shown.caa,
            issuer_names=shown.issuer_names,
            by_profile=proofs_by_profile(config, roots_of(name, services.config)),
            limits=rate_limits(config.rate_limits),
            pre_authorization=config.pre_authorization,
            subdomains=config.subdomains,
            keep_orders=config.keep_orders,
            short_signatures=config.short_signatures,
            terms_of_service=config.terms_of_service or "",
            changed_terms=config.changed_terms or "",
            website=config.website or "",
            alternate_chains=load_alternate_chains(name, services.config, Reader(services.config), services.issuing()),
            clock=services.clock,
            new_id=lambda: ordered_id(services.clock(), secrets.token_bytes(10)),
            objections_to_names=services.material.policies.objections_to_names,
            profiles=acme_profiles(config.profiles, services.material.policies),
            renewal_check=config.renewal_check,
            external_accounts=external_accounts(name, services.config, Reader(services.config)),
        )
        for name, config in services.config.endpoints.acme.items()
    }
    modes = {name.label: config.danger_test_mode for name, config in services.config.endpoints.acme.items()}
    if endpoints:
        acme.mount(app, {label: hard_for_clients(each, modes[label]) for label, each in endpoints.items()})
