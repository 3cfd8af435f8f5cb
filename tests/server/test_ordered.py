"""server/ordered.py: identifiers and serial numbers that sort by time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from server.ordered import SERIAL_RANDOM_BITS, ordered_id, ordered_serial_number

NOW = datetime(2026, 11, 21, 10, 0, 0, 123000, tzinfo=UTC)
TIMES = st.integers(1_577_836_800_000, 5_680_281_600_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC))
RANDOM = st.integers(0, 2**SERIAL_RANDOM_BITS - 1)


def test_an_identifier_is_the_time_in_milliseconds_and_then_the_random_octets() -> None:
    made = ordered_id(NOW, bytes.fromhex("00ff10"))
    assert made == f"{1795255200123:012x}00ff10"
    assert len(made) == 18


@given(TIMES, st.integers(1, 10**9), st.binary(min_size=5, max_size=5), st.binary(min_size=5, max_size=5))
def test_a_later_identifier_sorts_behind_an_earlier_one(time: datetime, later: int, one: bytes, other: bytes) -> None:
    assert ordered_id(time, one) < ordered_id(time + timedelta(milliseconds=later + 1), other)


@given(TIMES, RANDOM)
def test_every_serial_number_is_positive_and_of_twenty_octets_and_holds_all_random_bits(
    time: datetime, random: int
) -> None:
    serial = ordered_serial_number(time, random)
    octets = serial.to_bytes((serial.bit_length() + 8) // 8, "big", signed=True)
    assert len(octets) == 20
    assert octets[0] < 0x80
    assert serial % (1 << SERIAL_RANDOM_BITS) == random


@given(RANDOM, RANDOM, st.integers(1, 10**8))
def test_a_serial_number_of_a_later_second_is_larger_as_a_number_and_as_hex(one: int, other: int, later: int) -> None:
    first = ordered_serial_number(NOW, one)
    second = ordered_serial_number(NOW + timedelta(seconds=later), other)
    assert first < second
    assert format(first, "x") < format(second, "x")


def test_serial_numbers_of_one_second_differ_by_their_random_bits_alone() -> None:
    assert ordered_serial_number(NOW, 5) - ordered_serial_number(NOW, 3) == 2
