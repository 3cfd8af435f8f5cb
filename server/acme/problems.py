"""The one map between the outcomes of the door and ACME's problem documents (RFC 8555 section 6.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from server.acme.messages import ErrorType, Identifier, ProblemDocument, Subproblem
from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from policies.decision import Finding

_NAME_RULES = "names."


def about_names(finding: Finding) -> bool:
    """Say whether a finding speaks against a name of the order, rather than against the CSR."""
    return finding.rule.startswith(_NAME_RULES)


def from_outcome(problem: Problem) -> ProblemDocument:  # noqa: PLR0911 - one flat table, proved complete
    """Return what a client is told when an order is not issued: constants and the policy's own messages."""
    detail, retry_after = problem.message, problem.retry_after
    match problem.reason:
        case Reason.POLICY:
            return _denied(problem.findings, detail)
        case Reason.MALFORMED | Reason.TOO_LARGE | Reason.BAD_ALGORITHM | Reason.BAD_PROOF | Reason.STALE:
            return ProblemDocument(ErrorType.BAD_CSR, detail)
        case Reason.UNAUTHENTICATED | Reason.BAD_CREDENTIALS | Reason.CERTIFICATE_REJECTED | Reason.NOT_RENEWABLE:
            return ProblemDocument(ErrorType.UNAUTHORIZED, detail)
        case Reason.UNKNOWN_REQUEST:
            return ProblemDocument(ErrorType.MALFORMED, detail, 404)
        case Reason.CONFLICT:
            return ProblemDocument(ErrorType.ORDER_NOT_READY, detail)
        case Reason.RATE_LIMITED:
            return ProblemDocument(ErrorType.RATE_LIMITED, detail, retry_after=retry_after)
        case Reason.ISSUER_UNAVAILABLE | Reason.STORE_UNAVAILABLE:
            return ProblemDocument(ErrorType.SERVER_INTERNAL, detail, 503, retry_after=retry_after)
        case Reason.ISSUER_REFUSED | Reason.INTERNAL:
            return ProblemDocument(ErrorType.SERVER_INTERNAL, detail, retry_after=retry_after)
        case _:
            assert_never(problem.reason)


def _denied(findings: tuple[Finding, ...], detail: str) -> ProblemDocument:
    """Say which findings speak against the names and which against the CSR; without any, a person has said no."""
    if not findings:
        return ProblemDocument(ErrorType.UNAUTHORIZED, detail)
    text = "; ".join(dict.fromkeys(finding.message for finding in findings))
    named = tuple(filter(about_names, findings))
    if not named or len(named) < len(findings):
        return ProblemDocument(ErrorType.BAD_CSR, text)
    problems = tuple(
        Subproblem(ErrorType.REJECTED_IDENTIFIER, each.message, _identifier(each.value)) for each in named if each.value
    )
    return ProblemDocument(ErrorType.REJECTED_IDENTIFIER, text, subproblems=problems)


def _identifier(text: str) -> Identifier:
    """Return the identifier that a finding writes as a general name."""
    type_, colon, value = text.partition(":")
    return Identifier(type_, value) if colon and type_ in {"dns", "ip"} else Identifier("dns", text)


def reason_of(document: ProblemDocument) -> Reason:  # noqa: PLR0911 - one flat table, proved complete
    """Return under which reason a refusal made here, before the door, goes on record."""
    match document.type:
        case (
            ErrorType.REJECTED_IDENTIFIER | ErrorType.UNSUPPORTED_IDENTIFIER | ErrorType.INVALID_PROFILE | ErrorType.CAA
        ):
            return Reason.POLICY
        case ErrorType.UNAUTHORIZED | ErrorType.BAD_NONCE | ErrorType.INCORRECT_RESPONSE:
            return Reason.BAD_CREDENTIALS
        case ErrorType.CONNECTION | ErrorType.DNS | ErrorType.TLS | ErrorType.BAD_ATTESTATION_STATEMENT:
            return Reason.BAD_CREDENTIALS
        case ErrorType.ACCOUNT_DOES_NOT_EXIST | ErrorType.EXTERNAL_ACCOUNT_REQUIRED | ErrorType.USER_ACTION_REQUIRED:
            return Reason.UNAUTHENTICATED
        case ErrorType.BAD_PUBLIC_KEY | ErrorType.BAD_SIGNATURE_ALGORITHM:
            return Reason.BAD_ALGORITHM
        case ErrorType.ALREADY_REVOKED | ErrorType.ALREADY_REPLACED | ErrorType.ORDER_NOT_READY:
            return Reason.CONFLICT
        case ErrorType.RATE_LIMITED:
            return Reason.RATE_LIMITED
        case ErrorType.SERVER_INTERNAL:
            return Reason.INTERNAL
        case (
            ErrorType.MALFORMED
            | ErrorType.BAD_CSR
            | ErrorType.BAD_REVOCATION_REASON
            | ErrorType.COMPOUND
            | ErrorType.INVALID_CONTACT
            | ErrorType.UNSUPPORTED_CONTACT
        ):
            return _malformed(document)
        case _:
            assert_never(document.type)


def _malformed(document: ProblemDocument) -> Reason:
    match document.http_status:
        case 413:
            return Reason.TOO_LARGE
        case 404:
            return Reason.UNKNOWN_REQUEST
        case 409:
            return Reason.CONFLICT
        case _:
            return Reason.MALFORMED
