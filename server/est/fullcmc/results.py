"""What became of one part of a request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from server.enrollment import RefusedAttempt
from server.est.cmc import problems
from server.est.cmc.messages import CmcFault, Status, StatusInfo
from server.est.gate import Refusal
from server.outcome import Issued, Pending, Problem, Reason, Refused

if TYPE_CHECKING:
    from ca.csr import Csr
    from server.est.gate import EstEndpoint, Submission
    from server.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Result:
    """One status with what HTTP and the log make of it.

    Attributes:
        info: as the client is told.
        problem: why not, None when it was granted or waits.
        certificate: DER of what was issued.
        crl: DER of the revocation list that was asked for.
        retry_after: seconds after which asking again makes sense.
        request_id: the record of it.
    """

    info: StatusInfo
    problem: Problem | None = None
    certificate: bytes | None = None
    crl: bytes | None = None
    retry_after: int | None = None
    request_id: str | None = None


def granted(part: int, text: str = "") -> Result:
    """Return the result of what was done."""
    return Result(StatusInfo(Status.SUCCESS, (part,), text))


def of_outcome(endpoint: EstEndpoint, part: int, outcome: Outcome) -> Result:
    """Return what the one door said of a request."""
    match outcome:
        case Issued():
            info = StatusInfo(Status.SUCCESS, (part,))
            return Result(info, certificate=outcome.certificate, request_id=outcome.request_id)
        case Pending(request_id=identifier, retry_after=seconds):
            when = endpoint.clock() + timedelta(seconds=seconds)
            info = StatusInfo(Status.PENDING, (part,), pending=(identifier.encode(), when))
            return Result(info, retry_after=seconds, request_id=identifier)
        case Refused(problem=problem, request_id=refused):
            return Result(problems.refused(problem, part), problem, request_id=refused)


async def refusal(
    endpoint: EstEndpoint,
    submission: Submission,
    error: Refusal | CmcFault,
    *,
    part: int,
    requester: str | None = None,
    csr: Csr | None = None,
    transaction: str | None = None,
    known: bool = False,
) -> Result:
    """Return the result of what is refused before the policy is asked, and put it on record.

    Of who has said nothing of itself nothing is recorded: anybody could fill the record. Nor is that somebody must
    wait, which the wrong secrets before tell.

    Args:
        endpoint: where.
        submission: what the message came with.
        error: why.
        part: of what.
        requester: who asks, as far as is known.
        csr: what was asked for.
        transaction: the client's.
        known: whether it is about something that is known here, and goes on record whoever asks.
    """
    if isinstance(error, Refusal):
        fault = CmcFault(None, error.problem, (part,))
        requester, csr, recorded = error.requester or requester, error.csr or csr, error.recorded
    else:
        fault = error
        recorded = known or requester is not None or bool(submission.authorization) or submission.peer.leaf is not None
    recorded = recorded and error.problem.reason is not Reason.RATE_LIMITED
    info = problems.faulty(fault)
    if not recorded:
        return Result(info, fault.problem)
    refused = await endpoint.enrollment.refuse(
        RefusedAttempt(
            endpoint=endpoint.name,
            problem=fault.problem,
            requester=requester,
            address=submission.address,
            transaction=transaction,
            csr=csr,
        )
    )
    return Result(info, fault.problem, request_id=refused.request_id)
