"""A webhook that says yes or no, in the shape that step-ca's SCEPCHALLENGE webhooks have.

The body is JSON, signed with HMAC-SHA-256 under a shared secret; the service answers ``{"allow": true}`` or anything
else for no.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from typing import TYPE_CHECKING

from policies.request import ChallengeEvidence
from server.outcome import Problem, Reason
from server.scep.authorization.admission import Admission
from server.scep.authorization.outside import NoAnswer

if TYPE_CHECKING:
    from server.clock import Clock
    from server.outcome import Issued
    from server.scep.authorization.admission import Asked
    from server.scep.authorization.outside import Outside

RETRY = 30
UNANSWERED = "the service that authorises enrollments does not answer"
DENIED = Problem(Reason.BAD_CREDENTIALS, "the service that authorises enrollments has said no")


class Webhook:
    """Asks a webhook.

    Args:
        url: where.
        identifier: what the request names it by.
        secret: signs the request.
        outside: sends it.
        clock: tells the time in it.
    """

    def __init__(self, *, url: str, identifier: str, secret: bytes, outside: Outside, clock: Clock) -> None:
        self._url = url
        self._identifier = identifier
        self._secret = secret
        self._outside = outside
        self._clock = clock

    async def admit(self, asked: Asked) -> Admission | Problem | None:
        """Ask; no answer is no admission."""
        body = json.dumps(
            {
                "timestamp": self._clock().isoformat().replace("+00:00", "Z"),
                "provisionerName": str(asked.endpoint),
                "scepChallenge": asked.challenge or "",
                "scepTransactionID": asked.transaction,
                "x509CertificateRequest": {
                    "raw": b64encode(asked.csr.der).decode(),
                    "subject": str(asked.csr.subject),
                    "subjectAltNames": [str(name) for name in asked.csr.names],
                },
                "sourceAddress": asked.address,
            }
        ).encode()
        headers = {
            "Content-Type": "application/json",
            "X-Smallstep-Webhook-ID": self._identifier,
            "X-Smallstep-Signature": hmac.digest(self._secret, body, hashlib.sha256).hex(),
        }
        try:
            answered = await self._outside.post(self._url, body, headers)
        except NoAnswer as error:
            return Problem(Reason.ISSUER_UNAVAILABLE, UNANSWERED, detail=str(error), retry_after=RETRY)
        if answered.status != 200 or answered.value.get("allow") is not True:
            return Problem(DENIED.reason, DENIED.message, detail=f"webhook: HTTP {answered.status}")
        return Admission("challenge:webhook", ChallengeEvidence("webhook"))

    async def confirm(self, transaction: str, csr: bytes | None, issued: Issued) -> None:  # noqa: ARG002 - nobody to ask
        """Let the certificate go."""
        return

    async def report(self, transaction: str, csr: bytes | None, problem: Problem) -> None:
        """Tell nobody."""

    async def close(self) -> None:
        """Close the connections to it."""
        await self._outside.close()
