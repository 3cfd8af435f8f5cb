"""GetCert and GetCRL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from ca import der
from server.cms.enveloped import read_envelope
from server.scep.codec import Malformed, read_issuer_and_serial
from tests.server.scep.device import NOW, Message, csr, envelope, read_reply, rsa_key, self_signed, spki
from tests.server.scep.lab import ISSUING, ROOT
from tests.server.scep.test_defects import counted, is_of_the_reader, rebuilt

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab

GET_CERT, GET_CRL = der.printable("21"), der.printable("22")
STRANGER = rsa_key("stranger")


def issuer_and_serial(certificate: x509.Certificate, serial: int | None = None) -> bytes:
    number = certificate.serial_number if serial is None else serial
    return der.sequence(certificate.issuer.public_bytes(), der.integer(number))


def asking(lab: Lab, content: bytes, kind: bytes) -> Message:
    """Return a request by somebody whom nobody knows."""
    return Message(envelope(content, lab.ra_der), STRANGER, self_signed(STRANGER, "stranger"), kind=kind)


def crl(issuer: bytes) -> bytes | None:
    if issuer != ISSUING.certificate.subject.public_bytes():
        return None
    builder = x509.CertificateRevocationListBuilder(ISSUING.certificate.subject, NOW, NOW + timedelta(days=1))
    return builder.sign(ISSUING.key, hashes.SHA256()).public_bytes(Encoding.DER)


async def test_get_cert_gives_a_certificate_to_whoever_knows_its_serial_number(lab: Lab) -> None:
    wanted = await lab.enroll()
    reply = await lab.ask(asking(lab, issuer_and_serial(wanted), GET_CERT), lab.endpoint(get_cert=True))
    assert reply.status == "0"
    assert reply.certificates == (wanted.public_bytes(Encoding.DER),)


async def test_get_cert_is_off_unless_it_is_switched_on(lab: Lab) -> None:
    wanted = await lab.enroll()
    reply = await lab.ask(asking(lab, issuer_and_serial(wanted), GET_CERT))
    assert (reply.status, reply.fail_info) == ("2", "2")


async def test_a_certificate_that_nobody_issued_here_is_a_bad_cert_id(lab: Lab) -> None:
    wanted = await lab.enroll()
    unknown = issuer_and_serial(wanted, 4711)
    of_another_ca = der.sequence(ROOT.certificate.subject.public_bytes(), der.integer(wanted.serial_number))
    for content in (unknown, of_another_ca):
        reply = await lab.ask(asking(lab, content, GET_CERT), lab.endpoint(get_cert=True))
        assert (reply.status, reply.fail_info) == ("2", "4")


async def test_a_serial_number_of_another_ca_takes_as_many_calls_as_one_that_nobody_has(lab: Lab) -> None:
    wanted = await lab.enroll()
    unknown = issuer_and_serial(wanted, 4711)
    of_another_ca = der.sequence(ROOT.certificate.subject.public_bytes(), der.integer(wanted.serial_number))
    await counted(lab, unknown, "21", is_of_the_reader)  # so that what is remembered of a client is remembered
    first, second = [await counted(lab, each, "21", is_of_the_reader) for each in (unknown, of_another_ca)]
    assert abs(first - second) <= 4


async def test_get_cert_shows_nothing_of_other_endpoints(lab: Lab) -> None:
    wanted = await lab.enroll()
    request = asking(lab, issuer_and_serial(wanted), GET_CERT)
    assert (await lab.ask(request, lab.endpoint("other", get_cert=True))).fail_info == "4"
    allowed = lab.endpoint("other", get_cert=True, certificates_from=("scep/default",))
    assert (await lab.ask(request, allowed)).status == "0"


def spliced(recorded: bytes, plain: bytes, last: int) -> bytes:
    """Return an envelope with the last block of a recorded one behind two of the attacker's choice.

    The client's public key is in its signature's certificate, in the clear, so that what a block in the midst of it
    deciphers to is known: the attacker makes it the beginning of an IssuerAndSerialNumber. What follows is in the
    serial number, where every octet is as good as another, and the last octet of all is ``last``.
    """
    envelope = read_envelope(recorded)
    joined = envelope.vector + envelope.ciphertext
    blocks = [joined[at : at + 16] for at in range(0, len(joined), 16)]
    padded = plain + bytes((16 - len(plain) % 16,)) * (16 - len(plain) % 16)
    known = plain.index(spki(rsa_key())) // 16 + 4

    def deciphered(number: int) -> bytes:
        return xor(padded[number * 16 :][:16], blocks[number])

    beginning = bytes((der.SEQUENCE, 45, der.SEQUENCE, 0, der.INTEGER, 41, 1)).ljust(16, b"\x00")
    between = bytes(15) + bytes((deciphered(len(blocks) - 2)[-1] ^ last,))
    return rebuilt(
        recorded,
        vector=xor(deciphered(known), beginning),
        ciphertext=lambda _: blocks[known + 1] + between + blocks[-1],
    )


def xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", [GET_CERT, GET_CRL], ids=["GetCert", "GetCRL"])
async def test_blocks_of_a_recorded_enrollment_can_not_be_read_one_by_one(lab: Lab, kind: bytes) -> None:
    """Vaudenay's attack without a signature in its way: the padding is right for one of these, and none may tell."""
    lab.current_crl = crl
    endpoint, plain = lab.endpoint(get_cert=True), csr(rsa_key())
    recorded = envelope(plain, lab.ra_der)
    bodies = set()
    for content in (spliced(recorded, plain, 1), spliced(recorded, plain, 99), recorded, envelope(b"x", lab.ra_der)):
        message = Message(content, STRANGER, self_signed(STRANGER), kind=kind)
        bodies.add((await lab.send(message, endpoint)).body)
    assert len(bodies) == 1
    assert read_reply(bodies.pop(), STRANGER).fail_info == "4"
    assert len({request.detail for request in await lab.requests()}) == 3, "administrators are told more"


async def test_get_crl_gives_the_list_alone(lab: Lab) -> None:
    lab.current_crl = crl
    content = issuer_and_serial(await lab.enroll())
    message = asking(lab, content, GET_CRL)
    answer = await lab.send(message, lab.endpoint())
    reply = read_reply(answer.body, STRANGER)
    assert reply.status == "0"
    (listed,) = reply.crls
    assert x509.load_der_x509_crl(listed).issuer == ISSUING.certificate.subject
    assert reply.certificates == ()


@pytest.mark.parametrize("there", [True, False], ids=["of another CA", "none yet"])
async def test_a_list_that_is_not_there_is_a_bad_cert_id(lab: Lab, there: bool) -> None:  # noqa: FBT001 - parameter
    lab.current_crl = crl if there else lambda _: None
    other = der.sequence(ROOT.certificate.subject.public_bytes(), der.integer(1))
    content = other if there else issuer_and_serial(await lab.enroll())
    reply = await lab.ask(asking(lab, content, GET_CRL))
    assert (reply.status, reply.fail_info) == ("2", "4")


async def test_without_revocation_lists_get_crl_is_not_supported(lab: Lab) -> None:
    reply = await lab.ask(asking(lab, issuer_and_serial(await lab.enroll()), GET_CRL))
    assert (reply.status, reply.fail_info) == ("2", "2")


async def test_a_record_that_can_not_be_asked_is_said_by_http(lab: Lab) -> None:
    content = issuer_and_serial(await lab.enroll())
    with closing(sqlite3.connect(lab.database)) as database, database:
        database.execute("ALTER TABLE certificates RENAME TO elsewhere")
    answer = await lab.send(asking(lab, content, GET_CERT), lab.endpoint(get_cert=True))
    assert answer.status == 503


@given(st.binary(max_size=60))
def test_any_octets_are_an_issuer_and_serial_number_or_malformed(data: bytes) -> None:
    try:
        read_issuer_and_serial(data)
    except Malformed:
        return


@pytest.mark.parametrize("content", [der.sequence(), der.sequence(der.sequence(), der.null()), b"", der.integer(1)])
def test_what_is_no_issuer_and_serial_number_is_malformed(content: bytes) -> None:
    with pytest.raises(Malformed):
        read_issuer_and_serial(content)
