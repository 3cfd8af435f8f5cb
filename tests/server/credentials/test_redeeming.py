"""What secrets of the store are good for, and for whom."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher

from ca import der
from ca.csr import parse_csr
from policies.request import ChallengeEvidence, EndpointName, PasswordEvidence
from server.credentials import Authenticators, Credentials, Redeemable, hashes
from server.credentials.redeeming import new_secret, opened, why_not
from server.credentials.sealing import Sealer
from server.outcome import Problem, Reason
from server.store import Store, StoreUnavailable
from server.store.credentials import CredentialKind
from tests.ca.requests import SUBJECT, extensions, names, request
from tests.fakes.credential import EST, credential, keep
from tests.fakes.database import empty_database
from tests.server.est.lab import csr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SCEP, CLOSED = EndpointName.parse("scep/default"), EndpointName.parse("est/closed")
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ORGANIZED = der.sequence(*der.pieces(SUBJECT), der.set_of(der.sequence(der.oid("2.5.4.10"), der.utf8("Valves"))))


class _NoStore:
    async def read(self, work: object) -> object:
        raise StoreUnavailable("gone")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = empty_database(tmp_path / "certwright.db")
    store = await Store.open(url)
    yield store
    await store.close()


FILE = {"file": HASHER.hash("static")}
TWO = {**FILE, "other": HASHER.hash("theirs")}


def judge(store: object, file: dict[str, str] = FILE, challenge: str | None = None) -> Credentials:
    return Credentials(
        store=store,  # type: ignore[arg-type] # or one that fails
        endpoints={
            EST: Authenticators(file, None, frozenset(), stored=True),
            SCEP: Authenticators({}, challenge, frozenset(), stored=True),
            CLOSED: Authenticators({}, None, frozenset()),
        },
        issuers={},
        clock=lambda: NOW,
        seconds=lambda: 0.0,
        key=b"k" * 32,
    )


def reason(found: object) -> Reason:
    assert isinstance(found, Problem)
    return found.reason


def test_a_new_secret_has_148_bits_and_nothing_that_looks_like_something_else() -> None:
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"([a-hjkmnp-z2-9]{5}-){5}[a-hjkmnp-z2-9]{5}", one) for one in made)


async def test_generated_and_chosen_passwords_are_found_by_name_beside_those_of_the_file(store: Store) -> None:
    await keep(
        store,
        credential("generated", id="g", username="pump"),
        credential(None, id="c", username="pump", argon2=HASHER.hash("chosen"), device="pump-1"),
    )
    credentials = judge(store)

    for secret, identifier in (("generated", "g"), ("chosen", "c")):
        found = await credentials.password(EST, "pump", secret)
        assert isinstance(found, Redeemable)
        assert (found.id, found.username) == (identifier, "pump")
    assert not isinstance(await credentials.password(EST, "file", "static"), Problem | Redeemable)
    for user, secret in (("pump", "static"), ("valve", "generated"), ("valve", "chosen"), ("file", "chosen")):
        assert reason(await credentials.password(EST, user, secret)) is Reason.BAD_CREDENTIALS
    credentials.close()
    alone = judge(store, {})
    assert reason(await alone.password(EST, "valve", "chosen")) is Reason.BAD_CREDENTIALS
    alone.close()


async def test_a_secret_counts_for_its_kind_and_endpoint_alone(store: Store) -> None:
    await keep(
        store,
        credential("s", id="s", endpoint=SCEP, kind=CredentialKind.SCEP_CHALLENGE),
        credential("c", endpoint=CLOSED, username="pump"),
        credential("d", endpoint=CLOSED, kind=CredentialKind.SCEP_CHALLENGE),
    )
    credentials = judge(store)

    found = await credentials.redeem(CredentialKind.SCEP_CHALLENGE, SCEP, "s")
    assert isinstance(found, Redeemable)
    assert found.username == "s"
    for kind, endpoint in (
        (CredentialKind.EST_PASSWORD, SCEP),
        (CredentialKind.SCEP_CHALLENGE, EST),
        (CredentialKind.SCEP_CHALLENGE, CLOSED),
    ):
        assert reason(await credentials.redeem(kind, endpoint, "s")) is Reason.BAD_CREDENTIALS
    redeemed = await credentials.redeem(CredentialKind.EST_PASSWORD, CLOSED, "c", username="pump")
    assert reason(redeemed) is Reason.BAD_CREDENTIALS
    assert reason(await credentials.password(CLOSED, "pump", "c")) is Reason.BAD_CREDENTIALS
    assert reason(await credentials.challenge(CLOSED, "d")) is Reason.BAD_CREDENTIALS
    credentials.close()


@pytest.mark.parametrize("static", [None, HASHER.hash("static")], ids=["alone", "beside the static one"])
async def test_a_challenge_of_the_store_is_redeemed(store: Store, static: str | None) -> None:
    kind = CredentialKind.SCEP_CHALLENGE
    await keep(
        store,
        credential("once", id="s", endpoint=SCEP, kind=kind),
        credential("gone", endpoint=SCEP, kind=kind, revoked_at=NOW),
    )
    credentials = judge(store, challenge=static)
    found = await credentials.challenge(SCEP, "once")
    assert isinstance(found, Redeemable)
    assert found.id == "s"
    assert isinstance(await credentials.challenge(SCEP, "static"), ChallengeEvidence) is (static is not None)
    for text in ("gone", "wrong"):
        refused = await credentials.challenge(SCEP, text, address="192.0.2.1")
        assert isinstance(refused, Problem)
        assert (refused.reason, refused.message) == (Reason.BAD_CREDENTIALS, "wrong challenge password")
    for _ in range(8):
        await credentials.challenge(SCEP, "wrong", address="192.0.2.1")
    assert reason(await credentials.challenge(SCEP, "once", address="192.0.2.1")) is Reason.RATE_LIMITED
    credentials.close()


async def test_a_password_of_the_file_is_good_for_its_user_alone(store: Store) -> None:
    credentials = judge(store, TWO)
    for user in ("file", "other", "nobody"):
        for password, whose in (("static", "file"), ("theirs", "other")):
            found = await credentials.password(EST, user, password)
            if user == whose:
                assert found == PasswordEvidence(user)
            else:
                assert reason(found) is Reason.BAD_CREDENTIALS
    credentials.close()


async def test_who_is_in_the_file_and_has_a_chosen_password_too_may_send_either(store: Store) -> None:
    await keep(store, credential(None, id="c", username="file", argon2=HASHER.hash("chosen")))
    credentials = judge(store)
    assert await credentials.password(EST, "file", "static") == PasswordEvidence("file")
    assert isinstance(await credentials.password(EST, "file", "chosen"), Redeemable)
    assert reason(await credentials.password(EST, "file", "wrong")) is Reason.BAD_CREDENTIALS
    credentials.close()


async def test_a_password_that_is_over_is_told_like_a_wrong_one(store: Store) -> None:
    await keep(store, credential("over", username="pump", expires_at=NOW))
    credentials = judge(store)
    over, wrong = [await credentials.password(EST, "pump", secret) for secret in ("over", "wrong")]
    assert isinstance(over, Problem)
    assert isinstance(wrong, Problem)
    assert (over.reason, over.message) == (wrong.reason, wrong.message)
    credentials.close()


@pytest.mark.parametrize(
    ("file", "user", "right"),
    [(TWO, "pump", "once"), ({}, "pump", "once"), (TWO, "file", "static")],
    ids=["stored beside a file", "stored", "of the file"],
)
async def test_who_guesses_passwords_must_wait_alone_and_a_right_one_ends_the_count(
    store: Store, file: dict[str, str], user: str, right: str
) -> None:
    await keep(store, credential("once", username="pump"), credential("more", username="valve"))
    credentials = judge(store, file)
    for secret in ["wrong"] * 9 + [right] + ["wrong"] * 9 + [right]:
        found = await credentials.password(EST, user, secret, address="192.0.2.1")
        assert isinstance(found, Problem) is (secret == "wrong")
    for _ in range(10):
        await credentials.password(EST, user, "wrong", address="192.0.2.1")
    for secret in (right, "wrong"):  # which of them it is, is not told
        waits = await credentials.password(EST, user, secret, address="192.0.2.1")
        assert isinstance(waits, Problem)
        assert (waits.reason, waits.retry_after) == (Reason.RATE_LIMITED, 1)
    for other, password in (("valve", "more"), ("other", "theirs")) if file else (("valve", "more"),):
        assert not isinstance(await credentials.password(EST, other, password, address="192.0.2.1"), Problem)
    credentials.close()


async def test_where_the_address_is_not_known_nobody_is_made_to_wait(store: Store) -> None:
    await keep(store, credential("right", username="pump"))
    credentials = judge(store)
    for user in ("pump", "file"):
        for _ in range(20):
            assert reason(await credentials.password(EST, user, "wrong")) is Reason.BAD_CREDENTIALS
    assert isinstance(await credentials.password(EST, "pump", "right"), Redeemable)
    assert await credentials.password(EST, "file", "static") == PasswordEvidence("file")
    credentials.close()


async def test_of_more_than_can_be_compared_at_once_some_are_asked_to_come_again_and_none_is_let_in(
    store: Store,
) -> None:
    await keep(store, credential(None, username="pump", argon2=HASHER.hash("chosen")))
    for file, user in ((FILE, "pump"), (FILE, "file"), ({}, "pump")):
        credentials = judge(store, file)
        guesses = (credentials.password(EST, user, f"wrong{n}") for n in range(200))
        reasons = {reason(one) for one in await asyncio.gather(*guesses)}
        assert reasons == {Reason.BAD_CREDENTIALS, Reason.RATE_LIMITED}
        credentials.close()


@pytest.mark.parametrize("username", [None, "pump"])
async def test_who_guesses_must_wait_even_with_a_right_secret(store: Store, username: str | None) -> None:
    await keep(store, credential("right"))
    credentials = judge(store)

    async def redeem(secret: str, address: str) -> object:
        return await credentials.redeem(CredentialKind.EST_PASSWORD, EST, secret, username=username, address=address)

    for _ in range(10):
        await redeem("wrong", "192.0.2.1")
    assert reason(await redeem("right", "192.0.2.1")) is Reason.RATE_LIMITED
    assert isinstance(await redeem("right", "192.0.2.2"), Redeemable)
    credentials.close()


async def test_a_secret_with_a_user_name_is_redeemed_under_no_other(store: Store) -> None:
    await keep(store, credential("right", username="pump"))
    credentials = judge(store)
    for username, good in (("pump", True), ("valve", False), ("", False), (None, True)):
        found = await credentials.redeem(CredentialKind.EST_PASSWORD, EST, "right", username=username)
        assert isinstance(found, Redeemable) is good
    credentials.close()


async def test_a_store_that_fails_is_a_temporary_problem() -> None:
    credentials = judge(_NoStore())
    found = await credentials.redeem(CredentialKind.EST_PASSWORD, EST, "s")
    assert isinstance(found, Problem)
    assert (found.reason, found.detail, bool(found.retry_after)) == (Reason.STORE_UNAVAILABLE, "gone", True)
    credentials.close()


@pytest.mark.parametrize(
    ("fields", "objection"),
    [
        ({}, None),
        ({"expires_at": NOW}, "expired"),
        ({"expires_at": NOW + timedelta(seconds=1)}, None),
        ({"revoked_at": NOW}, "withdrawn"),
        ({"uses_left": 0}, "used up"),
        ({"uses_left": 0, "spent_at": NOW - timedelta(hours=23)}, None),
        ({"uses_left": 0, "spent_at": NOW - timedelta(hours=24)}, "used up"),
        ({"expires_at": NOW, "spent_at": NOW - timedelta(hours=1)}, None),
        ({"revoked_at": NOW, "spent_at": NOW}, "withdrawn"),
        ({"uses_left": None}, None),
    ],
)
def test_a_secret_authenticates_while_it_is_good_and_for_retries(fields: dict[str, Any], objection: str | None) -> None:
    assert why_not(credential(**fields), NOW) == objection


@pytest.mark.parametrize(
    ("name", "dns", "fits"),
    [
        ("Pump", ("pump.example",), True),
        ("Pump.Example", (), True),
        ("pump", ("pump", "valve.example"), False),
        (None, ("PUMP.example",), True),
        ("pumpkin", (), False),
        ("pump", ("pumpkin.example",), False),
        (None, (), False),
    ],
)
def test_a_device_is_named_by_common_name_and_dns_names(name: str | None, dns: tuple[str, ...], *, fits: bool) -> None:
    bound = Redeemable("id", "pump", None, "pump", ())
    assert (bound.objection(parse_csr(csr(name, dns=dns))) is None) is fits


def test_what_else_a_device_says_of_itself_does_not_matter() -> None:
    asked = parse_csr(request(extensions(names(der.tlv(0x81, b"ann@valve.test"))), subject=ORGANIZED))
    assert Redeemable("id", "pump", None, "Pump 17", ()).objection(asked) is None


@pytest.mark.parametrize(
    ("dns", "fits"),
    [
        ((), True),
        (("a.test",), True),
        (("b.test", "a.test"), True),
        (("c.test",), False),
        (("a.test", "c.test"), False),
    ],
)
def test_names_are_among_those_that_a_secret_was_made_for(dns: tuple[str, ...], *, fits: bool) -> None:
    bound = Redeemable("id", "pump", None, None, ("dns:a.test", "dns:b.test"))
    assert (bound.objection(parse_csr(csr("pump", dns=dns))) is None) is fits


def test_a_sealed_secret_is_found_by_what_was_made_with_it() -> None:
    sealer, other = Sealer(b"k" * 32), Sealer(b"o" * 32)
    unreadable = credential(None, id="x", sealed=other.seal(b"right", "x"))
    wrong = credential(None, id="y", sealed=sealer.seal(b"wrong", "y"))
    right = credential(None, id="z", sealed=sealer.seal(b"right", "z"))
    unsealed = credential(None, id="u")
    assert opened([unsealed, unreadable, wrong, right], sealer, b"right".__eq__) == (right, b"right")
    assert opened([unsealed, unreadable, wrong], sealer, b"right".__eq__) is None


@pytest.mark.parametrize("file", [{}, {"file": HASHER.hash("static")}])
async def test_a_wrong_password_takes_as_long_for_any_user(
    store: Store, file: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Argon2 is computed once for each, whether the user has chosen a password, stands in the file, or is nobody."""
    await keep(store, credential(None, id="c", username="pump", argon2=HASHER.hash("chosen")))
    computed: list[str] = []

    def compute(_: str, secret: str) -> bool:
        computed.append(secret)
        return False

    monkeypatch.setattr(hashes, "_is_right", compute)
    monkeypatch.setattr(hashes, "_hash_in_vain", compute)
    credentials = judge(store, file)
    for user in ("pump", "file", "nobody", ""):
        assert reason(await credentials.password(EST, user, f"for {user}")) is Reason.BAD_CREDENTIALS
    assert computed == ["for pump", "for file", "for nobody", "for "]
    credentials.close()


async def test_where_nobody_has_chosen_a_password_nothing_is_computed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "_hash_in_vain", lambda *_: pytest.fail("computed"))
    credentials = judge(store, {})
    for _ in range(3):
        assert reason(await credentials.password(EST, "nobody", "wrong")) is Reason.BAD_CREDENTIALS
    credentials.close()
