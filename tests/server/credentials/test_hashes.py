"""Secrets against argon2 hashes."""

from __future__ import annotations

import asyncio
import threading
from time import process_time
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from server.credentials.hashes import SecretVerifier, TooManyVerifications

if TYPE_CHECKING:
    from collections.abc import Iterator

HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
STORED = HASHER.hash("right")


@pytest.fixture
def verifier() -> Iterator[SecretVerifier]:
    verifier = SecretVerifier(b"k" * 32)
    yield verifier
    verifier.close()


async def test_only_the_right_secret_verifies(verifier: SecretVerifier) -> None:
    assert await verifier.verify(STORED, "right")
    for _ in range(2):
        assert not await verifier.verify(STORED, "wrong")
    assert not await verifier.verify("not a hash", "right")
    assert not await verifier.verify(STORED, "\udc80")


async def test_a_right_secret_is_remembered_for_this_hash_alone(verifier: SecretVerifier) -> None:
    await verifier.verify(STORED, "right")
    verifier.close()  # no thread computes any more
    assert await verifier.verify(STORED, "right")
    with pytest.raises(RuntimeError):
        await verifier.verify(HASHER.hash("right"), "right")
    with pytest.raises(RuntimeError):
        await verifier.verify(STORED, "wrong")


def test_what_is_remembered_tells_nothing_without_the_key(verifier: SecretVerifier) -> None:
    other = SecretVerifier(b"o" * 32)
    assert verifier._digest(STORED, "right") != other._digest(STORED, "right")
    other.close()


async def test_a_secret_is_hashed_to_be_kept(verifier: SecretVerifier) -> None:
    assert await verifier.verify(await verifier.hash("\udc80"), "\udc80")
    full = SecretVerifier(b"k" * 32, waiting=1)
    for secret in ("first", "second"):  # which finds the room that the first has left, and no more
        hashing = asyncio.create_task(full.hash(secret))
        await asyncio.sleep(0)
        with pytest.raises(TooManyVerifications):
            await full.hash("another")
        with pytest.raises(TooManyVerifications):
            await full.verify(STORED, "right")
        assert await full.verify(await hashing, secret)
    full.close()


async def test_what_is_remembered_is_bounded() -> None:
    verifier = SecretVerifier(b"k" * 32, capacity=1)
    other = HASHER.hash("right")
    assert await verifier.verify(STORED, "right")
    assert await verifier.verify(other, "right")
    verifier.close()
    assert await verifier.verify(other, "right")
    with pytest.raises(RuntimeError):
        await verifier.verify(STORED, "right")


async def test_the_same_question_at_the_same_time_is_computed_once_and_others_are_bounded() -> None:
    verifier = SecretVerifier(b"k" * 32, waiting=1)
    same = [asyncio.create_task(verifier.verify(STORED, "right")) for _ in range(50)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyVerifications):
        await verifier.verify(STORED, "another")
    assert await asyncio.gather(*same) == [True] * 50
    verifier.close()


async def test_guesses_in_vain_share_no_computation_as_wrong_ones_share_none() -> None:
    verifier = SecretVerifier(b"k" * 32, waiting=1)
    guess = asyncio.create_task(verifier.verify_nothing(STORED, "guess"))
    await asyncio.sleep(0)
    with pytest.raises(TooManyVerifications):
        await verifier.verify_nothing(STORED, "another")
    await guess
    verifier.close()


async def test_no_more_are_computed_at_once_than_threads_were_given() -> None:
    before = set(threading.enumerate())
    verifier = SecretVerifier(b"k" * 32, threads=2)
    await asyncio.gather(*(verifier.verify(STORED, f"wrong{n}") for n in range(20)))
    assert len(set(threading.enumerate()) - before) == 2
    verifier.close()


async def test_nothing_can_be_verified_at_the_same_cost(verifier: SecretVerifier) -> None:
    slow = PasswordHasher(time_cost=50, memory_cost=8192, parallelism=1).hash("right")
    spent = []
    for work in (verifier.verify(slow, "wrong"), verifier.verify_nothing(slow, "\udc80")):
        begin = process_time()
        assert not await work
        spent.append(process_time() - begin)
    assert spent[1] > spent[0] / 10  # without it, it would be a ten-thousandth
    assert not await verifier.verify(HASHER.hash("other"), "right")
