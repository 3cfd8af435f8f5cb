"""First enrollments: who gets a certificate, how it comes back, and what is on record."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from ca import der
from ca.csr import read_recorded_csr
from server.cms.algorithms import PKCS1, Cipher, Digest, KeyTransport
from server.cms.enveloped import read_envelope
from server.outcome import Reason
from server.store import Store
from server.store.requests import State
from tests.server.scep.device import (
    NONCE,
    Message,
    bag,
    csr,
    enrollment,
    envelope,
    read_reply,
    rsa_key,
    self_signed,
)

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab

OAEP = KeyTransport((Digest.SHA1, Digest.SHA1))
OAEP_SHA256 = KeyTransport((Digest.SHA256, Digest.SHA256))


async def test_a_device_with_the_challenge_gets_the_certificate_it_asked_for(lab: Lab) -> None:
    reply = await lab.ask(enrollment(lab.ra_der))
    assert reply.status == "0"
    assert len(reply.certificates) == 1
    certificate = x509.load_der_x509_certificate(reply.certificates[0])
    assert certificate.public_key() == rsa_key().public_key()
    assert certificate.issuer == lab.issuer.chain()[0].subject
    assert reply.recipient_nonce == NONCE
    assert reply.fail_info is None


async def test_the_request_is_on_record_with_its_transaction_and_its_requester(lab: Lab) -> None:
    await lab.enroll()
    (request,) = await lab.requests()
    assert (request.state, request.transaction) == (State.ISSUED, "transaction-1")
    assert (request.requester, request.address) == ("challenge:static", "192.0.2.7")


async def test_the_transaction_comes_back_in_the_string_type_that_it_came_in(lab: Lab) -> None:
    for encoded in (der.utf8("t-1"), der.ia5("t-2"), der.tlv(der.T61_STRING, b"t-3"), der.printable("t" * 255)):
        assert (await lab.ask(enrollment(lab.ra_der, transaction=encoded))).transaction == encoded


@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
@pytest.mark.parametrize("cipher", [Cipher.AES128, Cipher.AES192, Cipher.AES256])
@pytest.mark.parametrize("transport", [PKCS1, OAEP, OAEP_SHA256])
async def test_the_reply_mirrors_the_algorithms_of_the_request(
    lab: Lab, digest: Digest, cipher: Cipher, transport: KeyTransport
) -> None:
    content = envelope(csr(rsa_key()), lab.ra_der, cipher, transport)
    reply = await lab.ask(enrollment(lab.ra_der, content=content, digest=digest))
    inside = read_envelope(reply.signed.content or b"")
    assert (inside.cipher, inside.recipients[0].transport()) == (cipher, transport)
    assert reply.signed.signer.digest_algorithm.oid == digest.oid
    assert reply.signed.signer.signature_algorithm.oid == "1.2.840.113549.1.1.1"


async def test_a_reply_that_would_not_fit_the_signers_key_is_refused_before_anything_is_issued(lab: Lab) -> None:
    small = rsa_key("small", 1024)
    for digest, status in ((Digest.SHA512, "2"), (Digest.SHA384, "2"), (Digest.SHA256, "0")):
        content = envelope(csr(small), lab.ra_der, Cipher.AES256, KeyTransport((digest, digest)))
        reply = await lab.ask(enrollment(lab.ra_der, content=content, key=small, certificate=self_signed(small)))
        assert (reply.status, reply.fail_info) == (status, "0" if status == "2" else None)
        assert await lab.issued() == (0 if status == "2" else 1)


async def test_the_reply_is_signed_by_the_ra_and_carries_its_certificate_alone(lab: Lab) -> None:
    reply = await lab.ask(enrollment(lab.ra_der))
    assert [certificate.der for certificate in reply.signed.certificates] == [lab.ra_der]


async def test_the_reply_is_encrypted_to_the_signer_and_to_nobody_else_in_the_bag(lab: Lab) -> None:
    stranger = self_signed(rsa_key("stranger"), "stranger")
    reply = await lab.ask(enrollment(lab.ra_der, extra_certificates=(stranger,)))
    (recipient,) = read_envelope(reply.signed.content or b"").recipients
    assert recipient.names(bag(self_signed(rsa_key())))


@pytest.mark.parametrize("challenge", ["wrong", "sesam", "sesame ", "x" * 5000])
async def test_a_wrong_challenge_gets_a_failure_and_is_on_record(lab: Lab, challenge: str) -> None:
    content = envelope(csr(rsa_key(), "device-1.test", challenge), lab.ra_der)
    reply = await lab.ask(enrollment(lab.ra_der, content=content))
    assert (reply.status, reply.fail_info, reply.certificates) == ("2", "2", ())
    (request,) = await lab.requests()
    assert (request.state, request.reason) == (State.REFUSED, Reason.BAD_CREDENTIALS)
    assert (request.transaction, request.requester) == ("transaction-1", "self-signed:1")
    assert request.csr is not None
    assert await lab.issued() == 0


@pytest.mark.parametrize("name", ["device-1.test", "deferred", "denied"])
@pytest.mark.parametrize("challenge", ["sesame", "opensesame"])
async def test_no_challenge_password_is_ever_in_the_database(lab: Lab, name: str, challenge: str) -> None:
    content = envelope(csr(rsa_key(), name, challenge, "device-1.test"), lab.ra_der)
    await lab.send(enrollment(lab.ra_der, content=content))
    (request,) = await lab.requests()
    assert request.csr is not None
    assert read_recorded_csr(request.csr).challenge_password is None
    await lab.store.close()
    assert not [path for path in lab.database.parent.iterdir() if b"sesame" in path.read_bytes()]
    lab.store = await Store.open(f"sqlite+aiosqlite:///{lab.database}")


@pytest.mark.parametrize("challenge", [None, ""])
async def test_no_challenge_is_no_authentication(lab: Lab, challenge: str | None) -> None:
    content = envelope(csr(rsa_key(), "device-1.test", challenge), lab.ra_der)
    reply = await lab.ask(enrollment(lab.ra_der, content=content))
    assert (reply.status, reply.fail_info) == ("2", "2")
    (request,) = await lab.requests()
    assert request.reason is Reason.UNAUTHENTICATED


async def test_a_refusal_of_the_policy_says_which_rules_and_not_their_values(lab: Lab) -> None:
    content = envelope(csr(rsa_key(), "denied"), lab.ra_der)
    reply = await lab.ask(enrollment(lab.ra_der, content=content))
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert reply.text == "this name is not allowed"
    (request,) = await lab.requests()
    assert [finding.rule for finding in request.findings] == ["subject.cn"]


async def test_a_retry_gets_the_same_certificate_in_a_fresh_reply(lab: Lab) -> None:
    first = await lab.enroll()
    again = enrollment(lab.ra_der, nonce=der.octet_string(b"another nonce"), certificate=self_signed(rsa_key(), "v2"))
    reply = await lab.ask(again)
    assert reply.recipient_nonce == b"another nonce"
    assert x509.load_der_x509_certificate(reply.certificates[0]) == first
    assert await lab.issued() == 1


async def test_retries_at_the_same_time_get_one_certificate(lab: Lab) -> None:
    message = enrollment(lab.ra_der).encode()
    answers = await asyncio.gather(*(lab.send(message) for _ in range(8)))
    assert len({read_reply(answer.body, rsa_key()).certificates for answer in answers}) == 1
    assert await lab.issued() == 1


async def test_the_same_transaction_of_another_key_is_another_request(lab: Lab) -> None:
    first = await lab.enroll()
    other = rsa_key("other")
    message = Message(envelope(csr(other), lab.ra_der), other, self_signed(other))
    reply = await lab.ask(message)
    second = x509.load_der_x509_certificate(reply.certificates[0])
    assert second.public_key() == other.public_key()
    assert second != first


async def test_the_same_transaction_with_other_names_is_another_request(lab: Lab) -> None:
    await lab.enroll()
    await lab.enroll(content=envelope(csr(rsa_key(), "device-2.test"), lab.ra_der))
    assert await lab.issued() == 2


async def test_the_same_transaction_at_another_endpoint_is_another_request(lab: Lab) -> None:
    await lab.enroll()
    await lab.enroll(lab.endpoint("other"))
    assert await lab.issued() == 2


async def test_a_request_for_another_key_than_the_signers_is_refused(lab: Lab) -> None:
    content = envelope(csr(rsa_key("victim")), lab.ra_der)
    reply = await lab.ask(enrollment(lab.ra_der, content=content))
    assert (reply.status, reply.fail_info) == ("2", "1")
    assert await lab.issued() == 0


async def test_an_ec_requester_is_told_that_the_algorithm_is_bad(lab: Lab) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    message = Message(envelope(csr(key), lab.ra_der), key, self_signed(key))
    answer = await lab.send(message)
    reply = read_reply(answer.body, rsa_key())
    assert (reply.status, reply.fail_info) == ("2", "0")
    assert "RSA" in (reply.text or "")


@pytest.mark.parametrize("changes", [{"digest": Digest.SHA1}, {"cipher": Cipher.DES3}], ids=["SHA-1", "3DES"])
async def test_old_algorithms_are_refused_unless_the_endpoint_is_compatible(
    lab: Lab, changes: dict[str, Digest | Cipher]
) -> None:
    cipher = changes.pop("cipher", Cipher.AES128)
    assert isinstance(cipher, Cipher)
    content = envelope(csr(rsa_key()), lab.ra_der, cipher)
    message = enrollment(lab.ra_der, content=content, **changes)
    refused = await lab.ask(message)
    assert (refused.status, refused.fail_info) == ("2", "0")
    assert refused.signed.signer.digest_algorithm.oid == Digest.SHA256.oid
    issued = await lab.ask(message, lab.endpoint(compatibility="compatible"))
    assert issued.status == "0"
    assert issued.signed.signer.digest_algorithm.oid == message.digest.oid
    assert read_envelope(issued.signed.content or b"").cipher is cipher


async def test_an_unknown_key_transport_is_a_bad_algorithm(lab: Lab) -> None:
    content = enrollment(lab.ra_der).content or b""
    content = content.replace(PKCS1.identifier(), der.sequence(der.oid("1.2.840.113549.1.1.9"), der.null()))
    reply = await lab.ask(enrollment(lab.ra_der, content=content))
    assert (reply.status, reply.fail_info) == ("2", "0")


async def test_a_locked_database_gives_a_503_and_no_certificate(lab: Lab) -> None:
    with closing(sqlite3.connect(lab.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = await lab.send(enrollment(lab.ra_der))
        assert (answer.status, answer.content_type) == (503, "text/plain")
        assert answer.retry_after is not None
    await lab.enroll()
