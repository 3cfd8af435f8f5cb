"""Looking at what the store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.outcome import Issued, Outcome, Problem, Refused
from server.store.certificates import StoredCertificate, list_certificates
from server.store.requests import StoredRequest, list_events, list_requests

if TYPE_CHECKING:
    from server.store import Store


async def stored(store: Store) -> tuple[StoredCertificate, ...]:
    return await store.read(list_certificates)


async def asked(store: Store) -> tuple[StoredRequest, ...]:
    return await store.read(list_requests)


async def actions(store: Store, request_id: str) -> list[str]:
    return [row.action for row in await store.read(lambda c: list_events(c, request_id))]


def issued(outcome: Outcome) -> Issued:
    assert isinstance(outcome, Issued), outcome
    return outcome


def problem(outcome: Outcome) -> Problem:
    assert isinstance(outcome, Refused), outcome
    return outcome.problem
