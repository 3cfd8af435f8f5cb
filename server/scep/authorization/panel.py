"""All who authorise first enrollments through one endpoint, asked in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from server.outcome import TEMPORARY, Issued, Problem, Reason, Refused
from server.scep.authorization.admission import ClosingAuthorizer
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from policies.request import EndpointName
    from server.enrollment import Enrollment
    from server.outcome import Outcome
    from server.scep.authorization.admission import Admission, Asked, Authorizer

NO_CHALLENGE = Problem(Reason.UNAUTHENTICATED, "the request has no challenge password")
NOBODY = Problem(Reason.UNAUTHENTICATED, "this endpoint has no first enrollments")
_log = structlog.get_logger("server.scep")


class Panel:
    """Asks the authorizers of one endpoint.

    Args:
        authorizers: in the order in which they are asked.
        endpoint: the endpoint.
        enrollment: takes certificates back that are not confirmed.
    """

    def __init__(self, authorizers: tuple[Authorizer, ...], endpoint: EndpointName, enrollment: Enrollment) -> None:
        self._authorizers = authorizers
        self._endpoint = endpoint
        self._enrollment = enrollment

    async def admit(self, asked: Asked) -> Admission | Problem:
        """Return the first answer that is one; without any nobody is admitted."""
        for authorizer in self._authorizers:
            answer = await authorizer.admit(asked)
            if answer is not None:
                return answer
        return NOBODY if asked.challenge else NO_CHALLENGE

    async def settle(self, transaction: str, csr: bytes | None, outcome: Outcome) -> Outcome:
        """Have a certificate confirmed before it is delivered; one that is not is revoked, as if it had never been.

        Of a refusal after which the client comes again nobody hears: there may be a certificate yet.

        Args:
            transaction: the transactionID.
            csr: the certification request as it was sent, None when the client polls.
            outcome: what the door says.
        """
        for authorizer in self._authorizers:
            if isinstance(outcome, Refused) and outcome.problem.reason not in TEMPORARY:
                await authorizer.report(transaction, csr, outcome.problem)
            if not isinstance(outcome, Issued):
                continue
            problem = await authorizer.confirm(transaction, csr, outcome)
            if problem is None:
                continue
            if csr is not None:  # else the client will come with its request
                await self._take_back(outcome.certificate)
            return Refused(problem, outcome.request_id)
        return outcome

    async def close(self) -> None:
        """Let go of whom is asked outside."""
        for authorizer in self._authorizers:
            if isinstance(authorizer, ClosingAuthorizer):
                await authorizer.close()

    async def _take_back(self, certificate: bytes) -> None:
        serial = x509.load_der_x509_certificate(certificate).serial_number
        try:
            await self._enrollment.revoke(serial, x509.ReasonFlags.privilege_withdrawn, f"certwright:{self._endpoint}")
        except StoreUnavailable as error:
            _log.error("an unconfirmed certificate is not revoked", serial=f"{serial:x}", cause=str(error))
