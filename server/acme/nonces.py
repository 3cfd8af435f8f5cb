"""Anti-replay nonces (RFC 8555 section 6.5): issuing costs no I/O, only redeemed ones are remembered.

A nonce is the authenticated encryption of its time of issue, bound to the endpoint: nobody can make one up. Any process
that has the key can redeem it; the ledger makes that happen once. The key is new when the first server on a database
starts, so that no ledger needs to outlive it: after that, clients get badNonce once and try again, as section 6.5 has
them do.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIFETIME = 3600
"""Seconds a nonce can be redeemed: clients that wait for DNS to spread hold a pool of them."""

_IV = 12
_PREFIX = 7
_TIME = 4
_OCTETS = 32
"""Of a nonce: IV, time and a tag of 16 octets."""
_OPENED_WITHIN_SECONDS = 5.0
"""How long the start may wait for other processes that start."""
_REDEEMED_WITHIN_MILLISECONDS = 250
"""How long a redemption may: it holds up all that its process serves."""
_FORGOTTEN_AT_ONCE = 1000
"""For as long as one deletion takes no other process can redeem."""


class LedgerUnavailable(Exception):
    """The shared ledger can't record now; nothing was redeemed."""


class Ledger(Protocol):
    """Remembers what was redeemed."""

    def redeem(self, mark: bytes, issued: int, now: int) -> bool:
        """Record the mark and return True the first time; False after that. Raises LedgerUnavailable."""
        ...

    def close(self) -> None:
        """Let go of it; nothing is redeemed after that."""
        ...


class MemoryLedger:
    """The ledger of a server that is one process.

    Two generations of marks, each at most ``generation`` marks and a lifetime; with the older one dropped, nonces not
    younger than its youngest are refused unseen. So memory is bounded, and what is forgotten is never accepted again.
    """

    def __init__(self, generation: int = 500_000) -> None:
        self._limit = generation
        self._marks: set[bytes] = set()
        self._older: set[bytes] = set()
        self._started = 0
        self._youngest = -1
        self._older_youngest = -1
        self._floor = -1

    def redeem(self, mark: bytes, issued: int, now: int) -> bool:
        """See `Ledger`."""
        if len(self._marks) >= self._limit or now - self._started > LIFETIME:
            self._floor = max(self._floor, self._older_youngest)
            self._older, self._older_youngest = self._marks, self._youngest
            self._marks, self._youngest, self._started = set(), -1, now
        if issued <= self._floor or mark in self._marks or mark in self._older:
            return False
        self._marks.add(mark)
        self._youngest = max(self._youngest, issued)
        return True

    def close(self) -> None:
        """See `Ledger`: there is nothing to let go of."""


class SqliteLedger:
    """The ledger that several processes share: a small database beside the main one.

    It is not synchronised to disk: the key dies with the server, so what a power failure takes is worth nothing.
    A redemption is one insertion into a file in the page cache, some 20 µs, made in the event loop.
    """

    def __init__(self, path: Path) -> None:
        self._purged = 0
        self._connection = sqlite3.connect(
            path, timeout=_OPENED_WITHIN_SECONDS, isolation_level=None, check_same_thread=False
        )
        for statement in (
            "PRAGMA journal_mode=WAL",
            "PRAGMA synchronous=OFF",
            "CREATE TABLE IF NOT EXISTS redeemed (mark BLOB PRIMARY KEY, issued INTEGER NOT NULL) WITHOUT ROWID",
            "CREATE INDEX IF NOT EXISTS redeemed_issued ON redeemed (issued)",
            "CREATE TABLE IF NOT EXISTS key (one INTEGER PRIMARY KEY CHECK (one = 1), key BLOB NOT NULL)",
        ):
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA busy_timeout={_REDEEMED_WITHIN_MILLISECONDS}")

    def shared_key(self, fresh: bytes) -> bytes:
        """Return the key that the ledger holds, or ``fresh`` when it held none; the same for all processes."""
        self._connection.execute("INSERT OR IGNORE INTO key VALUES (1, ?)", (fresh,))
        with closing(self._connection.execute("SELECT key FROM key")) as found:
            return bytes(found.fetchone()[0])

    def redeem(self, mark: bytes, issued: int, now: int) -> bool:
        """See `Ledger`."""
        try:
            if now - self._purged > LIFETIME // 4 and self._forget(now - LIFETIME) < _FORGOTTEN_AT_ONCE:
                self._purged = now
            inserted = self._connection.execute("INSERT OR IGNORE INTO redeemed VALUES (?, ?)", (mark, issued))
        except sqlite3.Error as error:
            raise LedgerUnavailable(str(error)) from error
        return inserted.rowcount == 1

    def _forget(self, before: int) -> int:
        """Forget some that were issued before a time; return how many."""
        some = "SELECT mark FROM redeemed WHERE issued < ? LIMIT ?"
        return self._connection.execute(
            f"DELETE FROM redeemed WHERE mark IN ({some})",  # noqa: S608 - of constants
            (before, _FORGOTTEN_AT_ONCE),
        ).rowcount

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class NonceSource(Protocol):
    """Issues and redeems nonces of endpoints."""

    def issue(self, scope: str) -> bytes:
        """Return a new nonce for an endpoint."""
        ...

    def redeem(self, nonce: bytes, scope: str) -> bool:
        """Use the nonce up; True once, False for any other octets. Raises LedgerUnavailable: it is not used up."""
        ...


class Nonces:
    """Issues and redeems nonces, see `NonceSource`.

    Args:
        key: 32 octets, the same in every process that serves the same ledger.
        ledger: what was redeemed.
        now: seconds that never go back, the same in every process that serves the same ledger.
        random: returns that many random octets.
    """

    def __init__(
        self,
        key: bytes,
        ledger: Ledger,
        now: Callable[[], int],
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._cipher = AESGCM(key)
        self._ledger = ledger
        self._now = now
        # One key seals each IV once: a random prefix tells processes apart, a counter the nonces of one process.
        self._prefix = random(_PREFIX)
        self._counter = itertools.count()

    def issue(self, scope: str) -> bytes:
        """Return a new nonce for an endpoint, 32 octets."""
        iv = self._prefix + next(self._counter).to_bytes(_IV - _PREFIX)
        return iv + self._cipher.encrypt(iv, self._now().to_bytes(_TIME), scope.encode())

    def redeem(self, nonce: bytes, scope: str) -> bool:
        """Use the nonce up; True once. Any octets are taken: what is not a nonce of this endpoint gives False.

        Raises LedgerUnavailable: try again, the nonce is not used up.
        """
        if len(nonce) != _OCTETS:
            return False
        mark = nonce[:_IV]
        try:
            issued = int.from_bytes(self._cipher.decrypt(mark, nonce[_IV:], scope.encode()))
        except InvalidTag:
            return False
        now = self._now()
        return issued + LIFETIME > now and self._ledger.redeem(mark, issued, now)

    def close(self) -> None:
        """Let go of the ledger."""
        self._ledger.close()


def open_nonces(
    shared: Path | None, now: Callable[[], int], random: Callable[[int], bytes] = secrets.token_bytes
) -> Nonces:
    """Return the nonces of this process: with a ledger in memory, or in the file that several processes share."""
    if shared is None:
        return Nonces(random(32), MemoryLedger(), now, random)
    ledger = SqliteLedger(shared)
    return Nonces(ledger.shared_key(random(32)), ledger, now, random)


def share(shared: Path) -> int:
    """Join the servers that share a ledger; the first of them forgets what those before it have left.

    To be called once by a server, before its processes open the ledger. Returns a descriptor, which stays open as long
    as one of them may do so: who starts meanwhile gets the same key, or its start would take theirs away.
    """
    held = os.open(shared.with_name(f"{shared.name}-lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # another server is there
    else:
        forget(shared)
    fcntl.flock(held, fcntl.LOCK_SH)
    return held


def forget(shared: Path) -> None:
    """Remove the shared ledger and its key."""
    for suffix in ("", "-wal", "-shm"):
        shared.with_name(shared.name + suffix).unlink(missing_ok=True)
