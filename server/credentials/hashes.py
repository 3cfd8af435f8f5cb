"""Verifying secrets against argon2 hashes without doing it for each request again."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import TYPE_CHECKING

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable


class TooManyVerifications(Exception):
    """So many verifications wait already that another one would not be answered in time."""


class SecretVerifier:
    """Verifies secrets in threads and remembers which were right.

    What is remembered is a BLAKE2b digest of hash and secret under a key of this process: a changed or removed hash
    forgets its secret at once, and a memory image holds no secret.

    Args:
        key: 32 random bytes.
        threads: how many argon2 computations at once; each takes some 64 MiB.
        waiting: how many may wait for a thread.
        capacity: how many right secrets to remember.
    """

    def __init__(self, key: bytes, *, threads: int = 2, waiting: int = 64, capacity: int = 4096) -> None:
        self._key = key
        self._threads = ThreadPoolExecutor(threads, "argon2")
        self._waiting = waiting
        self._capacity = capacity
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._running: dict[bytes, asyncio.Future[bool]] = {}
        self._hashing = 0

    async def verify(self, stored: str, secret: str) -> bool:
        """Return whether `secret` is what the argon2 hash `stored` was made of. Raises TooManyVerifications."""
        digest = self._digest(stored, secret)
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        right = await self._compute(digest, _is_right, stored, secret)
        if right:
            self._right[digest] = None
            if len(self._right) > self._capacity:
                self._right.popitem(last=False)
        return right

    async def verify_nothing(self, like: str, secret: str) -> None:
        """Take as long as `verify` with a wrong secret, so that nobody learns which users there are.

        Args:
            like: a hash whose parameters to use.
            secret: what was presented.

        Raises:
            TooManyVerifications: as `verify`.
        """
        await self._compute(b"in vain" + self._digest(like, secret), _hash_in_vain, like, secret)

    async def hash(self, secret: str) -> str:
        """Return the argon2 hash of a secret that is to be kept. Raises TooManyVerifications."""
        self._expect_room()
        octets = secret.encode("utf-8", "surrogatepass")
        self._hashing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, PasswordHasher().hash, octets)
        finally:
            self._hashing -= 1

    def _expect_room(self) -> None:
        if len(self._running) + self._hashing >= self._waiting:
            raise TooManyVerifications

    async def _compute(self, digest: bytes, work: Callable[[str, str], bool], stored: str, secret: str) -> bool:
        """Run argon2, once for the same pair however many ask at the same time."""
        running = self._running.get(digest)
        if running is None:
            self._expect_room()
            running = asyncio.get_running_loop().run_in_executor(self._threads, work, stored, secret)
            self._running[digest] = running
            running.add_done_callback(lambda _: self._running.pop(digest, None))
        return await asyncio.shield(running)

    def _digest(self, stored: str, secret: str) -> bytes:
        hashed = stored.encode()
        return blake2b(
            len(hashed).to_bytes(4) + hashed + secret.encode("utf-8", "surrogatepass"), digest_size=32, key=self._key
        ).digest()

    def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_right(stored: str, secret: str) -> bool:
    try:
        return PasswordHasher().verify(stored, secret.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


def _hash_in_vain(like: str, secret: str) -> bool:
    PasswordHasher.from_parameters(extract_parameters(like)).hash(secret.encode("utf-8", "surrogatepass"))
    return False
