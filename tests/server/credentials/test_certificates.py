"""A certificate that is shown proves what the record says of it, when our issuer signed it and nothing objects."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from cryptography import x509

from ca.names import names_of, subject_of
from policies.request import CertificateEvidence, EndpointName
from server.credentials.certificates import CertificateJudge, objection
from server.outcome import Problem, Reason
from server.store import Store, StoreUnavailable
from server.store.tables import certificates
from tests.fakes.database import empty_database
from tests.fakes.door import HERE, ISSUER, Door, ask
from tests.fakes.earlier import issued_earlier
from tests.fakes.issuer import NOW, make_issuer
from tests.fakes.manufacturer import make
from tests.fakes.record import issued
from tests.fakes.stored_certificate import stored as stored_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path
    from typing import Any

NONE = timedelta(0)
SECOND = timedelta(seconds=1)
OTHER_ISSUER = make_issuer()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(empty_database(tmp_path / "certwright.db"))
    yield store
    await store.close()


async def leaf_of(store: Store, name: str = "pump") -> x509.Certificate:
    return x509.load_der_x509_certificate(issued(await Door(store).submit(ask(name))).certificate)


async def execute(store: Store, statement: sa.Update | sa.Delete) -> None:
    assert await store.write(lambda connection: connection.execute(statement).rowcount) == 1


def judge_over(store: Store, issuers: dict[str, x509.Certificate] | None = None) -> CertificateJudge:
    return CertificateJudge(store, {"issuing": ISSUER.chain()[0]} if issuers is None else issuers)


async def test_a_certificate_of_the_record_is_evidence_for_what_it_says(store: Store) -> None:
    leaf, judge = await leaf_of(store), judge_over(store)
    for _ in range(2):
        found = await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)
        assert not isinstance(found, Problem)
        evidence, stored = found
        assert evidence == CertificateEvidence(
            subject_of(leaf), names_of(leaf), leaf.serial_number, leaf.not_valid_after_utc, "own", stored.profile, HERE
        )
        assert (stored.serial, stored.endpoint) == (leaf.serial_number, HERE)


@pytest.mark.parametrize(
    "issuers",
    [
        {},
        {"issuing": OTHER_ISSUER.chain()[0]},
        {"issuing": make("Another CA", ca=True).certificate},
        {"issuing": make_issuer("rsa:2048").chain()[0]},
    ],
    ids=["gone", "another key", "another name", "a key of another kind"],
)
async def test_a_certificate_of_the_record_must_be_signed_by_the_issuer_that_it_names(
    store: Store, issuers: dict[str, x509.Certificate]
) -> None:
    leaf, judge = await leaf_of(store), judge_over(store, issuers)
    for _ in range(2):
        found = await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)
        assert isinstance(found, Problem)
        assert found.message == "the presented certificate was not issued by this service"


async def test_what_our_issuer_signed_and_nobody_recorded_is_rejected(store: Store, tmp_path: Path) -> None:
    elsewhere = await Store.open(empty_database(tmp_path / "elsewhere.db"))
    leaf = await leaf_of(elsewhere)
    await elsewhere.close()
    found = await judge_over(store).judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)
    assert isinstance(found, Problem)
    assert found.reason is Reason.CERTIFICATE_REJECTED
    assert found.detail == f"serial number {leaf.serial_number:x}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (sa.update(certificates).values(revoked_at=NOW, revocation_reason="keyCompromise"), "is revoked"),
        (sa.delete(certificates), "was not issued by this service"),
    ],
    ids=["revoked", "removed"],
)
async def test_what_was_good_before_is_looked_up_again(
    store: Store, change: sa.Update | sa.Delete, message: str
) -> None:
    leaf, judge = await leaf_of(store), judge_over(store)
    good = await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)
    assert not isinstance(good, Problem)
    await execute(store, change)
    for _ in range(2):
        found = await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)
        assert isinstance(found, Problem)
        assert found.message == f"the presented certificate {message}"


async def test_what_is_no_longer_revoked_is_good_again(store: Store) -> None:
    leaf, judge = await leaf_of(store), judge_over(store)
    first = await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)
    await execute(store, sa.update(certificates).values(revoked_at=NOW))
    assert isinstance(await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE), Problem)
    await execute(store, sa.update(certificates).values(revoked_at=None))
    assert await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE) == first


async def test_only_so_many_signatures_are_remembered(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.credentials.certificates._REMEMBERED", 1)
    issuers = {"issuing": ISSUER.chain()[0]}
    forgotten, remembered, judge = await leaf_of(store), await leaf_of(store, "valve"), judge_over(store, issuers)
    for leaf in (forgotten, remembered):
        assert not isinstance(await judge.judge(leaf, accepted=(HERE,), now=NOW, grace=NONE), Problem)
    issuers.clear()  # who is not remembered can't be verified any more
    assert not isinstance(await judge.judge(remembered, accepted=(HERE,), now=NOW, grace=NONE), Problem)
    assert isinstance(await judge.judge(forgotten, accepted=(HERE,), now=NOW, grace=NONE), Problem)


async def test_what_objects_is_told(store: Store) -> None:
    found = await judge_over(store).judge(await leaf_of(store), accepted=(), now=NOW, grace=NONE)
    assert isinstance(found, Problem)
    assert found.message == "the presented certificate was issued for another endpoint"


async def test_a_store_that_fails_proves_nothing_for_now(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(work: Callable[..., Any]) -> Any:
        raise StoreUnavailable("the disk is full")

    leaf = await leaf_of(store)
    monkeypatch.setattr(store, "read", gone)
    found = await judge_over(store).judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)
    assert isinstance(found, Problem)
    assert (found.reason, found.detail, found.retry_after) == (Reason.STORE_UNAVAILABLE, "the disk is full", 5)


STORED = stored_certificate(7)


@pytest.mark.parametrize(
    ("now", "grace", "word"),
    [
        (STORED.not_before - SECOND, NONE, "not valid yet"),
        (STORED.not_before - SECOND, SECOND, "not valid yet"),
        (STORED.not_before, NONE, None),
        (STORED.not_after, NONE, None),
        (STORED.not_after + SECOND, NONE, "expired"),
        (STORED.not_after + SECOND, SECOND, None),
        (STORED.not_after + 2 * SECOND, SECOND, "expired"),
    ],
)
def test_validity_is_judged_to_the_second_and_grace_is_for_the_end_alone(
    now: datetime, grace: timedelta, word: str | None
) -> None:
    said = objection(STORED, (STORED.endpoint,), now, grace)
    assert (said is None) if word is None else (said is not None and word in said)


def test_what_has_no_end_is_judged_with_a_grace_too() -> None:
    """By section 4.1.2.5 of RFC 5280 the last second that can be written is for what never ends."""
    endless = replace(STORED, not_after=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    assert objection(endless, (STORED.endpoint,), STORED.not_before, timedelta(days=30)) is None


def test_revoked_ones_and_those_of_other_endpoints_do_not_count() -> None:
    revoked, other = replace(STORED, revoked_at=STORED.not_before), EndpointName.parse("est/other")
    assert objection(revoked, (STORED.endpoint,), STORED.not_before, NONE) == "the presented certificate is revoked"
    assert objection(STORED, (other,), STORED.not_before, NONE) is not None
    assert objection(STORED, (other, STORED.endpoint), STORED.not_before, NONE) is None


async def test_a_certificate_with_a_name_that_is_not_taken_any_more_is_rejected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = await issued_earlier(store, ask(), monkeypatch)

    found = await judge_over(store).judge(leaf, accepted=(HERE,), now=NOW, grace=NONE)

    assert isinstance(found, Problem)
    assert found.reason is Reason.CERTIFICATE_REJECTED
    assert "enroll anew" in found.message
    assert format(leaf.serial_number, "x") in found.detail
    assert "plant.example" in found.detail
