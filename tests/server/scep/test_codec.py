from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.scep.codec import Malformed, read_message_parameter, read_pki_message, write_capabilities
from server.scep.messages import PRESETS
from tests.server.scep.device import enrollment, indefinite, rsa_key, self_signed

if TYPE_CHECKING:
    from collections.abc import Callable

RA = self_signed(rsa_key("ra"), "RA")
GOOD = enrollment(RA).encode()


def in_lines(encoded: bytes, length: int, end: bytes) -> bytes:
    return end.join(encoded[i : i + length] for i in range(0, len(encoded), length))


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda encoded: encoded,
    "unpadded": lambda encoded: encoded.rstrip(b"="),
    "lines": lambda encoded: in_lines(encoded, 64, b"\r\n") + b"\n",
    "spaces for plus": lambda encoded: encoded.replace(b"+", b" "),
    "URL-safe": lambda encoded: encoded.replace(b"+", b"-").replace(b"/", b"_"),
    "tabs": lambda encoded: b"\t" + encoded,
    "spaced lines": lambda encoded: in_lines(encoded, 63, b" "),
}


@given(st.binary(), st.sampled_from(sorted(FORMS)))
def test_base64_is_read_in_every_form_that_clients_send(data: bytes, form: str) -> None:
    encoded = FORMS[form](base64.b64encode(data))
    if form == "spaces for plus" and encoded.strip() != encoded:
        return
    if form == "spaced lines" and read_or_none(encoded.replace(b" ", b"+")) is not None:
        return
    assert read_message_parameter(encoded) == data


def read_or_none(encoded: bytes) -> bytes | None:
    try:
        return read_message_parameter(encoded)
    except Malformed:
        return None


@pytest.mark.parametrize("value", [b"A", b"AAAA=A", b"AA%", b"A\xff==", b"{}"])
def test_what_is_not_base64_is_malformed(value: bytes) -> None:
    with pytest.raises(Malformed, match="base64"):
        read_message_parameter(value)


@given(st.binary(max_size=100))
def test_any_parameter_is_read_or_malformed(value: bytes) -> None:
    read_or_none(value)


@pytest.mark.parametrize("depth", range(1, 5))
def test_a_message_with_indefinite_lengths_is_the_same_message(depth: int) -> None:
    # deeper down are certificates and signed attributes, which every client writes in DER
    plain, odd = read_pki_message(GOOD), read_pki_message(indefinite(GOOD, depth))
    assert odd.signed.content == plain.signed.content
    assert (odd.transaction, odd.message_type, odd.sender_nonce) == ("transaction-1", "19", bytes(range(16)))
    assert odd.signer == plain.signer


@given(st.binary(max_size=300))
def test_any_octets_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_pki_message(data)


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_change_of_an_octet_is_read_or_malformed(position: int, octet: int) -> None:
    try:
        read_pki_message(GOOD[:position] + bytes((octet,)) + GOOD[position + 1 :])
    except Malformed:
        return


def test_capabilities_say_what_works_and_no_more() -> None:
    words = write_capabilities(PRESETS["modern"], renewal=True).decode().splitlines()
    assert words == [
        "AES",
        "GetNextCACert",
        "POSTPKIOperation",
        "Renewal",
        "SCEPStandard",
        "SHA-256",
        "SHA-384",
        "SHA-512",
    ]
    assert "Renewal" not in write_capabilities(PRESETS["modern"], renewal=False).decode()
    assert {"DES3", "SHA-1"} < set(write_capabilities(PRESETS["compatible"], renewal=True).decode().splitlines())


def test_capabilities_fit_into_certmongers_buffer() -> None:
    assert len(write_capabilities(PRESETS["compatible"], renewal=True)) < 1024
