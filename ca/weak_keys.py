"""Public keys whose private part is known, or can be worked out, by their looks alone.

What is looked for is what public CAs must refuse (CA/Browser Forum Baseline Requirements, section 6.1.1.3): keys of
the ROCA defect (CVE-2017-15361), RSA moduli of two close primes (Fermat's method), RSA moduli with a small factor, and
keys on a list, such as those of Debian's weak generator (CVE-2008-0166).
"""

from __future__ import annotations

from functools import cache
from hashlib import sha1, sha256
from math import gcd, isqrt, prod
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import rsa

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from ca.keys import SubjectKey

FERMAT_ROUNDS = 110
_SMALL = 752
_PRODUCTS = 6
_ROCA_PRIMES = 168
"""The primes of the defective library's generator for 512-bit keys; larger keys use these and more."""

_BASES = (64, 63, 65, 11, 17, 19, 23)
"""Modulo any of these a square is one of few; nearly no other number gets past all of them."""
_TOGETHER = prod(_BASES)


def weaknesses(key: SubjectKey, spki: bytes, blocked: Collection[str] = ()) -> Iterator[str]:
    """Yield what is wrong with a key, in words that a requester may see; nothing for a key that may be good.

    Args:
        key: the key.
        spki: DER of its SubjectPublicKeyInfo.
        blocked: keys on a list: see `blocked_names`.
    """
    if blocked and not blocked_names(key, spki).isdisjoint(blocked):
        yield "the key is on the list of blocked keys"
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        if numbers.e < 3 or numbers.e % 2 == 0:
            yield "the RSA key's public exponent is not odd or is 1"
        if any(gcd(numbers.n % primes, primes) != 1 for primes in _small_primes()):
            yield "the RSA key's modulus has a small factor"
        if is_roca(numbers.n):
            yield "the RSA key was made by a defective library (ROCA, CVE-2017-15361)"
        if has_close_primes(numbers.n):
            yield "the RSA key's modulus is made of two primes close to each other"


def blocked_names(key: SubjectKey, spki: bytes) -> frozenset[str]:
    """Return how lists of blocked keys may write a key, in lower-case hex.

    The SHA-256 of the SubjectPublicKeyInfo, and for RSA the last 20 digits of the SHA-1 of ``Modulus=...``, as Debian's
    openssl-blacklist has it.
    """
    names = [sha256(spki).hexdigest()]
    if isinstance(key, rsa.RSAPublicKey):
        line = f"Modulus={key.public_numbers().n:X}\n".encode()
        names.append(sha1(line, usedforsecurity=False).hexdigest()[20:])
    return frozenset(names)


def is_roca(modulus: int) -> bool:
    """Whether a modulus is a power of 65537 modulo every one of the generator's primes; others hardly ever are.

    The test is that of Nemec and others, "The Return of Coppersmith's Attack" (2017), section 2.3.
    """
    return all(modulus % prime in residues for prime, residues in _roca_residues())


def has_close_primes(modulus: int) -> bool:
    """Whether Fermat's method factors a modulus in a few rounds."""
    root = isqrt(modulus)
    if root * root == modulus:
        return True
    middle, rounds = root + 1, (1 << FERMAT_ROUNDS) - 1
    # By what remains of them most rounds are told to be in vain, all at once: long numbers are made for the others.
    middle_rest, modulus_rest = middle % _TOGETHER, modulus % _TOGETHER
    for base in _BASES:
        rounds &= _hopeful(base, modulus_rest % base) >> middle_rest % base
    while rounds:
        number = (rounds & -rounds).bit_length() - 1
        square = (middle + number) ** 2 - modulus
        if isqrt(square) ** 2 == square:
            return True
        rounds &= rounds - 1
    return False


@cache
def _hopeful(base: int, modulus: int) -> int:
    """Return, as bits, the numbers whose square less the modulus may be a square, as far as the rests tell."""
    squares = {number * number % base for number in range(base)}
    every = range(base + FERMAT_ROUNDS)
    return sum(1 << number for number in every if (number * number - modulus) % base in squares)


def _primes(below: int) -> list[int]:
    return [number for number in range(3, below, 2) if all(number % other for other in range(3, isqrt(number) + 1, 2))]


@cache
def _small_primes() -> tuple[int, ...]:
    """Return the small primes, multiplied to a few numbers: for one long one the greatest divisor takes much longer."""
    every = (2, *_primes(_SMALL))
    return tuple(prod(every[first::_PRODUCTS]) for first in range(_PRODUCTS))


@cache
def _roca_residues() -> tuple[tuple[int, frozenset[int]], ...]:
    every = ((prime, frozenset(pow(65537, power, prime) for power in range(prime))) for prime in _primes(_ROCA_PRIMES))
    # where every residue is a power, nothing is told; where few are, most keys are told at once
    telling = [(prime, residues) for prime, residues in every if len(residues) < prime - 1]
    return tuple(sorted(telling, key=lambda pair: len(pair[1]) / pair[0]))
