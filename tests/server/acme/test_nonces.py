"""Nonces are good once, for an hour, for their endpoint (RFC 8555 section 6.5)."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.acme.nonces import (
    LIFETIME,
    LedgerUnavailable,
    MemoryLedger,
    Nonces,
    SqliteLedger,
    forget,
    open_nonces,
    share,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = 1_795_000_000


class Time:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=["memory", "file"])
def nonces(request: pytest.FixtureRequest, tmp_path: Path, time: Time) -> Iterator[Nonces]:
    with closing(open_nonces(tmp_path / "nonces.db" if request.param == "file" else None, time)) as opened:
        yield opened


def test_a_nonce_is_good_once(nonces: Nonces) -> None:
    nonce = nonces.issue("acme/default")
    assert len(nonce) == 32
    assert nonces.redeem(nonce, "acme/default")
    assert not nonces.redeem(nonce, "acme/default")


def test_nonces_differ(nonces: Nonces) -> None:
    assert len({nonces.issue("acme/default") for _ in range(1000)}) == 1000


def test_a_nonce_of_another_endpoint_is_not_good(nonces: Nonces) -> None:
    nonce = nonces.issue("acme/other")
    assert not nonces.redeem(nonce, "acme/default")
    assert nonces.redeem(nonce, "acme/other")


def test_a_nonce_is_good_for_an_hour(nonces: Nonces, time: Time) -> None:
    early, late = nonces.issue("x"), nonces.issue("x")
    time.now += LIFETIME - 1
    assert nonces.redeem(early, "x")
    time.now += 1
    assert not nonces.redeem(late, "x")


def test_a_pool_of_nonces_is_good_in_any_order(nonces: Nonces, time: Time) -> None:
    pool = []
    for _ in range(10):
        pool.append(nonces.issue("x"))
        time.now += 60
    assert all(nonces.redeem(nonce, "x") for nonce in reversed(pool))
    assert not any(nonces.redeem(nonce, "x") for nonce in pool)


def test_a_redeemed_nonce_stays_redeemed_for_its_whole_life(nonces: Nonces, time: Time) -> None:
    nonce = nonces.issue("x")
    for _ in range(8):
        nonces.redeem(nonce, "x")
        time.now += LIFETIME // 8 + 1
        assert not nonces.redeem(nonce, "x")
        assert nonces.redeem(nonces.issue("x"), "x")


@given(st.binary(max_size=60) | st.binary(min_size=32, max_size=32))
def test_any_octets_are_no_nonce(octets: bytes) -> None:
    nonces = open_nonces(None, lambda: START)
    assert not nonces.redeem(octets, "x")


def test_a_changed_nonce_is_not_good(nonces: Nonces) -> None:
    nonce = nonces.issue("x")
    for position in range(32):
        changed = nonce[:position] + bytes((nonce[position] ^ 1,)) + nonce[position + 1 :]
        assert not nonces.redeem(changed, "x")
    assert nonces.redeem(nonce, "x")


def test_after_a_restart_old_nonces_are_not_good(time: Time) -> None:
    before, after = open_nonces(None, time), open_nonces(None, time)
    assert not after.redeem(before.issue("x"), "x")


def test_memory_is_bounded_and_forgets_only_what_is_refused_then(time: Time) -> None:
    nonces = Nonces(bytes(32), MemoryLedger(generation=10), time)
    redeemed = []
    for _ in range(100):
        time.now += 1
        nonce = nonces.issue("x")
        assert nonces.redeem(nonce, "x")
        redeemed.append(nonce)
    assert not any(nonces.redeem(nonce, "x") for nonce in redeemed)


def test_a_nonce_older_than_what_was_forgotten_is_not_good(time: Time) -> None:
    nonces = Nonces(bytes(32), MemoryLedger(generation=2), time)
    old = nonces.issue("x")
    for _ in range(6):
        time.now += 1
        assert nonces.redeem(nonces.issue("x"), "x")
    assert not nonces.redeem(old, "x")


def test_processes_share_key_and_ledger(tmp_path: Path, time: Time) -> None:
    file = tmp_path / "nonces.db"
    with closing(open_nonces(file, time)) as one, closing(open_nonces(file, time)) as two:
        nonce = one.issue("x")
        assert two.redeem(nonce, "x")
        assert not one.redeem(nonce, "x")


def test_a_new_start_forgets_key_and_ledger(tmp_path: Path, time: Time) -> None:
    file = tmp_path / "nonces.db"
    with closing(open_nonces(file, time)) as before:
        nonce = before.issue("x")
        assert len(list(tmp_path.iterdir())) == 3, "what a start that was killed leaves: the file, its log and index"
        forget(file)
        assert list(tmp_path.iterdir()) == []
        forget(file)
    forget(file)
    with closing(open_nonces(file, time)) as after:
        assert not after.redeem(nonce, "x")


def test_servers_that_run_at_the_same_time_redeem_each_others_nonces_once(tmp_path: Path, time: Time) -> None:
    file = tmp_path / "nonces.db"
    first = share(file)
    with closing(open_nonces(file, time)) as one:
        nonce, late = one.issue("x"), one.issue("x")
        second = share(file)
        with closing(open_nonces(file, time)) as two, closing(open_nonces(file, time)) as restarted:
            assert two.redeem(nonce, "x")
            assert not one.redeem(nonce, "x")
            assert restarted.redeem(late, "x")
            kept = restarted.issue("x")
    for held in (first, second):
        os.close(held)
    third = share(file)
    with closing(open_nonces(file, time)) as after:
        assert not after.redeem(kept, "x")
    os.close(third)


def test_who_starts_when_the_first_server_has_ended_takes_no_key_from_the_second(tmp_path: Path, time: Time) -> None:
    file = tmp_path / "nonces.db"
    first, second = share(file), share(file)
    with closing(open_nonces(file, time)) as running:
        nonce = running.issue("x")
        os.close(first)
        third = share(file)
        with closing(open_nonces(file, time)) as new:
            assert new.redeem(nonce, "x")
            assert not running.redeem(nonce, "x")
    os.close(second)
    os.close(third)


def test_the_file_forgets_what_nobody_could_redeem(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "nonces.db")
    assert ledger.redeem(b"a", START, START)
    later = START + LIFETIME + 1
    assert ledger.redeem(b"b", later, later)
    assert ledger.redeem(b"a", START, later)
    ledger.close()


def test_a_failing_ledger_says_so(tmp_path: Path, time: Time) -> None:
    nonces = open_nonces(tmp_path / "nonces.db", time)
    nonces.close()
    with pytest.raises(LedgerUnavailable):
        nonces.redeem(nonces.issue("x"), "x")


def test_a_ledger_that_is_locked_says_so_soon(tmp_path: Path) -> None:
    """All that a process serves waits as long as this does."""
    ledger = SqliteLedger(tmp_path / "nonces.db")
    with closing(sqlite3.connect(tmp_path / "nonces.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = monotonic()
        with pytest.raises(LedgerUnavailable):
            ledger.redeem(b"a", START, START)
        assert monotonic() - began < 1
        other.execute("ROLLBACK")
    assert ledger.redeem(b"a", START, START)
    ledger.close()


def test_the_file_forgets_in_portions(tmp_path: Path) -> None:
    """To forget all of a busy quarter of an hour at once would hold up every process."""
    ledger = SqliteLedger(tmp_path / "nonces.db")
    with closing(sqlite3.connect(tmp_path / "nonces.db")) as other:
        old = ((number.to_bytes(12), START) for number in range(2500))
        other.executemany("INSERT INTO redeemed VALUES (?, ?)", old)
        other.commit()
        left = []
        for number in range(4):
            assert ledger.redeem(bytes([number]), START + 2 * LIFETIME, START + 2 * LIFETIME)
            left.append(other.execute("SELECT count(*) FROM redeemed WHERE issued = ?", (START,)).fetchone()[0])
    assert left == [1500, 500, 0, 0]
    ledger.close()
