"""The secrets with which certificates are revoked: kept once, with the request, and found for its certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from policies.request import EndpointName
from server.credentials.hashes import SecretVerifier, TooManyVerifications
from server.credentials.revoking import RevocationChallenges
from server.outcome import Issued, Pending, Problem, Reason
from server.store import Store, StoreUnavailable
from server.store.credentials import CredentialKind, find_for_certificate, list_credentials
from server.store.requests import list_events
from tests.fakes.credential import EST, credential, keep
from tests.fakes.database import empty_database
from tests.fakes.manufacturer import make
from tests.fakes.stored_certificate import stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.store.certificates import StoredCertificate

NOW = datetime(2026, 11, 21, tzinfo=UTC)
LEAF = make("pump").certificate
WAITING = Pending("first", 60)


class _NoStore:
    async def read(self, work: object) -> object:
        raise StoreUnavailable("gone")


class _Crowded:
    async def hash(self, secret: str) -> str:
        raise TooManyVerifications


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(empty_database(tmp_path / "certwright.db"))
    yield store
    await store.close()


@pytest.fixture
def challenges(store: Store) -> RevocationChallenges:
    return RevocationChallenges(store, SecretVerifier(b"k" * 32), lambda: NOW)


def issued(request_id: str = "first") -> Issued:
    return Issued(LEAF.public_bytes(Encoding.DER), (), request_id)


def certificate(request_id: str = "first", **fields: Any) -> StoredCertificate:
    return stored(LEAF.serial_number, request_id=request_id, **fields)


def reason(found: object) -> Reason:
    assert isinstance(found, Problem), found
    return found.reason


async def test_what_came_with_a_request_that_waits_is_found_for_its_certificate_alone(
    challenges: RevocationChallenges,
) -> None:
    assert await challenges.keep(EST, WAITING, "when all is lost", "password:pump") is None
    assert (await challenges.hash_of(certificate()) or "").startswith("$argon2id$")
    assert await challenges.hash_of(certificate("second")) is None
    assert await challenges.hash_of(certificate(endpoint=EndpointName.parse("est/other"))) is None


async def test_the_first_that_comes_counts_and_who_gave_it_is_on_record(
    store: Store, challenges: RevocationChallenges
) -> None:
    for outcome, secret in ((WAITING, "a secret"), (WAITING, "another"), (issued(), "a third")):
        assert await challenges.keep(EST, outcome, secret, "password:pump") is None
    (one,) = await store.read(lambda connection: list_credentials(connection, kind=CredentialKind.REVOCATION))
    assert (one.created_by, one.serial, one.username) == ("password:pump", None, "first")
    assert await SecretVerifier(b"k" * 32).verify(one.argon2 or "", "a secret")
    (event,) = await store.read(lambda connection: list_events(connection, "first"))
    assert (event.action, event.actor) == ("credential-made", "password:pump")


async def test_what_came_with_a_request_that_is_answered_at_once_is_found_by_the_serial_number_too(
    store: Store, challenges: RevocationChallenges
) -> None:
    assert await challenges.keep(EST, issued(), "when all is lost", "password:pump") is None
    assert await challenges.hash_of(certificate()) is not None
    (one,) = await store.read(lambda connection: find_for_certificate(connection, LEAF.serial_number))
    assert one.username == "first"
    (event,) = await store.read(lambda connection: list_events(connection, "first"))
    assert event.serial == LEAF.serial_number


async def test_what_was_kept_by_the_serial_number_alone_still_counts_and_is_not_replaced(
    store: Store, challenges: RevocationChallenges
) -> None:
    kind = CredentialKind.REVOCATION
    await keep(store, credential(None, kind=kind, argon2="before", serial=LEAF.serial_number))
    assert await challenges.keep(EST, issued(), "another", "password:pump") is None
    assert await challenges.hash_of(certificate()) == "before"


async def test_one_that_is_withdrawn_revokes_nothing(store: Store, challenges: RevocationChallenges) -> None:
    kind = CredentialKind.REVOCATION
    await keep(store, credential(None, kind=kind, argon2="h", username="first", revoked_at=NOW))
    assert await challenges.hash_of(certificate()) is None


async def test_what_can_not_be_kept_now_is_a_temporary_problem(store: Store) -> None:
    hashes = SecretVerifier(b"k" * 32)
    without: Any = RevocationChallenges(_NoStore(), hashes, lambda: NOW)  # type: ignore[arg-type] # it fails
    crowded: Any = RevocationChallenges(store, _Crowded(), lambda: NOW)  # type: ignore[arg-type] # it fails
    found = await without.keep(EST, WAITING, "when all is lost", "password:pump")
    assert (reason(found), found.detail, bool(found.retry_after)) == (Reason.STORE_UNAVAILABLE, "gone", True)
    assert "when all is lost" not in found.message
    assert reason(await crowded.keep(EST, WAITING, "x", "password:pump")) is Reason.RATE_LIMITED
    with pytest.raises(StoreUnavailable):
        await without.hash_of(certificate())
