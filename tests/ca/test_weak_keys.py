from __future__ import annotations

from hashlib import sha1, sha256
from math import gcd, prod
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ca.weak_keys import blocked_names, has_close_primes, is_roca, weaknesses

if TYPE_CHECKING:
    from ca.keys import SubjectKey

GENERATOR = prod(number for number in range(2, 168) if all(number % other for other in range(2, number)))


def is_prime(number: int) -> bool:
    # Most numbers have a small factor, and finding that out costs a hundredth of a power.
    return gcd(number, GENERATOR) == 1 and all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7))


def prime_from(number: int, step: int = 2) -> int:
    while not is_prime(number):
        number += step
    return number


def roca_prime(start: int) -> int:
    """Return a prime as the defective library makes them: k * M + 65537^a mod M."""
    return prime_from((start << 256) * GENERATOR + pow(65537, start, GENERATOR), GENERATOR)


def spki(key: SubjectKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def rsa_key(modulus: int, exponent: int = 65537) -> rsa.RSAPublicKey:
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def weak(key: SubjectKey) -> list[str]:
    return list(weaknesses(key, spki(key)))


@pytest.mark.parametrize("bits", [2048, 3072])
def test_a_good_rsa_key_has_no_weakness(bits: int) -> None:
    assert weak(rsa.generate_private_key(65537, bits).public_key()) == []


def test_other_kinds_of_keys_have_no_weakness_of_rsa() -> None:
    assert weak(ec.generate_private_key(ec.SECP256R1()).public_key()) == []
    assert weak(ed25519.Ed25519PrivateKey.generate().public_key()) == []


def test_a_key_of_the_roca_defect_is_told() -> None:
    modulus = roca_prime(1 << 30 | 12345) * roca_prime(1 << 30 | 99)
    assert is_roca(modulus)
    assert any("ROCA" in each for each in weak(rsa_key(modulus)))


@given(st.integers(min_value=1 << 2040, max_value=1 << 2048))
def test_hardly_any_number_looks_like_roca(number: int) -> None:
    assert not is_roca(number | 1)


@pytest.mark.parametrize("gap", [2, 1 << 64, 1 << 515])
def test_close_primes_are_told(gap: int) -> None:
    first = rsa.generate_private_key(65537, 2048).private_numbers().p
    second = prime_from(first + gap)
    assert has_close_primes(first * second)
    assert any("close" in each for each in weak(rsa_key(first * second)))


def test_a_square_and_distant_primes() -> None:
    key = rsa.generate_private_key(65537, 2048).private_numbers()
    assert has_close_primes(key.p * key.p)
    assert not has_close_primes(key.p * key.q)


@given(st.integers(min_value=1 << 40, max_value=1 << 60), st.integers(min_value=0, max_value=20))
def test_fermat_finds_what_is_a_difference_of_near_squares(half: int, distance: int) -> None:
    assert has_close_primes((half + distance) * (half - distance))


@pytest.mark.parametrize("factor", [3, 101, 751])
def test_a_small_factor_is_told(factor: int) -> None:
    good = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    assert any("small factor" in each for each in weak(rsa_key(factor * good)))


def test_a_key_on_a_list_is_told() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    line = f"Modulus={key.public_numbers().n:X}\n".encode()
    debian = sha1(line, usedforsecurity=False).hexdigest()[20:]
    for name in (sha256(spki(key)).hexdigest(), debian):
        assert list(weaknesses(key, spki(key), {name})) == ["the key is on the list of blocked keys"]
    assert blocked_names(key, spki(key)) == {sha256(spki(key)).hexdigest(), debian}
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert blocked_names(other, spki(other)) == {sha256(spki(other)).hexdigest()}
