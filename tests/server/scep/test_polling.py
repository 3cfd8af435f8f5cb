"""PENDING and CertPoll: a person decides, and nobody else learns of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509

from ca import der
from server.outcome import Issued, Reason, Refused
from tests.server.scep.device import Message, csr, enrollment, envelope, rsa_key, self_signed

if TYPE_CHECKING:
    from tests.server.scep.lab import Lab

CERT_POLL = der.printable("20")


def question(lab: Lab) -> Message:
    return enrollment(lab.ra_der, content=envelope(csr(rsa_key(), "deferred"), lab.ra_der))


def poll(lab: Lab, key: str = "device", transaction: str = "transaction-1") -> Message:
    content = envelope(der.sequence(der.sequence(), der.sequence()), lab.ra_der)
    return Message(content, rsa_key(key), self_signed(rsa_key(key)), CERT_POLL, transaction=der.printable(transaction))


async def test_a_request_that_a_person_must_approve_is_pending(lab: Lab) -> None:
    reply = await lab.ask(question(lab))
    assert (reply.status, reply.fail_info, reply.certificates) == ("3", None, ())
    assert (await lab.ask(poll(lab))).status == "3"
    assert (await lab.ask(question(lab))).status == "3"
    assert len(await lab.requests()) == 1


async def test_after_the_approval_the_poll_gets_the_certificate(lab: Lab) -> None:
    await lab.ask(question(lab))
    (request,) = await lab.requests()
    outcome = await lab.enrollment.approve(request.id, "an admin")
    assert isinstance(outcome, Issued)
    reply = await lab.ask(poll(lab))
    assert (reply.status, reply.certificates) == ("0", (outcome.certificate,))
    assert (await lab.ask(question(lab))).certificates == (outcome.certificate,)


async def test_after_the_rejection_the_poll_gets_a_failure_with_a_constant_text(lab: Lab) -> None:
    await lab.ask(question(lab))
    (request,) = await lab.requests()
    await lab.enrollment.reject(request.id, "an admin", "smells fishy")
    reply = await lab.ask(poll(lab))
    assert (reply.status, reply.fail_info) == ("2", "2")
    assert "fishy" not in (reply.text or "")


async def test_a_poll_with_another_key_looks_like_one_for_an_unknown_transaction(lab: Lab) -> None:
    await lab.ask(question(lab))
    stranger = await lab.ask(poll(lab, key="stranger"))
    unknown = await lab.ask(poll(lab, transaction="transaction-2"))
    assert (stranger.status, stranger.fail_info, stranger.text) == (unknown.status, unknown.fail_info, unknown.text)
    assert (unknown.status, unknown.fail_info) == ("2", "4")


async def test_a_poll_at_another_endpoint_finds_nothing(lab: Lab) -> None:
    await lab.ask(question(lab))
    reply = await lab.ask(poll(lab), lab.endpoint("other"))
    assert (reply.status, reply.fail_info) == ("2", "4")


async def test_strangers_with_the_same_transaction_do_not_hide_the_request(lab: Lab) -> None:
    await lab.ask(question(lab))
    stranger = rsa_key("stranger")
    for number in range(25):
        theirs = envelope(csr(stranger, "deferred", "sesame", f"device-{number}.test"), lab.ra_der)
        assert (await lab.ask(Message(theirs, stranger, self_signed(stranger)))).status == "3"
    wrong = envelope(csr(rsa_key(), "deferred", "wrong"), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=wrong))).status == "2"
    assert (await lab.ask(poll(lab))).status == "3"
    assert (await lab.ask(poll(lab, key="stranger"))).status == "3"


async def test_a_renewal_ends_when_its_certificate_is_revoked_before_a_person_approves(lab: Lab) -> None:
    """Whoever stole the key may have asked just before that was noticed."""
    old = (await lab.ask(enrollment(lab.ra_der))).certificates[0]
    request = envelope(csr(rsa_key("new"), "deferred"), lab.ra_der)
    asked = Message(request, rsa_key(), old, der.printable("17"), transaction=der.printable("renewal-1"))
    assert (await lab.ask(asked)).status == "3"
    serial = x509.load_der_x509_certificate(old).serial_number
    await lab.enrollment.revoke(serial, x509.ReasonFlags.key_compromise, "an admin")
    (pending, _) = await lab.requests()
    outcome = await lab.enrollment.approve(pending.id, "another admin")
    assert isinstance(outcome, Refused)
    assert outcome.problem.reason is Reason.CERTIFICATE_REJECTED
    assert await lab.issued() == 1
    reply = await lab.ask(replace(asked, kind=CERT_POLL))
    assert (reply.status, reply.fail_info) == ("2", "2")


async def test_a_certificate_that_is_revoked_meanwhile_is_not_to_be_polled(lab: Lab) -> None:
    await lab.ask(question(lab))
    (request,) = await lab.requests()
    outcome = await lab.enrollment.approve(request.id, "an admin")
    assert isinstance(outcome, Issued)
    serial = x509.load_der_x509_certificate(outcome.certificate).serial_number
    await lab.enrollment.revoke(serial, x509.ReasonFlags.key_compromise, "an admin")
    reply = await lab.ask(poll(lab))
    assert (reply.status, reply.fail_info, reply.certificates) == ("2", "4", ())


async def test_a_proxy_polls_for_what_it_has_asked_and_the_device_does_not(lab: Lab) -> None:
    """What must be the same is the key that signed the request, not the one in it."""
    proxy = rsa_key("proxy")
    certificate = self_signed(proxy, "MDM")
    lab.proxies = frozenset({sha256(certificate).digest()})
    asked = enrollment(lab.ra_der, content=question(lab).content, key=proxy, certificate=certificate)
    assert (await lab.ask(asked)).status == "3"
    assert (await lab.ask(replace(asked, kind=CERT_POLL))).status == "3"
    assert (await lab.ask(poll(lab))).fail_info == "4"


async def test_the_poll_of_a_renewal_is_signed_by_the_old_certificate(lab: Lab) -> None:
    old = (await lab.ask(enrollment(lab.ra_der))).certificates[0]
    request = envelope(csr(rsa_key("new"), "deferred"), lab.ra_der)
    asked = Message(request, rsa_key(), old, der.printable("17"), transaction=der.printable("renewal-1"))
    assert (await lab.ask(asked)).status == "3"
    (pending, _) = await lab.requests()
    outcome = await lab.enrollment.approve(pending.id, "an admin")
    assert isinstance(outcome, Issued)
    again = Message(asked.content, rsa_key(), old, CERT_POLL, transaction=der.printable("renewal-1"))
    assert (await lab.ask(again)).certificates == (outcome.certificate,)
    assert (await lab.ask(poll(lab, key="new", transaction="renewal-1"))).fail_info == "4"


async def test_a_poll_of_a_broken_database_gives_a_503(lab: Lab) -> None:
    with closing(sqlite3.connect(lab.database)) as other:
        other.execute("ALTER TABLE requests RENAME TO elsewhere")
    answer = await lab.send(poll(lab))
    assert answer.status == 503
