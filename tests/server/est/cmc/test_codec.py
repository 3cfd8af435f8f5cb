"""PKIData as another implementation writes it, and whatever else comes."""

from __future__ import annotations

from base64 import encodebytes
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from pyasn1.codec.der.decoder import decode
from pyasn1.type import char, univ
from pyasn1_alt_modules import rfc6402

from ca import der
from server.est.cmc import codec
from server.est.cmc.messages import (
    CmcFault,
    FailInfo,
    PkiResponse,
    Status,
    StatusInfo,
)
from server.outcome import Reason
from tests.server.est import cmc_client as client
from tests.server.est.lab import csr

KEY = ec.generate_private_key(ec.SECP256R1())
PKCS10 = csr("pump-17", dns=("pump-17.example",), key=KEY)
OF_TWO = client.pki_data(
    [client.pkcs10(1, PKCS10), client.crmf(2, KEY, "pump-18", ["pump-18.example"])],
    [client.transaction(3, 77), client.nonce(4, b"nonce"), client.identification(5, "pump")],
)


def fault(data: bytes) -> CmcFault:
    with pytest.raises(CmcFault) as caught:
        codec.decode_pki_data(data)
    return caught.value


def test_a_message_says_all_that_was_written_into_it() -> None:
    data = codec.decode_pki_data(OF_TWO)
    first, second = data.requests
    assert (first.part, str(first.csr.subject), list(map(str, first.csr.names))) == (
        1,
        "CN=pump-17",
        ["dns:pump-17.example"],
    )
    assert (second.part, str(second.csr.subject), list(map(str, second.csr.names))) == (
        2,
        "CN=pump-18",
        ["dns:pump-18.example"],
    )
    assert (data.transaction, data.sender_nonce, data.identification) == (77, b"nonce", "pump")
    assert data.faults == ()
    assert data.request_sequence in OF_TWO


def test_a_body_is_base64_in_any_layout_or_the_octets_themselves() -> None:
    assert codec.unwrap(OF_TWO) == OF_TWO
    assert codec.unwrap(encodebytes(OF_TWO).replace(b"\n", b"\r\n")) == OF_TWO
    with pytest.raises(CmcFault):
        codec.unwrap(b"-----BEGIN CMS-----")


def test_what_is_wrong_with_one_request_is_its_own_fault() -> None:
    broken = bytearray(PKCS10)
    broken[-1] ^= 1
    data = codec.decode_pki_data(
        client.pki_data([client.pkcs10(1, PKCS10), client.pkcs10(2, bytes(broken)), client.crmf(3, KEY, "x")])
    )
    assert [each.part for each in data.requests] == [1, 3]
    (found,) = data.faults
    assert (found.parts, found.fail, found.problem.reason) == ((2,), FailInfo.POP_FAILED, Reason.BAD_PROOF)


def test_a_key_that_nothing_here_works_with_is_a_bad_algorithm() -> None:
    odd = ec.generate_private_key(ec.SECP192R1())
    (found,) = codec.decode_pki_data(client.pki_data([client.pkcs10(1, csr("x", key=odd))])).faults
    assert (found.fail, found.parts) == (FailInfo.BAD_ALG, (1,))


@pytest.mark.parametrize(
    "controls",
    [
        [client.transaction(1, 7)],
        [client.transaction(2, 7), client.nonce(2, b"x")],
        [client.transaction(2, 7), client.transaction(3, 7)],
        [client.control(0, 5, univ.Integer(7))],
        [client.nonce(2, b"x" * 2000)],
        [client.control(2, 5, char.UTF8String("7"))],
        [client.control(2, 17, univ.Integer(7))],
        [client.transaction(number, 7) for number in range(2, 70)],
    ],
    ids=["used by a request", "used twice", "twice", "zero", "long", "of another type", "no sequence", "many"],
)
def test_controls_that_are_not_what_they_must_be_break_the_message(controls: list[object]) -> None:
    assert fault(client.pki_data([client.pkcs10(1, PKCS10)], controls)).fail is FailInfo.BAD_REQUEST


@pytest.mark.parametrize("number", [3, 15, 24, 28, 99])
def test_a_control_that_is_not_known_is_not_supported(number: int) -> None:
    found = fault(client.pki_data([client.pkcs10(1, PKCS10)], [client.control(8, number, univ.Null(""))]))
    assert (found.status, found.parts) == (Status.NO_SUPPORT, (8,))


def test_the_word_of_an_ra_is_no_proof_of_possession() -> None:
    """Section 6.8: where it is not taken, the answer is popFailed."""
    found = fault(client.pki_data([client.pkcs10(1, PKCS10)], [client.control(8, 11, univ.Null(""))]))
    assert (found.fail, found.parts) == (FailInfo.POP_FAILED, (8,))


def test_a_message_that_asks_for_nothing_is_a_bad_request() -> None:
    assert fault(client.pki_data()).fail is FailInfo.BAD_REQUEST


def test_too_many_requests_are_a_bad_request() -> None:
    request = client.crmf(1, KEY, "x")
    assert "more than 32" in str(fault(client.pki_data([request] * 33)))


def test_a_message_in_the_message_is_a_bad_request() -> None:
    controls, requests = der.sequence(), der.sequence()
    inner = der.sequence(der.sequence(der.integer(1), der.sequence()))
    assert "inside of the message" in str(fault(der.sequence(controls, requests, inner, der.sequence())))


def test_another_kind_of_request_is_that_requests_fault() -> None:
    other = der.tlv(0xA2, der.integer(1), der.oid("1.2.3"), der.null())
    data = codec.decode_pki_data(der.sequence(der.sequence(), der.sequence(other), der.sequence(), der.sequence()))
    assert [each.parts for each in data.faults] == [(1,)]


def test_a_message_in_ber_is_read() -> None:
    parts = [each.raw for each in der.children(der.read(OF_TWO))]
    indefinite = b"\x30\x80" + b"".join(parts) + b"\x00\x00"
    assert len(codec.decode_pki_data(indefinite).requests) == 2


def test_pop_link_witnesses_are_read_and_taken_out_of_the_request() -> None:
    linked = client.crmf(1, KEY, "x", controls=[(f"{client.CMC}33", client.witness("secret", b"random"))])
    (request,) = codec.decode_pki_data(client.pki_data([linked])).requests
    assert request.link is not None
    assert request.csr.attributes == ()


@pytest.mark.parametrize(
    ("controls", "fail"),
    [
        ([(f"{client.CMC}23", univ.OctetString(b"x"))], FailInfo.BAD_ALG),
        ([(f"{client.CMC}33", client.witness("secret", b"random"))] * 2, FailInfo.BAD_REQUEST),
        ([(f"{client.CMC}33", univ.Null(""))], FailInfo.BAD_REQUEST),
        ([(f"{client.CMC}33", client.witness("secret", b"", hash_="1.3.14.3.2.26"))], FailInfo.BAD_ALG),
    ],
    ids=["SHA-1", "twice", "none", "another hash"],
)
def test_a_pop_link_witness_that_cant_be_judged_is_that_requests_fault(
    controls: list[tuple[str, object]], fail: FailInfo
) -> None:
    data = codec.decode_pki_data(client.pki_data([client.crmf(4, KEY, "x", controls=controls)]))
    assert [(each.fail, each.parts) for each in data.faults] == [(fail, (4,))]


def test_a_response_is_read_by_another_implementation() -> None:
    when = datetime(2026, 11, 21, 12, tzinfo=UTC)
    octets = codec.encode_response(
        PkiResponse(
            statuses=(
                StatusInfo(Status.SUCCESS, (1, 2)),
                StatusInfo(Status.FAILED, (3,), "no", FailInfo.POP_FAILED),
                StatusInfo(Status.PENDING, (4,), pending=(b"token", when)),
            ),
            sender_nonce=b"ours",
            transaction=7,
            recipient_nonce=b"theirs",
            data_return=b"back",
        )
    )
    response, rest = decode(octets, asn1Spec=rfc6402.PKIResponse())
    assert not rest
    found = [bytes(each["attrValues"][0]) for each in response["controlSequence"]]
    told = [client._told(each) for each in found[:3]]
    assert told == [
        client.Told("success", (1, 2), "", None, None),
        client.Told("failed", (3,), "no", "popFailed", None),
        client.Told("pending", (4,), "", None, b"token"),
    ]
    assert [decode(each)[0] for each in found[3:]] == [7, b"ours", b"theirs", b"back"]
    assert [int(each["bodyPartID"]) for each in response["controlSequence"]] == [1, 2, 3, 4, 5, 6, 7]


@given(st.binary(max_size=200) | st.builds(lambda cut, more: OF_TWO[:cut] + more, st.integers(0, 900), st.binary()))
def test_any_octets_are_a_message_or_the_one_exception(data: bytes) -> None:
    with suppress(CmcFault):
        codec.decode_pki_data(data)


@given(st.integers(0, len(OF_TWO) - 1), st.integers(1, 255))
def test_a_changed_message_is_a_message_or_the_one_exception(place: int, change: int) -> None:
    changed = bytearray(OF_TWO)
    changed[place] ^= change
    with suppress(CmcFault):
        codec.decode_pki_data(bytes(changed))
