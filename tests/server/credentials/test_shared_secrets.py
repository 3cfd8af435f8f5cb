"""Shared secrets, which are proven and never shown, and the secrets with which certificates are revoked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from cryptography import x509

from policies.request import EndpointName
from server.credentials import Authenticators, Credentials, Sealer
from server.outcome import Pending, Problem, Reason
from server.store import Store, StoreUnavailable
from server.store.certificates import StoredCertificate
from server.store.credentials import CredentialKind
from server.store.requests import list_events
from tests.fakes.credential import EST, credential, keep
from tests.fakes.database import empty_database
from tests.fakes.door import Door, ask
from tests.fakes.record import issued
from tests.fakes.stored_certificate import stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from server.store.credentials import StoredCredential

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CLOSED = EndpointName.parse("est/closed")
SEALER = Sealer(b"s" * 32)
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SERIAL = 0xABC


class _NoStore:
    async def read(self, work: object) -> object:
        raise StoreUnavailable("gone")


class _FailsLater:
    """A store whose second reading fails."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readings = 0

    async def read(self, work: Any) -> object:
        self._readings += 1
        if self._readings > 1:
            raise StoreUnavailable("gone")
        return await self._store.read(work)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = empty_database(tmp_path / "certwright.db")
    store = await Store.open(url)
    yield store
    await store.close()


def judge(store: object) -> Credentials:
    return Credentials(
        store=store,  # type: ignore[arg-type] # or one that fails
        endpoints={
            EST: Authenticators({}, None, frozenset(), sealer=SEALER),
            CLOSED: Authenticators({}, None, frozenset()),
        },
        issuers={},
        clock=lambda: NOW,
        seconds=lambda: 0.0,
        key=b"k" * 32,
    )


def shared(identifier: str, secret: bytes, sealer: Sealer = SEALER, **fields: Any) -> StoredCredential:
    kind, sealed = CredentialKind.CMC_SECRET, sealer.seal(secret, identifier)
    return credential(None, id=identifier, kind=kind, username="pump", sealed=sealed, **fields)


async def prove(store: object, secret: bytes, *, endpoint: EndpointName = EST, username: str = "pump") -> object:
    return await judge(store).shared_secret(endpoint, username, lambda known: known == secret)


def reason(found: object) -> Reason:
    assert isinstance(found, Problem), found
    return found.reason


async def test_of_several_secrets_of_one_name_that_counts_which_was_proven(store: Store) -> None:
    another_key = shared("c", b"third", Sealer(b"x" * 32))
    await keep(store, shared("a", b"first", uses_left=0), shared("b", b"second", device="pump-1"), another_key)
    found = await prove(store, b"second")
    assert isinstance(found, tuple)
    redeemable, secret = found
    assert (redeemable.id, redeemable.username, redeemable.device, secret) == ("b", "pump", "pump-1", b"second")
    for wrong in (b"first", b"third", b"fourth"):  # used up; sealed under another key; none of them
        assert reason(await prove(store, wrong)) is Reason.BAD_CREDENTIALS


@pytest.mark.parametrize("fields", [{"expires_at": NOW}, {"revoked_at": NOW - timedelta(days=1)}])
async def test_a_secret_that_is_over_proves_nothing(store: Store, fields: dict[str, Any]) -> None:
    await keep(store, shared("a", b"first", **fields))
    found, wrong = [await prove(store, secret) for secret in (b"first", b"wrong")]
    assert isinstance(found, Problem)
    assert isinstance(wrong, Problem)
    assert (found.reason, found.message) == (Reason.BAD_CREDENTIALS, wrong.message)
    assert "credential a is" in found.detail


async def test_who_proves_a_secret_that_is_over_must_wait_like_who_guesses(store: Store) -> None:
    await keep(store, shared("a", b"first", expires_at=NOW))
    credentials = judge(store)
    for _ in range(10):
        await credentials.shared_secret(EST, "pump", b"first".__eq__, address="192.0.2.1")
    found = await credentials.shared_secret(EST, "pump", b"first".__eq__, address="192.0.2.1")
    assert isinstance(found, Problem)
    assert (found.reason, found.retry_after) == (Reason.RATE_LIMITED, 1)


async def test_a_secret_that_was_just_used_still_names_its_holder(store: Store) -> None:
    await keep(store, shared("a", b"first", uses_left=0, spent_at=NOW - timedelta(hours=1)))
    assert isinstance(await prove(store, b"first"), tuple)


async def test_whether_a_used_secret_still_waits_for_a_person_must_be_known(store: Store) -> None:
    await keep(store, shared("a", b"first", uses_left=0, spent_at=NOW - timedelta(days=2)))
    assert reason(await prove(_FailsLater(store), b"first")) is Reason.STORE_UNAVAILABLE
    assert reason(await prove(store, b"first")) is Reason.BAD_CREDENTIALS


async def test_another_name_and_an_endpoint_without_a_key_prove_nothing(store: Store) -> None:
    await keep(store, shared("a", b"first"), shared("b", b"first", endpoint=CLOSED))
    assert reason(await prove(store, b"first", username="valve")) is Reason.BAD_CREDENTIALS
    assert reason(await prove(store, b"first", endpoint=CLOSED)) is Reason.BAD_CREDENTIALS


async def test_a_right_proof_ends_the_count_of_wrong_ones(store: Store) -> None:
    await keep(store, shared("a", b"first"))
    credentials = judge(store)
    for proof in [b""] * 9 + [b"first"] + [b""] * 9 + [b"first"]:
        found = await credentials.shared_secret(EST, "pump", proof.__eq__, address="192.0.2.1")
        assert isinstance(found, tuple) is bool(proof)


async def test_who_guesses_must_wait_even_with_a_right_proof(store: Store) -> None:
    other = credential(None, id="b", kind=CredentialKind.CMC_SECRET, username="valve", sealed=SEALER.seal(b"its", "b"))
    await keep(store, shared("a", b"first"), other)
    credentials = judge(store)
    for _ in range(10):
        await credentials.shared_secret(EST, "pump", lambda _: False, address="192.0.2.1")
    for proof in (b"first", b"guess"):  # which of them it is, is not told
        found = await credentials.shared_secret(EST, "pump", proof.__eq__, address="192.0.2.1")
        assert reason(found) is Reason.RATE_LIMITED
    assert isinstance(await credentials.shared_secret(EST, "pump", lambda _: True, address="192.0.2.2"), tuple)
    assert isinstance(await credentials.shared_secret(EST, "valve", lambda _: True, address="192.0.2.1"), tuple)


async def test_a_certificate_is_revoked_with_its_own_secret_alone(store: Store) -> None:
    kind, kept = CredentialKind.REVOCATION, HASHER.hash("when all is lost")
    withdrawn = credential(None, kind=kind, argon2=kept, serial=2, revoked_at=NOW)
    await keep(store, credential(None, kind=kind, argon2=kept, serial=SERIAL), withdrawn)
    credentials = judge(store)
    assert await credentials.revocation_challenge(EST, stored(SERIAL), "when all is lost") is None
    wrong = {
        await credentials.revocation_challenge(EST, stored(serial), secret)
        for serial, secret in ((SERIAL, "wrong"), (1, "when all is lost"), (2, "when all is lost"), (1, ""))
    }
    assert wrong == {Problem(Reason.BAD_CREDENTIALS, "wrong revocation challenge")}  # it tells not what there is
    credentials.close()


async def test_who_guesses_what_revokes_a_certificate_must_wait_for_that_one(store: Store) -> None:
    kind, kept = CredentialKind.REVOCATION, HASHER.hash("when all is lost")
    await keep(store, *(credential(None, kind=kind, argon2=kept, serial=serial) for serial in (SERIAL, 1)))
    credentials = judge(store)

    async def revoke(secret: str, serial: int = SERIAL, address: str = "192.0.2.1") -> Problem | None:
        return await credentials.revocation_challenge(EST, stored(serial), secret, address=address)

    for _ in range(10):
        await revoke("wrong")
    assert reason(await revoke("when all is lost")) is Reason.RATE_LIMITED
    assert await revoke("when all is lost", serial=1) is None
    assert await revoke("when all is lost", address="192.0.2.2") is None
    credentials.close()


async def test_what_came_with_a_request_revokes_its_certificate_and_is_on_record_as_its_requester_s(
    store: Store,
) -> None:
    credentials = judge(store)
    pending = Pending("first", 60)
    assert await credentials.keep_revocation_challenge(EST, pending, "when all is lost", "password:pump") is None
    certificate = stored(SERIAL, request_id="first")
    assert await credentials.revocation_challenge(EST, certificate, "when all is lost") is None
    assert reason(await credentials.revocation_challenge(EST, certificate, "password:pump")) is Reason.BAD_CREDENTIALS
    (event,) = await store.read(lambda connection: list_events(connection, "first"))
    assert event.actor == "password:pump"
    credentials.close()


async def test_a_certificate_is_found_where_it_was_issued_though_none_are_taken_there(store: Store) -> None:
    serial = x509.load_der_x509_certificate(issued(await Door(store).submit(ask())).certificate).serial_number
    found = await judge(store).issued_for(EST, serial)
    assert isinstance(found, StoredCertificate)
    assert found.serial == serial
    assert await judge(store).issued_for(CLOSED, serial) is None


async def test_a_store_that_fails_is_a_temporary_problem() -> None:
    credentials = judge(_NoStore())
    for found in (
        await credentials.shared_secret(EST, "pump", lambda _: True),
        await credentials.revocation_challenge(EST, stored(SERIAL), "x"),
        await credentials.issued_for(EST, SERIAL),
        await credentials.keep_revocation_challenge(EST, Pending("first", 60), "x", "password:pump"),
    ):
        assert isinstance(found, Problem)
        assert (found.reason, found.detail, bool(found.retry_after)) == (Reason.STORE_UNAVAILABLE, "gone", True)
