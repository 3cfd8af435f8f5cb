"""Who signed a message, as asn1crypto and cryptography made it."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from server.est.cmc import envelope
from server.est.cmc.messages import CmcFault, FailInfo
from tests.fakes.manufacturer import make
from tests.server.est import cmc_client as client

if TYPE_CHECKING:
    from server.est.cmc.envelope import Signer

CA = make("CA", ca=True)
PUMP = make("pump", CA)
KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
CONTENT = client.pki_data((), [client.query(1, b"x")])
WHEN = datetime(2026, 11, 21, 12, tzinfo=UTC)
SIGNED = client.signed(CONTENT, PUMP.key, PUMP.certificate, others=[CA.certificate], time=WHEN)


def signer(message: bytes, *keys: ec.EllipticCurvePrivateKey) -> Signer:
    opened, content = envelope.open_envelope(message)
    assert content == CONTENT
    return envelope.verify_signer(opened, list(map(client.spki, keys)))


def fault(message: bytes, *keys: ec.EllipticCurvePrivateKey) -> FailInfo | None:
    with pytest.raises(CmcFault) as caught:
        signer(message, *keys)
    return caught.value.fail


def test_the_signers_certificate_comes_first_whatever_else_is_in_the_bag() -> None:
    found = signer(SIGNED)
    assert found.presented == (PUMP.certificate, CA.certificate)
    assert (found.time, found.own_key) == (WHEN, None)


def test_an_rsa_key_signs_as_well() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert signer(client.signed(CONTENT, key), key).own_key == client.spki(key)  # type: ignore[arg-type]


def test_a_request_may_be_signed_with_its_own_key() -> None:
    assert signer(client.signed(CONTENT, KEY), OTHER, KEY).own_key == client.spki(KEY)


def test_an_identifier_of_its_own_making_will_do_where_there_is_one_key_only() -> None:
    message = client.signed(CONTENT, KEY, identifier=b"me")
    assert signer(message, KEY).own_key == client.spki(KEY)
    assert fault(message, OTHER, KEY) is FailInfo.BAD_MESSAGE_CHECK


def test_a_self_signed_certificate_of_the_requests_key_says_nothing_but_the_key() -> None:
    own = make("pump", ca=True)
    found = signer(client.signed(CONTENT, own.key, own.certificate), own.key)
    assert (found.own_key, found.presented) == (client.spki(own.key), ())


def test_a_message_that_nobody_signed_is_of_nobody() -> None:
    found = signer(client.signed(CONTENT, None), KEY)
    assert (found.presented, found.own_key) == ((), None)


def test_a_digest_in_place_of_a_signature_must_match() -> None:
    message = client.signed(CONTENT, None)
    assert fault(message[:-1] + bytes([message[-1] ^ 1])) is FailInfo.BAD_MESSAGE_CHECK


def test_a_signature_of_another_key_is_a_bad_message_check() -> None:
    assert fault(client.signed(CONTENT, OTHER, PUMP.certificate)) is FailInfo.BAD_MESSAGE_CHECK
    assert fault(client.signed(CONTENT, KEY), OTHER) is FailInfo.BAD_MESSAGE_CHECK
    assert fault(client.signed(CONTENT, KEY)) is FailInfo.BAD_MESSAGE_CHECK


def test_sha1_is_a_bad_algorithm() -> None:
    assert fault(client.signed(CONTENT, KEY, digest="sha1"), KEY) is FailInfo.BAD_ALG


def test_content_of_another_type_is_a_bad_request() -> None:
    assert fault(client.signed(CONTENT, KEY, content_type=client.PKI_RESPONSE), KEY) is FailInfo.BAD_REQUEST


@given(st.integers(0, len(SIGNED) - 1), st.integers(1, 255))
def test_a_changed_message_is_verified_or_the_one_exception(place: int, change: int) -> None:
    changed = bytearray(SIGNED)
    changed[place] ^= change
    with suppress(CmcFault):
        message, _ = envelope.open_envelope(bytes(changed))
        envelope.verify_signer(message, [client.spki(KEY)])


@given(st.binary(max_size=300))
def test_any_octets_are_an_envelope_or_the_one_exception(data: bytes) -> None:
    with pytest.raises(CmcFault):
        envelope.open_envelope(data)
