"""Refusals as EST puts them: a 4xx or 5xx status and a text that a person can read (RFC 7030 section 4.2.3)."""

from __future__ import annotations

from dataclasses import replace

from server.est.messages import Reply
from server.outcome import Problem, Reason

_TEXT = ("Content-Type", "text/plain; charset=utf-8")

MEDIA_TYPE = Problem(
    Reason.MALFORMED,
    "The Content-Type must be application/pkcs10 (RFC 7030 section 4.2.1); with curl, add "
    '-H "Content-Type: application/pkcs10".',
)
"""The problem for which HTTP has a status of its own but enrollment has no reason."""


CMS_MEDIA_TYPE = Problem(
    Reason.MALFORMED,
    "The Content-Type must be application/pkcs7-mime; smime-type=CMC-request (RFC 7030 section 4.3.1).",
)
"""The same for fullcmc."""

CERTIFICATE_FIRST = Problem(
    Reason.UNAUTHENTICATED,
    "This service wants a TLS client certificate, and a password beside it; there was no certificate.",
)
"""The problem that no password solves, so that it is no 401, which would ask for one."""


def status(reason: Reason) -> int:  # noqa: PLR0911 - one flat table; the type checker proves it complete
    """Return the HTTP status for a reason."""
    match reason:
        case Reason.MALFORMED | Reason.BAD_ALGORITHM | Reason.BAD_PROOF | Reason.STALE:
            return 400
        case Reason.UNAUTHENTICATED | Reason.BAD_CREDENTIALS:
            return 401
        case Reason.CERTIFICATE_REJECTED | Reason.POLICY | Reason.NOT_RENEWABLE | Reason.ISSUER_REFUSED:
            return 403
        case Reason.UNKNOWN_REQUEST:
            return 404
        case Reason.CONFLICT:
            return 409
        case Reason.TOO_LARGE:
            return 413
        case Reason.RATE_LIMITED:
            return 429
        case Reason.INTERNAL:
            return 500
        case Reason.ISSUER_UNAVAILABLE | Reason.STORE_UNAVAILABLE:
            return 503


_LEGACY = {403: 400, 409: 400, 413: 400, 415: 400, 429: 504, 503: 504}
"""libest knows 200, 202, 204, 400, 401, 404, 423, 500, 502 and 504; anything else is an "unhandled" error to it."""


def reply(problem: Problem, *, realm: str | None, password_would_do: bool = False, legacy: bool = False) -> Reply:
    """Return the reply for a problem.

    A 401 carries WWW-Authenticate and nothing else: BouncyCastle closes the connection over a 401 with a body.
    Everything else says in text/plain why; of the policy's findings the messages alone, never values or limits.

    Args:
        problem: why there is no certificate.
        realm: the realm for HTTP Basic; None where passwords are not accepted, and 401 becomes a 403 that explains
            itself, since a 401 must offer a scheme (RFC 9110 section 15.5.2).
        password_would_do: whether a password could make up for a certificate that does not stand. Then the refusal of
            the certificate is a 401 too (RFC 7030 section 3.2.3): libest sends its password after a 401 only.
        legacy: whether only the status codes that libest knows are used.
    """
    made = _reply(problem, realm, password_would_do=password_would_do)
    return replace(made, status=_LEGACY.get(made.status, made.status)) if legacy else made


def _reply(problem: Problem, realm: str | None, *, password_would_do: bool) -> Reply:
    if problem in {MEDIA_TYPE, CMS_MEDIA_TYPE}:
        accepted = "application/pkcs10" if problem == MEDIA_TYPE else "application/pkcs7-mime"
        return Reply(415, (_TEXT, ("Accept", accepted)), explanation(problem))
    code = 401 if problem.reason is Reason.CERTIFICATE_REJECTED and password_would_do else status(problem.reason)
    retry = () if problem.retry_after is None else (("Retry-After", str(problem.retry_after)),)
    if code == 401:
        if realm is not None and problem != CERTIFICATE_FIRST:
            return Reply(401, (("WWW-Authenticate", f'Basic realm="{realm}"'), _TEXT, *retry))
        code = 403
    return Reply(code, (_TEXT, *retry), explanation(problem))


def explanation(problem: Problem) -> bytes:
    """Return the text for the requester: the message; of findings, each one's message and rule on its own line."""
    heading = "The policy refuses this request:" if problem.findings else problem.message
    lines = (heading, *(f"- {finding.message} [{finding.rule}]" for finding in problem.findings))
    return "".join(f"{line}\n" for line in lines).encode(errors="replace")


def not_found() -> Reply:
    """Return the 404 for an operation or a label that is not served; clients read it as "not implemented"."""
    return Reply(404, (_TEXT,), b"There is no such EST operation or label here.\n")


def method_not_allowed(allowed: tuple[str, ...]) -> Reply:
    """Return the 405 with the methods that are right."""
    methods = ", ".join(allowed)
    return Reply(405, (_TEXT, ("Allow", methods)), f"This EST operation takes {methods}.\n".encode())
