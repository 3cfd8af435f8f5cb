"""The application of one process: built from the configuration, started, stopped."""

from __future__ import annotations

import asyncio
import os
import secrets
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import sqlalchemy as sa
import structlog

from ca.issuer import ClosingIssuer
from ca.lint import Linter
from policies.document import DocumentErrors
from server.acme.nonces import open_nonces, share
from server.app import protocols
from server.app.changed_configuration import look_at_configuration
from server.app.lookups import Gatherer
from server.app.protocols import Services
from server.app.replaced import Replaced
from server.app.status import StatusService, addressing, own_plans
from server.app.tls_renewal import TlsPlans, TlsRenewal
from server.clock import system_clock
from server.config import UnavailableNow
from server.credentials import Credentials
from server.enrollment import Enrollment
from server.http import create_app
from server.listener import Listener
from server.ordered import SERIAL_RANDOM_BITS, ordered_id, ordered_serial_number
from server.rounds import again_and_again
from server.sampling import Sampling
from server.store import SchemaOutdated, Store, StoreUnavailable
from server.store.database import database_file
from server.store.obstacles import obstacle

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from aiohttp import web

    from policies.decision import Decision
    from policies.request import EnrollmentRequest
    from server.acme.nonces import Nonces
    from server.app.material import Material
    from server.clock import Clock
    from server.config import Config
    from server.scep.service import ScepEndpoint

_ROUND_SECONDS = 3600
_log = structlog.get_logger("server.app")


class Application:
    """Everything of one process that answers. Made by `Application.build`.

    Attributes:
        services: what the protocols stand on.
    """

    def __init__(self, services: Services, listeners: Mapping[str, Listener], scep: Mapping[str, ScepEndpoint]) -> None:
        self.services = services
        self._scep = scep
        self._listeners = listeners
        self._status = services.status
        replaced = Replaced(services.material.policies, services.store, services.enrollment, services.clock)
        self._hourly = (*protocols.scep_rounds(services), replaced, *_tls_renewal(services))
        self._rounds: list[asyncio.Task[None]] = []

    @classmethod
    async def build(
        cls,
        config: Config,
        material: Material,
        sockets: Mapping[str, socket.socket],
        *,
        ledger: Path | None = None,
        clock: Clock = system_clock,
    ) -> Application:
        """Open the store and wire the parts.

        Args:
            config: the configuration.
            material: what it names, loaded.
            sockets: a bound socket for each configured listener.
            ledger: the file of redeemed nonces that several processes share; None for a single one.
            clock: tells the time.

        Raises:
            DocumentErrors: the database can't be used, as UnavailableNow where that may pass.
        """
        try:
            store = await Store.open(config.database_url)
        except (SchemaOutdated, StoreUnavailable, ValueError, sa.exc.DBAPIError) as error:
            raise _unusable(config, error) from error
        try:
            nonces = open_nonces(ledger, lambda: int(monotonic()))
            services = _services(config, material, store, nonces, clock)
            scep = protocols.scep_endpoints(services)
            return cls(services, _listeners(services, sockets, scep), scep)
        except BaseException:  # the store's threads would keep the process from ending
            await store.close()
            raise

    async def start(self) -> None:
        """Finish what a crash left half-done, then answer. Raises DocumentErrors when the database does not let it."""
        try:
            left = await self.services.enrollment.recover()
        except StoreUnavailable as error:
            raise _unusable(self.services.config, error) from error
        if left:
            _log.warning("finished what an earlier process left half-done", requests=left)
        await self.services.material.secrets.begin()
        await self.services.material.policies.begin()
        if self.services.material.tls is not None:
            await self.services.material.tls.begin()
        for each in self._hourly:
            await each.check()
            kind = type(each).__name__
            rounds = again_and_again(each.check, _ROUND_SECONDS, "round_failed", first=_ROUND_SECONDS, kind=kind)
            self._rounds.append(asyncio.create_task(rounds))
        # Who starts soon after a crash finds its leases still going on.
        leases_end = _lease(self.services.config).total_seconds() + 1
        rest = partial(take_up, partial(self.services.enrollment.recover, abandoned=True))
        rounds = again_and_again(rest, _ROUND_SECONDS, "what was left half-done stays so for now", first=leases_end)
        self._rounds.append(asyncio.create_task(rounds))
        self._rounds.append(asyncio.create_task(self.services.material.secrets.watch()))
        self._rounds.append(asyncio.create_task(self.services.material.policies.watch()))
        if self.services.material.tls is not None:
            self._rounds.append(asyncio.create_task(self.services.material.tls.watch()))
        self._status.start()
        for listener in self._listeners.values():
            await listener.start()

    def reload(self) -> None:
        """Read passwords, challenges, the policy files and the TLS certificate anew, beside what is going on.

        The configuration stays; that it has changed, and what is wrong with it now, is logged.
        """
        self._rounds = [task for task in self._rounds if not task.done()]
        self._rounds.append(asyncio.create_task(self._reload()))

    async def _reload(self) -> None:
        look_at_configuration(self.services.config)
        await self.services.material.secrets.reload()
        await self.services.material.policies.reload()
        if self.services.material.tls is not None:
            await self.services.material.tls.reload()

    async def stop(self) -> None:
        """Finish the requests in flight within the configured time, then close everything, whatever fails on the way.

        A store that is left open keeps the process from ending, with nobody served.
        """
        services = self.services
        async with AsyncExitStack() as stack:  # the last one first
            stack.push_async_callback(services.store.close)
            for issuer in services.material.issuers.values():
                if isinstance(issuer, ClosingIssuer):
                    stack.push_async_callback(issuer.close)
            for source in services.material.lookups.values():
                stack.push_async_callback(source.close)
            stack.callback(services.nonces.close)
            stack.callback(services.credentials.close)
            for endpoint in self._scep.values():
                stack.push_async_callback(endpoint.close)
            stack.push_async_callback(services.enrollment.drain)
            stack.push_async_callback(self._status.stop)
            for task in self._rounds:
                stack.callback(task.cancel)
            await asyncio.gather(*(listener.stop() for listener in self._listeners.values()))


async def take_up(recover: Callable[[], Awaitable[int]]) -> None:
    """Finish what was left half-done; see `Enrollment.recover`."""
    left = await recover()
    if left:
        _log.warning("took up what was left half-done", requests=left)


def _unusable(config: Config, error: Exception) -> DocumentErrors:
    """Return what is told about a database that can't be used: a lock or a full disk passes, the rest is mended."""
    passes = isinstance(error, StoreUnavailable) and obstacle(database_file(config.database_url)) is None
    kind = UnavailableNow if passes else DocumentErrors
    return kind([config.problem(("database",), f"{config.database}: {error}")])


def _services(config: Config, material: Material, store: Store, nonces: Nonces, clock: Clock) -> Services:
    enrollment = Enrollment(
        store=store,
        decide=own_plans(config, material.issuers, _tls_plans(config, material)).decide,
        gather=Gatherer(store, material.policies, material.lookups),
        issuers=material.issuers,
        linter=Linter("shape"),
        clock=clock,
        serial_number=lambda: ordered_serial_number(clock(), secrets.randbits(SERIAL_RANDOM_BITS)),
        request_id=lambda: ordered_id(clock(), secrets.token_bytes(5)),
        amend=addressing(config),
        lease=_lease(config),
        sample=Sampling(Linter("always").examine).offer,
    )
    credentials = Credentials(
        store=store,
        endpoints=material.authenticators,
        issuers={name: issuer.chain()[0] for name, issuer in material.issuers.items()},
        clock=clock,
        seconds=monotonic,
        key=secrets.token_bytes(32),
    )
    status = StatusService.make(config, material, enrollment, store, clock)
    return Services(config, material, store, enrollment, credentials, nonces, clock, status)


def _tls_plans(config: Config, material: Material) -> Callable[[EnrollmentRequest], Decision]:
    """Return what decides over the certificate of the https listener, and leaves everything else to the policy."""
    https, decide = config.listeners.https, material.policies.decide
    if https is None or https.renewal is None:
        return decide
    end = material.issuers[https.renewal.issuer].chain()[0].not_valid_after_utc
    return TlsPlans(decide, https.renewal.issuer, end, https.renewal.lifetime).decide


def _tls_renewal(services: Services) -> Iterator[TlsRenewal]:
    https, tls = services.config.listeners.https, services.material.tls
    folder = services.material.tls_folder
    if https is not None and https.renewal is not None and tls is not None and folder is not None:
        yield TlsRenewal(tls, folder, https.renewal.before, services.enrollment.submit, services.clock)


def _lease(config: Config) -> timedelta:
    """Return for how long an intent belongs to the process that works on it: longer than any issuer takes."""
    return timedelta(seconds=max(10.0, *(issuer.longest_seconds + 5 for issuer in config.issuers.values())))


def _listeners(
    services: Services, sockets: Mapping[str, socket.socket], scep: Mapping[str, ScepEndpoint]
) -> Mapping[str, Listener]:
    limits = services.config.limits

    async def readiness() -> Mapping[str, str]:
        material = services.material
        parts = {"store": "ok", "policies": material.policies.state, "secrets": material.secrets.state}
        if material.tls is not None:
            parts["tls"] = material.tls.state
        try:
            await services.store.read(lambda connection: connection.execute(sa.select(1)).scalar_one())
        except StoreUnavailable:
            parts["store"] = "the database does not answer"
        return parts

    listeners = {}
    for name, sock in sockets.items():
        proxied = services.config.listeners.proxied if name == "proxied" else None
        # Only the admin listener, which is on loopback, says more than yes or no.
        told = services.config.file.resolve() if name == "admin" else None
        app: web.Application = create_app(name, limits, readiness, _request_id, configuration=told, proxied=proxied)
        protocols.mount(name, app, services, scep)
        tls = services.material.tls if name == "https" else None
        listeners[name] = Listener(name, app, limits, sock, None if tls is None else tls.context)
    return listeners


def shared_ledger(config: Config) -> tuple[Path, int]:
    """Return where the servers on one database share what nonces were redeemed, and a descriptor to be held open.

    It is new when no other server is there; see `server.acme.nonces.share`.
    """
    file = database_file(config.database_url)
    ledger = file.with_name(f"{file.name}-nonces")
    held = share(ledger)
    with suppress(OSError):  # as SQLite has it: what root has run once must not keep the database's owner out
        owner = file.stat()
        os.fchown(held, owner.st_uid, owner.st_gid)
    return ledger, held


def _request_id() -> str:
    return secrets.token_hex(10)
