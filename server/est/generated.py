"""Keys that were made here: put to the door, kept where the profile says so, superseded when they are asked for again.

A device that lost the reply to serverkeygen lost its key, and nobody can give it again. It asks again and gets another
one; the certificate of the lost key is revoked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from server.enrollment import RefusedAttempt
from server.est import records
from server.est.records import GeneratedKey
from server.outcome import Issued, Outcome, Problem, Reason, Refused
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from policies.request import EndpointName, EnrollmentRequest
    from server.enrollment import Enrollment
    from server.est.keygen import NewKey
    from server.store import Store

_log = structlog.get_logger("server.est")

AGAIN = timedelta(hours=24)
"""For how long who asks the same is taken for a device that lost the reply."""


class GeneratedKeys:
    """What becomes of the keys that an endpoint makes.

    Args:
        endpoint: the endpoint.
        store: the record.
        enrollment: the one door to the signer.
        escrows: tells whether the profile that will judge a request has its key kept.
    """

    def __init__(
        self,
        *,
        endpoint: EndpointName,
        store: Store,
        enrollment: Enrollment,
        escrows: Callable[[EnrollmentRequest], bool],
    ) -> None:
        self._endpoint = endpoint
        self._store = store
        self._enrollment = enrollment
        self._escrows = escrows

    async def submit(self, request: EnrollmentRequest, new_key: NewKey) -> Outcome:
        """Put a request with a new key to the door, and revoke what the same question brought shortly before.

        The key is kept before anything is signed: what is issued can be opened by who holds the escrow key.
        """
        escrow = None
        if self._escrows(request):
            escrow = new_key.escrow()
            if escrow is None:
                return await self._refuse(request)
        made = GeneratedKey.of(request, escrow)
        try:
            before = await self._store.write(
                lambda connection: records.add(connection, made, request.now - AGAIN, self._enrollment.lease())
            )
            # A one-time password that was used up for a lost key is good for the next, which takes its place.
            outcome = await self._enrollment.submit(replace(request, instead_of=before.requests))
            if not isinstance(outcome, Issued):
                await self._store.write(lambda connection: records.forget(connection, made))
                return outcome
            for serial in before.serials:
                await self._enrollment.revoke(serial, x509.ReasonFlags.superseded, f"certwright:{self._endpoint}")
        except StoreUnavailable as error:
            # Without the reply the key is lost, so this certificate is superseded in its turn.
            _log.exception("a generated key was not recorded", endpoint=str(self._endpoint))
            return Refused(replace(_NO_STORE, detail=str(error)))
        return outcome

    async def _refuse(self, request: EnrollmentRequest) -> Refused:
        who = request.requester
        attempt = RefusedAttempt(self._endpoint, _NOBODY_TO_KEEP_FOR, who.identity, who.address, None, request.csr)
        return await self._enrollment.refuse(attempt)


_NO_STORE = Problem(Reason.STORE_UNAVAILABLE, "The key can't be recorded at the moment.", retry_after=5)
_NOBODY_TO_KEEP_FOR = Problem(
    Reason.POLICY,
    "Keys of this profile are kept, and this endpoint has no certificate to encrypt them for (escrow).",
)
