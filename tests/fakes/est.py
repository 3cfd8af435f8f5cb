"""What stands behind EST, on a script: credentials that know one user and one certificate, and a door that answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.request import CertificateEvidence, PasswordEvidence
from server.credentials import Credentials
from server.enrollment import Enrollment
from server.outcome import Problem, Reason, Refused

if TYPE_CHECKING:
    from datetime import timedelta

    from cryptography import x509

    from policies.request import EndpointName, EnrollmentRequest
    from server.credentials import Redeemable
    from server.enrollment import RefusedAttempt
    from server.outcome import Outcome
    from server.store.certificates import StoredCertificate


class ScriptedEnrollment(Enrollment):
    """Answers every submission with `outcome` and keeps what it was asked."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.submitted: list[EnrollmentRequest] = []
        self.refused: list[RefusedAttempt] = []

    async def submit(self, request: EnrollmentRequest, companion: object = None) -> Outcome:
        self.submitted.append(request)
        return self.outcome

    async def refuse(self, attempt: RefusedAttempt) -> Refused:
        self.refused.append(attempt)
        return Refused(attempt.problem, "refused-1")


class ScriptedCredentials(Credentials):
    """Knows ``pump``, whose password is ``secret``, makes ``flood`` wait, and says of certificates what it was told."""

    def __init__(self, known: tuple[CertificateEvidence, StoredCertificate] | Problem) -> None:
        self.known = known

    async def password(
        self, endpoint: EndpointName, username: str, password: str, *, address: str | None = None
    ) -> PasswordEvidence | Redeemable | Problem:
        if (username, password) == ("pump", "secret"):
            return PasswordEvidence(username)
        if username == "flood":
            return Problem(Reason.RATE_LIMITED, "too many wrong attempts; wait 8 s", retry_after=8)
        return Problem(Reason.BAD_CREDENTIALS, "wrong user name or password")

    def issues_as(self, name: bytes) -> bool:
        return True

    async def certificate(
        self, endpoint: EndpointName, presented: tuple[x509.Certificate, ...], *, grace: timedelta
    ) -> tuple[CertificateEvidence, StoredCertificate] | Problem:
        return self.known
