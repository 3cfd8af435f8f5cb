"""Outcomes as CertReps, signed by the RA (RFC 8894 section 3.3.2)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from cryptography.hazmat.primitives.serialization import Encoding

from ca.issuer import IssuerError
from server.cms.passwords import Password
from server.cms.signing import write_signed
from server.cohort import next_step
from server.outcome import Issued, Pending, Refused
from server.scep.codec import write_reply_attributes, write_success
from server.scep.gate import reply_digest
from server.scep.messages import PKI_MESSAGE, TEXT, Answer, Found, Success, Unavailable, Waiting
from server.scep.problems import not_signed, to_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.clock import Clock
    from server.outcome import Outcome
    from server.scep.gate import Sealed
    from server.scep.messages import Accepted, AgreedRecipient, CertRep, PkiMessage, Recipient
    from server.scep.ra import RaKey

StatusContent = Literal["auto", "omit", "empty"]


def _recipient(sealed: Sealed | None) -> Recipient | AgreedRecipient | Password:
    if sealed is None or sealed.reply_to is None:
        raise RuntimeError("a certificate for nobody")
    return sealed.reply_to


class Replies:
    """Writes the replies of one endpoint.

    Args:
        accepted: the digests that may be mirrored.
        with_ca: whether the CA's certificate follows the issued one.
        hresult: whether refusals carry Microsoft's error code too.
        status_content: how a reply without certificate is written.
        clock: tells the signing time.
        nonce: returns 16 fresh octets for a senderNonce.
        random: returns that many octets for content keys and initialisation vectors.
    """

    def __init__(
        self,
        *,
        accepted: Accepted,
        status_content: StatusContent,
        with_ca: bool,
        hresult: bool,
        clock: Clock,
        nonce: Callable[[], bytes],
        random: Callable[[int], bytes],
    ) -> None:
        self._accepted = accepted
        self._status_content = status_content
        self._with_ca = with_ca
        self._hresult = hresult
        self._clock = clock
        self._nonce = nonce
        self._random = random

    async def answer(self, message: PkiMessage, sealed: Sealed | None, outcome: Outcome | Found, ra: RaKey) -> Answer:
        """Return the answer to a message.

        Args:
            message: the request.
            sealed: its envelope, which says whom to encrypt to; None when it was not read, and nothing is issued then.
            outcome: what became of it.
            ra: signs the reply; the one that the client wrote to, because that is the one it knows.
        """
        try:
            return await self._signed(message, sealed, outcome, ra)
        except IssuerError as error:
            return not_signed(error, message.transaction)

    async def _signed(self, message: PkiMessage, sealed: Sealed | None, outcome: Outcome | Found, ra: RaKey) -> Answer:
        """Return the answer. Raises IssuerError: the RA's key can't be used now."""
        notes: dict[str, object] = {"transaction": message.transaction}
        reply: CertRep
        if isinstance(outcome, Found):
            notes["outcome"] = "found"
            reply = Success(_recipient(sealed), outcome.certificates, outcome.crls)
            return Answer(200, PKI_MESSAGE, await self._cert_rep(message, reply, ra), notes=notes)
        notes["request_id"] = outcome.request_id
        match outcome:
            case Issued():
                notes["outcome"] = "issued"
                above = outcome.chain[:1] if self._with_ca else ()
                certificates = (outcome.certificate, *(ca.public_bytes(Encoding.DER) for ca in above))
                reply = Success(_recipient(sealed), certificates)
            case Pending():
                notes["outcome"] = "pending"
                reply = Waiting()
            case Refused():
                notes.update(outcome.problem.notes())
                said = to_reply(outcome.problem)
                if isinstance(said, Unavailable):
                    return Answer(said.status, TEXT, f"{said.text}\n".encode(), said.retry_after, notes)
                reply = said if self._hresult else replace(said, hresult=None)
        return Answer(200, PKI_MESSAGE, await self._cert_rep(message, reply, ra), notes=notes)

    async def _cert_rep(self, message: PkiMessage, reply: CertRep, ra: RaKey) -> bytes:
        digest = reply_digest(message, self._accepted)
        if isinstance(reply, Success):
            content: bytes | None = await self._envelope(reply)
        else:
            content = b"" if self._writes_empty_content(message) else None
        attributes = write_reply_attributes(
            message, reply, content, digest=digest, nonce=self._nonce(), now=self._clock()
        )
        await next_step()
        signature = await ra.sign(attributes, digest)
        return write_signed(content, attributes, signature, digest, ra.addressed)

    async def _envelope(self, reply: Success) -> bytes:
        if isinstance(reply.recipient, Password):  # which takes long by design
            return await asyncio.to_thread(write_success, reply, self._random)
        return write_success(reply, self._random)

    def _writes_empty_content(self, message: PkiMessage) -> bool:
        """Whether a reply without certificate has an empty content instead of none.

        certmonger takes a reply without content for an unreachable CA and asks for ever. It is known by its version 1
        certificate.
        """
        match self._status_content:
            case "empty":
                return True
            case "omit":
                return False
            case "auto":
                return message.signer is not None and message.signer.version == 1
