"""A CMP server as the issuing CA (RFC 4210, RFC 9810; HTTP transfer of RFC 6712).

p10cr, or kur for renewals, with polling and confirmation; rr for revocations.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from ca.backends import cmp_messages as cmp
from ca.backends.cmp_messages import Reply, Status, Transaction
from ca.backends.cmp_protection import BadProtection
from ca.issuer import AnswerUnusable, IssuerPending, IssuerRefused, IssuerUnavailable, NothingSigned

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ca.backends.cmp_protection import Protection
    from ca.backends.http_client import HttpClient
    from ca.backends.upstream import Order

_HEADERS = {"Content-Type": "application/pkixcmp"}
_FORM = serialization.PublicFormat.SubjectPublicKeyInfo
_SHORTEST_WAIT, _LONGEST_WAIT = 1, 24 * 3600
_USUAL_WAIT = 30
_ANSWERED = frozenset({cmp.TRANSACTION_IN_USE, cmp.BAD_CERT_ID, cmp.CERT_REVOKED})
"""Failures that have an answer other than telling them."""


@dataclass(frozen=True, slots=True)
class CmpUpstream:
    """A CMP server.

    Attributes:
        url: where messages are posted to.
        recipient: DER of the CA's name.
        protection: who we are there, and how we know it.
        client: HTTP; the messages protect themselves.
        random: gives unpredictable octets.
        updates: whether renewals are asked for by kur, which names the certificate before.
    """

    url: str
    recipient: bytes
    protection: Protection = field(repr=False)
    client: HttpClient
    random: Callable[[int], bytes]
    updates: bool = False

    async def enroll(self, order: Order) -> x509.Certificate:
        """Pass the requester's CSR on, or poll for it; see `ca.backends.upstream.Upstream.enroll`.

        Where the CSR alone does not ask for what is planned, or does not show to others that its key is there, the CA
        is told so: cr, and the proof of possession was verified here (raVerified, RFC 4211 section 4).

        The transaction follows from the request's identifier, so that a CA can tell a repetition.
        """
        if order.reference is not None:
            return await self._poll(order)
        identifier = hashlib.sha256(order.request_id.encode()).digest()[:16]
        if self.updates and order.renews is not None:
            body = cmp.write_kur(order.plan, self.recipient, order.renews)
            reply = await self._ask(body, identifier)
            if reply.status is None or cmp.BAD_CERT_ID not in reply.status.failures:
                return await self._conclude(order, reply)
            identifier = self.random(16)  # the certificate before is not this CA's: it is a new one there
        body = cmp.write_p10cr(order.csr.der) if order.speaks_for_itself else cmp.write_cr(order.plan)
        return await self._conclude(order, await self._ask(body, identifier))

    async def _ask(self, body: bytes, identifier: bytes) -> Reply:
        reply = await self._exchange(body, Transaction(identifier, self.random(16)))
        if reply.status is not None and cmp.TRANSACTION_IN_USE in reply.status.failures:
            # what became of the first attempt can't be had any more: ask anew
            reply = await self._exchange(body, Transaction(self.random(16), self.random(16)))
        return reply

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:  # noqa: ARG002 - rr has no dates of its own
        """Ask for the revocation (section 5.3.9); see `ca.backends.upstream.RevokingUpstream.revoke`."""
        body = cmp.write_rr(certificate.issuer.public_bytes(), certificate.serial_number, reason)
        reply = await self._exchange(body, Transaction(self.random(16), self.random(16)))
        if reply.status is None or reply.body not in {cmp.RP, cmp.ERROR}:
            raise IssuerRefused(f"the CA answers with a message of another kind ({reply.body})")
        done = {cmp.ACCEPTED, cmp.GRANTED_WITH_MODS, cmp.REVOKED_ALREADY}
        if reply.status.status not in done and cmp.CERT_REVOKED not in reply.status.failures:
            raise _failure(reply.status)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()

    async def _poll(self, order: Order) -> x509.Certificate:
        identifier, nonce, request, *certified = (order.reference or "").split(":")
        transaction = Transaction(bytes.fromhex(identifier), self.random(16), bytes.fromhex(nonce))
        body = cmp.write_poll_req(int(request))
        if not certified:
            return await self._conclude(order, await self._exchange(body, transaction))
        certificate = x509.load_der_x509_certificate(bytes.fromhex(certified[0]))
        await self._settle(certificate, body, transaction)
        return certificate

    async def _conclude(self, order: Order, reply: Reply) -> x509.Certificate:
        """Turn an answer into a certificate that the CA knows to have arrived, or into what it means."""
        if reply.body == cmp.POLL_REP:
            raise _pending(reply, reply.check_after)
        if reply.status is not None and reply.body == cmp.ERROR:
            raise _failure(reply.status)
        if reply.body not in {cmp.CP, cmp.KUP} or reply.status is None:
            raise AnswerUnusable(f"the CA answers with a message of another kind ({reply.body})")
        if reply.status.status == cmp.WAITING:
            raise _pending(reply, _USUAL_WAIT)
        if reply.status.status not in {cmp.ACCEPTED, cmp.GRANTED_WITH_MODS}:
            raise _failure(reply.status, whole=order.reference is not None)
        if reply.certificate is None:
            raise AnswerUnusable("the CA says yes and sends no certificate")
        certificate = x509.load_der_x509_certificate(reply.certificate)
        if certificate.public_key().public_bytes(serialization.Encoding.DER, _FORM) != order.plan.spki:
            raise AnswerUnusable("the CA has certified another key; its certificate is not confirmed")
        if not reply.implicit:
            await self._confirm(certificate, reply)
        return certificate

    async def _confirm(self, certificate: x509.Certificate, reply: Reply) -> None:
        """Say that the certificate has arrived; without that a CA revokes it (RFC 9810 section 5.2.8)."""
        algorithm = certificate.signature_hash_algorithm or hashes.SHA512()
        body = cmp.write_cert_conf(certificate.fingerprint(algorithm), reply.request)
        await self._settle(certificate, body, Transaction(reply.transaction, self.random(16), reply.sender_nonce))

    async def _settle(self, certificate: x509.Certificate, body: bytes, transaction: Transaction) -> None:
        """Send what the CA answers with a confirmation; it may need time for that too (RFC 9483 section 4.4)."""
        try:
            reply = await self._exchange(body, transaction)
        except IssuerRefused as error:
            raise AnswerUnusable(f"the CA does not take the confirmation: {error}") from error
        if reply.body == cmp.POLL_REP:
            raise _pending(reply, reply.check_after, certificate)
        if reply.body == cmp.ERROR and reply.status is not None and reply.status.status == cmp.WAITING:
            raise _pending(reply, _USUAL_WAIT, certificate)
        if reply.body != cmp.PKICONF:
            raise AnswerUnusable("the CA does not take the confirmation")

    async def _exchange(self, body: bytes, transaction: Transaction) -> Reply:
        """Post a message and read the answer to it.

        Raises:
            IssuerUnavailable: the answer is not from the CA, or is an error that may pass.
            IssuerRefused: an error, but for one that says to wait.
        """
        message = cmp.write_message(body, transaction, self.recipient, self.protection)
        answer = await self.client.send("POST", self.url, message, _HEADERS)
        answer.require(HTTPStatus.OK)
        try:
            reply = cmp.read_message(answer.body, self.protection)
        except BadProtection as error:
            raise IssuerUnavailable(str(error)) from error
        if (reply.transaction, reply.recipient_nonce) != (transaction.identifier, transaction.nonce):
            raise IssuerUnavailable("the CA's answer belongs to another message")
        if reply.body == cmp.ERROR and reply.status is not None and not _goes_on(reply.status):
            raise _failure(reply.status)
        return reply


def _pending(reply: Reply, seconds: int, certificate: x509.Certificate | None = None) -> IssuerPending:
    """Return what to come back with; the certificate, when it is there and its confirmation alone is awaited."""
    reference = f"{reply.transaction.hex()}:{reply.sender_nonce.hex()}:{reply.request}"
    if certificate is not None:
        reference += f":{certificate.public_bytes(serialization.Encoding.DER).hex()}"
    return IssuerPending(min(max(seconds, _SHORTEST_WAIT), _LONGEST_WAIT), reference)


def _goes_on(status: Status) -> bool:
    """Whether an error has an answer other than telling it."""
    return status.status == cmp.WAITING or bool(status.failures & _ANSWERED)


def _failure(status: Status, *, whole: bool = False) -> IssuerRefused | IssuerUnavailable:
    """Return what an error means; `whole` when it ends a transaction that has waited, in which nothing was granted."""
    said = f"the CA says {status.status}, failures {sorted(status.failures)}: {status.text}"
    if status.failures & (cmp.OURS | cmp.PASSING):
        return IssuerUnavailable(said)
    return NothingSigned(said) if whole else IssuerRefused(said)
