from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.credentials.sealing import Sealer, Unsealable, parse_key

KEY = bytes(range(32))


@given(secret=st.binary(max_size=100), identifier=st.text(max_size=20).filter(lambda t: t.isascii()))
def test_what_is_sealed_is_opened_under_its_identifier_alone(secret: bytes, identifier: str) -> None:
    sealed = Sealer(KEY).seal(secret, identifier)
    assert Sealer(KEY).open(sealed, identifier) == secret
    for sealer, other in ((Sealer(KEY), identifier + "x"), (Sealer(KEY[::-1]), identifier)):
        with pytest.raises(Unsealable):
            sealer.open(sealed, other)


@given(st.binary(max_size=64))
def test_anything_else_is_unsealable(octets: bytes) -> None:
    with pytest.raises(Unsealable):
        Sealer(KEY).open(octets, "id")


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert Sealer(KEY).seal(b"secret", "id") != Sealer(KEY).seal(b"secret", "id")


def test_a_key_is_64_hexadecimal_digits() -> None:
    assert parse_key(KEY.hex() + "\n") == KEY
    for text in ("", "zz" * 32, "00" * 31):
        with pytest.raises(ValueError, match="openssl rand -hex 32"):
            parse_key(text)
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(b"short")
