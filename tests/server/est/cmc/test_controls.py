"""Controls, one by one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from pyasn1.type import univ

from ca import der
from server.cms.algorithms import Digest
from server.est.cmc import codec
from server.est.cmc.messages import CmcFault, FailInfo, PkiData
from tests.fakes.manufacturer import make
from tests.server.est import cmc_client as client

if TYPE_CHECKING:
    from collections.abc import Iterable

CERTIFICATE = make("pump", make("CA", ca=True)).certificate


def read(*controls: object) -> PkiData:
    return codec.decode_pki_data(client.pki_data((), controls))


def test_a_revocation_says_which_certificate_why_and_by_what_right() -> None:
    (found,) = read(client.revoke(1, CERTIFICATE, passphrase="secret", since="20260102030405Z")).revocations
    assert (found.part, found.serial, found.reason) == (1, CERTIFICATE.serial_number, x509.ReasonFlags.key_compromise)
    assert found.issuer == CERTIFICATE.issuer.public_bytes()
    assert (found.passphrase, found.invalid_since) == ("secret", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_several_certificates_may_be_revoked_at_once() -> None:
    assert [each.part for each in read(client.revoke(1, CERTIFICATE), client.revoke(2, CERTIFICATE)).revocations] == [
        1,
        2,
    ]


@pytest.mark.parametrize("reason", [2, 8, 10])
def test_reasons_that_are_not_for_requesters_are_refused(reason: int) -> None:
    with pytest.raises(CmcFault) as caught:
        read(client.revoke(5, CERTIFICATE, reason=reason))
    assert (caught.value.fail, caught.value.parts) == (FailInfo.BAD_REQUEST, (5,))


def test_questions_for_pending_requests_keep_their_tokens() -> None:
    assert [(each.part, each.token) for each in read(client.query(1, b"a"), client.query(2, b"b")).queries] == [
        (1, b"a"),
        (2, b"b"),
    ]


@pytest.mark.parametrize("more", [False, True])
def test_a_question_for_a_revocation_list_names_its_issuer_and_perhaps_a_time(*, more: bool) -> None:
    found = read(client.get_crl(1, CERTIFICATE.issuer, time="20260102030405Z", more=more)).crl_query
    assert found is not None
    assert (found.part, found.issuer) == (1, CERTIFICATE.issuer.public_bytes())
    assert found.at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    newest = read(client.get_crl(1, CERTIFICATE.issuer, more=more)).crl_query
    assert newest is not None
    assert newest.at is None


@pytest.mark.parametrize("value", [der.sequence(), der.sequence(der.sequence(), der.null())])
def test_what_is_no_question_for_a_revocation_list_is_a_bad_request(value: bytes) -> None:
    control = der.sequence(der.integer(1), der.oid("1.3.6.1.5.5.7.7.16"), der.set_of(value))
    data = der.sequence(der.sequence(control), *[der.sequence()] * 3)
    with pytest.raises(CmcFault) as caught:
        codec.decode_pki_data(data)
    assert caught.value.fail is FailInfo.BAD_REQUEST


def test_an_identity_proof_names_its_algorithms() -> None:
    data = read(client.query(1, b"a"), client.control(2, 34, client.witness("secret", b"data")))
    assert data.proof is not None
    assert (data.proof.hash, data.proof.mac) == (Digest.SHA256, Digest.SHA256)


@pytest.mark.parametrize(
    "algorithms",
    [{"hash_": "1.3.14.3.2.26"}, {"mac": "1.3.6.1.5.5.8.1.2"}, {"mac": "1.2.840.113549.2.5"}],
    ids=["SHA-1", "HMAC-SHA1", "HMAC-MD5"],
)
def test_an_identity_proof_with_another_algorithm_is_refused(algorithms: dict[str, str]) -> None:
    with pytest.raises(CmcFault) as caught:
        read(client.query(1, b"a"), client.control(2, 34, client.witness("secret", b"data", **algorithms)))
    assert caught.value.fail is FailInfo.BAD_ALG


def test_a_recipient_nonce_and_data_to_return_are_taken() -> None:
    data = read(
        client.query(1, b"a"),
        client.control(2, 7, univ.OctetString(b"x")),
        client.control(3, 4, univ.OctetString(b"back")),
        client.control(4, 22, univ.OctetString(b"r" * 64)),
    )
    assert (data.data_return, data.link_random) == (b"back", b"r" * 64)


def by_hand(controls: Iterable[bytes]) -> bytes:
    return der.sequence(der.sequence(*controls), der.sequence(), der.sequence(), der.sequence())


@pytest.mark.parametrize("values", [(), (der.octet_string(b"a"), der.octet_string(b"b"))], ids=["none", "two"])
def test_a_control_has_exactly_one_value(values: tuple[bytes, ...]) -> None:
    control = der.sequence(der.integer(3), der.oid(f"{client.CMC}21"), der.tlv(der.SET, *values))
    with pytest.raises(CmcFault) as caught:
        codec.decode_pki_data(by_hand([control]))
    assert caught.value.parts == (3,)


def test_a_revocation_with_something_behind_it_is_refused() -> None:
    value = der.sequence(
        CERTIFICATE.issuer.public_bytes(), der.integer(1), der.tlv(der.ENUMERATED, b"\x01"), der.utf8("why"), der.null()
    )
    control = der.sequence(der.integer(3), der.oid(f"{client.CMC}17"), der.set_of(value))
    with pytest.raises(CmcFault):
        codec.decode_pki_data(by_hand([control]))


def test_a_number_of_absurd_length_is_refused() -> None:
    control = der.sequence(der.integer(3), der.oid(f"{client.CMC}5"), der.set_of(der.tlv(der.INTEGER, b"\x01" * 65)))
    with pytest.raises(CmcFault, match="absurd length"):
        codec.decode_pki_data(by_hand([control]))


def test_an_identification_of_absurd_length_is_refused() -> None:
    with pytest.raises(CmcFault, match="absurd length"):
        read(client.query(1, b"a"), client.identification(2, "x" * 256))
