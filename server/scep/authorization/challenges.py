"""Challenge passwords of our own: one for all devices, or one-time ones of the secret store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from policies.request import ChallengeEvidence
from server.credentials import Redeemable
from server.outcome import Problem, Reason
from server.scep.authorization.admission import Admission

if TYPE_CHECKING:
    from server.credentials import Credentials
    from server.outcome import Issued
    from server.scep.authorization.admission import Asked

_log = structlog.get_logger("server.scep")


class Challenges:
    """Admits who knows a challenge password."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def admit(self, asked: Asked) -> Admission | Problem | None:
        """Judge the challenge; a one-time challenge is good for what it was made for alone."""
        if not asked.challenge:
            return None
        judged = await self._credentials.challenge(asked.endpoint, asked.challenge, address=asked.address)
        if isinstance(judged, Problem):
            return judged
        if not isinstance(judged, Redeemable):
            return Admission(f"challenge:{judged.source}", judged)
        objection = judged.objection(asked.csr)
        if objection is not None:
            return Problem(Reason.POLICY, objection, detail=f"credential {judged.id}")
        evidence = ChallengeEvidence("one-time")
        return Admission(f"challenge:{judged.username}", evidence, judged.profile, (judged.id,))

    async def confirm(self, transaction: str, csr: bytes | None, issued: Issued) -> None:  # noqa: ARG002 - nobody to ask
        """Let the certificate go."""
        return

    async def report(self, transaction: str, csr: bytes | None, problem: Problem) -> None:  # noqa: ARG002 - on record anyway
        """Tell people of a challenge that comes a second time: somebody may have seen it (RFC 8894 section 7.3)."""
        if problem.reason is Reason.BAD_CREDENTIALS:
            _log.warning("a one-time challenge was presented a second time", transaction=transaction)
