"""Every reason for a refusal as CMC calls it (RFC 5272 section 6.1.4)."""

from __future__ import annotations

from server.est.cmc.messages import CmcFault, FailInfo, Status, StatusInfo
from server.outcome import Problem, Reason


def fail_info(reason: Reason) -> FailInfo:  # noqa: PLR0911 - one flat table; the type checker proves it complete
    """Return the CMCFailInfo for a reason."""
    match reason:
        case Reason.MALFORMED | Reason.TOO_LARGE | Reason.POLICY | Reason.CONFLICT | Reason.ISSUER_REFUSED:
            return FailInfo.BAD_REQUEST
        case Reason.BAD_ALGORITHM:
            return FailInfo.BAD_ALG
        case Reason.BAD_PROOF:
            return FailInfo.POP_FAILED
        case Reason.STALE:
            return FailInfo.BAD_TIME
        case Reason.UNAUTHENTICATED | Reason.BAD_CREDENTIALS | Reason.CERTIFICATE_REJECTED:
            return FailInfo.BAD_IDENTITY
        case Reason.NOT_RENEWABLE | Reason.UNKNOWN_REQUEST:
            return FailInfo.BAD_CERT_ID
        case Reason.RATE_LIMITED | Reason.ISSUER_UNAVAILABLE | Reason.STORE_UNAVAILABLE:
            return FailInfo.TRY_LATER
        case Reason.INTERNAL:
            return FailInfo.INTERNAL_CA_ERROR


def refused(problem: Problem, *parts: int) -> StatusInfo:
    """Return the status of parts that are refused; of findings of the policy the messages alone are told."""
    return StatusInfo(Status.FAILED, parts, explanation(problem), fail_info(problem.reason))


def faulty(fault: CmcFault) -> StatusInfo:
    """Return the status of what can't be granted as it is."""
    if fault.status is Status.NO_SUPPORT:
        return StatusInfo(fault.status, fault.parts, explanation(fault.problem))
    fail = fault.fail if fault.fail is not None else fail_info(fault.problem.reason)
    return StatusInfo(fault.status, fault.parts, explanation(fault.problem), fail)


def explanation(problem: Problem) -> str:
    """Return what the requester is told."""
    if not problem.findings:
        return problem.message
    return " ".join(f"{finding.message} [{finding.rule}]" for finding in problem.findings)
