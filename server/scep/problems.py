"""Problems as SCEP says them: one exhaustive map from reasons, and the constants that requesters get to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.outcome import Problem, Reason
from server.scep.messages import TEXT, Answer, FailInfo, Failure, Unavailable

if TYPE_CHECKING:
    from server.cms.certificates import BagCertificate

_TEXT_CHARACTERS = 512

TOO_LARGE = Problem(Reason.TOO_LARGE, "the message is longer than this server takes")
SIGNER_MISSING = Problem(Reason.BAD_PROOF, "the signer's certificate is not in the message")
NONCE_MISSING = Problem(Reason.MALFORMED, "the senderNonce is missing or of impossible length")
EC_REQUESTER = Problem(
    Reason.BAD_ALGORITHM,
    "the requester's key is not RSA: the reply could not be encrypted to it (RFC 8894 section 3.1)",
)
EC_POLL = Problem(
    Reason.BAD_ALGORITHM,
    "the certificate is there, but the poll has no challenge password to encrypt it with: send the request again",
)
UNREADABLE = Problem(Reason.MALFORMED, "the enveloped request can't be opened or read")
"""The one answer to all that may go wrong between a good signature and a parsed CSR: anything more would tell an
attacker who re-signs a recorded envelope what is in it."""
REPLY_TOO_LONG = Problem(
    Reason.BAD_ALGORITHM, "the signer's key is too short for the key transport that it used: the reply would not fit"
)
EXPOSED = Problem(Reason.MALFORMED, "the challenge password is outside of the envelope, where everybody can read it")
KEY_MISMATCH = Problem(Reason.BAD_PROOF, "the request is signed by another key than the one to be certified")
OTHER_PROFILE = Problem(Reason.POLICY, "the challenge password is not for the CA to come")
NO_RENEWAL = Problem(Reason.NOT_RENEWABLE, "this endpoint does not renew")
STALE = Problem(Reason.STALE, "the message was not signed lately, or does not say when: the clock may be wrong")
UNREADABLE_SIGNER = Problem(Reason.CERTIFICATE_REJECTED, "the signing certificate can't be read")
UNKNOWN_TRANSACTION = Problem(Reason.UNKNOWN_REQUEST, "no pending request has this transactionID and key")
UNKNOWN_CERTIFICATE = Problem(Reason.UNKNOWN_REQUEST, "this endpoint has issued no such certificate")
UNKNOWN_CRL = Problem(Reason.UNKNOWN_REQUEST, "there is no revocation list of that issuer")
RA_UNAVAILABLE = Problem(
    Reason.ISSUER_UNAVAILABLE, "the registration authority's key can't be used now", retry_after=30
)
STORE_UNAVAILABLE = Problem(Reason.STORE_UNAVAILABLE, "the record can't be asked now", retry_after=10)


_HRESULTS = {
    FailInfo.BAD_ALG: -0x7FF6FFF8,  # NTE_BAD_ALGID, 0x80090008
    FailInfo.BAD_MESSAGE_CHECK: -0x7FF6FFFA,  # NTE_BAD_SIGNATURE, 0x80090006
    FailInfo.BAD_REQUEST: -0x7FF6BFEC,  # CERTSRV_E_ADMIN_DENIED_REQUEST, 0x80094014
    FailInfo.BAD_TIME: -0x7FF4FEFF,  # CERT_E_EXPIRED, 0x800B0101
    FailInfo.BAD_CERT_ID: -0x7FF6DFFC,  # CRYPT_E_NOT_FOUND, 0x80092004
}
"""What Windows shows for each failInfo."""


class Rejected(Exception):
    """A request is refused before any policy sees it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def unsupported_type(text: str) -> Problem:
    """Return the problem with a messageType that is in no dispatch table (RFC 8894 section 3.2.1.2)."""
    return Problem(Reason.MALFORMED, "this message type is not supported", detail=f"messageType {text!r:.40}")


def not_accepted(label: str) -> Problem:
    """Return the problem with an algorithm that the endpoint does not take."""
    return Problem(Reason.BAD_ALGORITHM, f"{label} is not accepted by this endpoint")


def describe_signer(signer: BagCertificate | None, *, ours: bool) -> str | None:
    """Return how records name who signed a refused request, None when nobody is known.

    Args:
        signer: the certificate that came with the request.
        ours: whether it names a CA of ours as its issuer: those have a name that no other has.
    """
    if signer is None:
        return None
    kind = "self-signed:" if signer.self_issued else "certificate:" if ours else "certificate:?."
    return f"{kind}{int.from_bytes(signer.serial[2:], 'big'):x}"


def to_reply(problem: Problem) -> Failure | Unavailable:
    """Return how a problem is said: by a signed FAILURE, or by HTTP where the same request may succeed later."""
    said = _said(problem.reason)
    if isinstance(said, FailInfo):
        return Failure(said, _text(problem), _HRESULTS[said])
    return Unavailable(said, problem.message, problem.retry_after)


def _said(reason: Reason) -> FailInfo | int:  # noqa: PLR0911 - one flat table; the type checker proves it complete
    """Return the failInfo of a final refusal, the HTTP status of a temporary one."""
    match reason:
        case Reason.BAD_ALGORITHM:
            return FailInfo.BAD_ALG
        case Reason.BAD_PROOF:
            return FailInfo.BAD_MESSAGE_CHECK
        case Reason.UNKNOWN_REQUEST:
            return FailInfo.BAD_CERT_ID
        case Reason.STALE:
            return FailInfo.BAD_TIME
        case (
            Reason.MALFORMED
            | Reason.TOO_LARGE
            | Reason.UNAUTHENTICATED
            | Reason.BAD_CREDENTIALS
            | Reason.CERTIFICATE_REJECTED
            | Reason.POLICY
            | Reason.NOT_RENEWABLE
            | Reason.CONFLICT
            | Reason.ISSUER_REFUSED
        ):
            return FailInfo.BAD_REQUEST
        case Reason.RATE_LIMITED:
            return 429
        case Reason.ISSUER_UNAVAILABLE | Reason.STORE_UNAVAILABLE:
            return 503
        case Reason.INTERNAL:
            return 500


def not_signed(error: Exception, transaction: str | None = None) -> Answer:
    """Return the answer where the RA's key is in an HSM that does not answer: what was done is not lost by it."""
    problem = RA_UNAVAILABLE
    notes = {**problem.notes(), "transaction": transaction, "cause": str(error)}
    return Answer(503, TEXT, f"{problem.message}\n".encode(), problem.retry_after, notes)


def _text(problem: Problem) -> str:
    more = dict.fromkeys(one.message for one in problem.findings if one.message not in problem.message)
    text = "; ".join((problem.message, *more))
    return text if len(text) <= _TEXT_CHARACTERS else f"{text[: _TEXT_CHARACTERS - 1]}…"
