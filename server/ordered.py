"""Identifiers and serial numbers that begin with the time, so that what is recorded together stands together.

An index on random values is written in another page for each row as soon as it is large: with a million certificates
that is most of what an enrollment writes. These grow at one place, and what is asked for soon after is in memory still.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

SERIAL_RANDOM_BITS = 128
"""What nobody can foresee in a serial number; CA/Browser Forum BR 7.1 asks for 64."""
_SECONDS_BITS = 30
_ALWAYS = 1 << (SERIAL_RANDOM_BITS + _SECONDS_BITS)
"""It makes them all 20 octets long, the most that RFC 5280 section 4.1.2.2 allows, and positive."""


def ordered_id(now: datetime, random: bytes) -> str:
    """Return an identifier, in lower-case hex: the milliseconds of the time in 12 digits, then the random octets."""
    return f"{int(now.timestamp() * 1000):012x}{random.hex()}"


def ordered_serial_number(now: datetime, random: int) -> int:
    """Return a serial number of 20 octets: the second of the time, then random bits.

    Seconds begin anew after 34 years, which harms nothing: the random bits alone keep numbers apart.

    Args:
        now: the time; `notBefore` tells it anyway.
        random: `SERIAL_RANDOM_BITS` of a source that nobody can foresee.
    """
    seconds = int(now.timestamp()) % (1 << _SECONDS_BITS)
    return _ALWAYS | seconds << SERIAL_RANDOM_BITS | random
