"""Answering OCSP requests (RFC 6960): from the record, by a delegated responder for each issuer."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from cryptography.x509 import ReasonFlags

from ca.issuer import IssuerError
from ca.ocsp import (
    Answer,
    Failure,
    MalformedRequest,
    Revoked,
    Validity,
    issuer_hashes,
    parse_request,
    write_failure,
)
from server.status import records
from server.status.own import NoResponder
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ca.ocsp import CertId, Request
    from ca.tbs import IssuerProfile
    from server.clock import Clock
    from server.status.own import OwnCertificates, Responding
    from server.store import Store

REMEMBERED = 20_000
"""Answers without nonce that are kept, the most recently used."""
PAUSE = timedelta(seconds=30)
"""After a failure to get a responder's certificate, none is asked for so long."""
_log = structlog.get_logger("server.status")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        der: the OCSPResponse.
        validity: for caches; None when only this requester may have it.
        result: for the event.
    """

    der: bytes
    validity: Validity | None = None
    result: str = "answered"


@dataclass(frozen=True, slots=True)
class Answering:
    """How answers about one issuer's certificates are made.

    Attributes:
        issuer: the CA.
        kind: the kind of the responder's key.
        lifetime: of an answer.
    """

    issuer: IssuerProfile
    kind: str
    lifetime: timedelta


@dataclass(slots=True)
class _Desk:
    """One issuer's responder, with its certificate of the moment."""

    settings: Answering
    responding: Responding | None = None
    not_before_retry: datetime | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True)
class _Kept:
    answers: tuple[Answer, ...]
    der: bytes
    validity: Validity
    renew_after: datetime


class Responder:
    """Answers for all issuers.

    Args:
        store: the record.
        issuers: how answers are made, by configured name.
        own: gets responder certificates.
        clock: tells the time.
    """

    def __init__(self, store: Store, issuers: Mapping[str, Answering], own: OwnCertificates, clock: Clock) -> None:
        self._store = store
        self._desks = {name: _Desk(settings) for name, settings in issuers.items()}
        self._names = {way: name for name, each in issuers.items() for way in issuer_hashes(each.issuer)}
        self._own = own
        self._clock = clock
        self._kept: OrderedDict[tuple[bytes, ...], _Kept] = OrderedDict()

    async def answer(self, data: bytes) -> Reply:
        """Return the answer to the octets of a request. Never raises for what comes from outside, or for trouble."""
        try:
            request = parse_request(data)
        except MalformedRequest as error:
            return Reply(write_failure(Failure.MALFORMED_REQUEST), result=f"malformed: {error}")
        issuers = {self._names.get((one.digest or "", one.issuer)) for one in request.certificates}
        issuer = issuers.pop()
        if issuer is None or issuers:  # a responder speaks for its own issuer only (RFC 6960 section 4.2.2.2)
            return Reply(write_failure(Failure.UNAUTHORIZED), result="foreign issuer")
        try:
            return await self._answer(request, issuer)
        except (StoreUnavailable, NoResponder, IssuerError) as error:
            _log.warning("ocsp_trouble", issuer=issuer, detail=str(error))
            return self._fall_back(request)

    async def _answer(self, request: Request, issuer: str) -> Reply:
        now = self._clock().replace(microsecond=0)
        answers = await self._look_up(issuer, request.certificates)
        key = _key(request)
        kept = self._kept.get(key)
        fresh = kept is not None and kept.validity.this_update <= now < kept.renew_after
        if request.nonce is None and kept is not None and kept.answers == answers and fresh:
            self._kept.move_to_end(key)
            return Reply(kept.der, kept.validity)
        desk = self._desks[issuer]
        responding = await self._responding(issuer, desk, now)
        validity = Validity(now, min(now + desk.settings.lifetime, responding.not_after))
        octets = await responding.write(answers, validity, request.nonce)
        if request.nonce is not None:
            return Reply(octets)
        half = now + (validity.next_update - now) / 2
        self._kept[key] = _Kept(answers, octets, validity, half)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)
        return Reply(octets, validity)

    def _fall_back(self, request: Request) -> Reply:
        """Return what was said last, while it is good and nobody asks for something fresh."""
        kept = self._kept.get(_key(request))
        now = self._clock().replace(microsecond=0)
        good = kept is not None and kept.validity.this_update <= now < kept.validity.next_update
        if request.nonce is None and kept is not None and good:
            return Reply(kept.der, kept.validity, result="kept")
        return Reply(write_failure(Failure.TRY_LATER), result="try later")

    async def _look_up(self, issuer: str, wanted: tuple[CertId, ...]) -> tuple[Answer, ...]:
        serials = [one.serial for one in wanted]
        found = await self._store.read(lambda connection: records.statuses(connection, issuer, serials))
        return tuple(_answer(one, found) for one in wanted)

    async def _responding(self, issuer: str, desk: _Desk, now: datetime) -> Responding:
        """Return the responder's certificate, a new one when half of its time is over and one can be had.

        While one request gets it, which takes long where the CA hangs, the others have the one before.
        """
        current = desk.responding
        if desk.lock.locked() and current is not None and current.not_before <= now < current.not_after:
            return current
        async with desk.lock:
            current = desk.responding
            if current is not None and now < current.not_before:
                current = None  # from under a clock that was wrong
            if current is not None and now < current.not_before + (current.not_after - current.not_before) / 2:
                return current
            usable = current is not None and now < current.not_after
            if desk.not_before_retry is None or not now < desk.not_before_retry <= now + PAUSE:
                try:
                    current = desk.responding = await self._own.responder(issuer, desk.settings.kind)
                except NoResponder:
                    desk.not_before_retry = now + PAUSE
                    if not usable:
                        raise
                    _log.warning("ocsp_certificate_not_renewed", issuer=issuer)
                else:
                    self._kept.clear()  # what is signed by the one before would outlive it
                    return current
            if current is None or not usable:
                raise NoResponder(f"the OCSP responder of {issuer} has no certificate")
            return current


def _key(request: Request) -> tuple[bytes, ...]:
    return tuple(one.raw for one in request.certificates)


def _answer(one: CertId, found: Mapping[int, records.Status]) -> Answer:
    status = found.get(one.serial)
    if status is None:
        return Answer(one, None, known=False)
    if status.revoked_at is None:
        return Answer(one, None)
    return Answer(one, Revoked(status.revoked_at, ReasonFlags(status.reason)))
