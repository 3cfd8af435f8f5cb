"""Who sends a full request: by its signature, by a shared secret, or as any other request of EST."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from policies.request import PasswordEvidence, password_identity
from server.est.cmc import proofs
from server.est.cmc.messages import CmcFault, FailInfo
from server.est.gate import Caller, Refusal, authenticate, lacks_certificate
from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from server.est.cmc.envelope import Signer
    from server.est.cmc.messages import PkiData
    from server.est.gate import EstEndpoint, Submission

FRESH = timedelta(hours=24)
"""For how long a signed message counts: as long as the same request gets the same certificate again, so that a message
that is sent once more by somebody else has no effect of its own."""
_AHEAD = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends the message.

    Attributes:
        submission: what it came with; the signer's certificate in place of that of the connection.
        caller: who asks; nobody, where each request must say more.
        secret: the shared secret that was shown to be known, None without.
        own_key: the key of the request that the message is signed with, None when it is signed otherwise.
    """

    submission: Submission
    caller: Caller
    secret: bytes | None = field(repr=False)
    own_key: bytes | None


async def identify(endpoint: EstEndpoint, submission: Submission, signer: Signer, data: PkiData) -> Identity:
    """Settle who sends the message. Raises Refusal and CmcFault.

    A certificate that the message is signed with is judged as if it were that of the connection, and in its place: what
    stands between a client and this server may have a connection of its own.
    """
    connected = submission.peer.leaf
    if signer.presented or signer.unreadable:
        leaf = signer.presented[0] if signer.presented else None
        peer = replace(submission.peer, leaf=leaf, presented=signer.presented, unreadable=signer.unreadable)
        submission = submission._replace(peer=peer)
        if leaf is not None and leaf != connected:
            _expect_fresh(endpoint, signer)
    caller = await authenticate(endpoint, submission, more_follows=True)
    if data.proof is None or lacks_certificate(endpoint, caller):
        return Identity(submission, caller, None, signer.own_key)
    caller, secret = await _proven(endpoint, submission, caller, data)
    return Identity(submission, caller, secret, signer.own_key)


def _expect_fresh(endpoint: EstEndpoint, signer: Signer) -> None:
    """Raise CmcFault when a signature may have been made for another occasion.

    A connection proves that the sender has the key now; a signature proves that somebody had it once.
    """
    now = endpoint.clock()
    if signer.time is not None and now - FRESH < signer.time < now + _AHEAD:
        return
    message = (
        "The message must have a signing time, within 24 hours of now, or come over a connection with the certificate "
        "that it is signed with."
    )
    raise CmcFault(FailInfo.BAD_TIME, Problem(Reason.MALFORMED, message))


async def _proven(endpoint: EstEndpoint, submission: Submission, caller: Caller, data: PkiData) -> tuple[Caller, bytes]:
    """Return the caller with the shared secret of identityProofV2 (RFC 5272 section 6.2.1). Raises Refusal."""
    proof, name = data.proof, data.identification
    if proof is None or name is None:
        problem = Problem(Reason.BAD_CREDENTIALS, "identityProofV2 needs the control identification beside it.")
        raise Refusal(problem, caller.identity)
    found = await endpoint.credentials.shared_secret(
        endpoint.name,
        name,
        lambda secret: proofs.identifies(secret, name, proof, data.request_sequence),
        address=submission.address,
    )
    if isinstance(found, Problem):
        claimed = password_identity(name)
        raise Refusal(found, claimed, recorded=found.reason is not Reason.RATE_LIMITED)
    redeemable, secret = found
    if caller.redeemed is not None:
        raise Refusal(Problem(Reason.BAD_CREDENTIALS, "Two one-time secrets were presented."), caller.identity)
    return caller._replace(password=PasswordEvidence(redeemable.username), redeemed=redeemable), secret
