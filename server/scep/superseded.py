"""What becomes of certificates that were renewed: revoked after a while, where the endpoint says so.

Not at once: a device that lost the reply asks again with the old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from server.scep.records import find_superseded
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from datetime import timedelta

    from policies.request import EndpointName
    from server.clock import Clock
    from server.enrollment import Enrollment
    from server.store import Store

_log = structlog.get_logger("server.scep")


class Superseded:
    """Revokes renewed certificates of one endpoint.

    Args:
        endpoint: where the renewals came in.
        after: how long after the renewal the old certificate is revoked.
        store: the record.
        enrollment: revokes.
        clock: tells the time.
    """

    def __init__(
        self, *, endpoint: EndpointName, after: timedelta, store: Store, enrollment: Enrollment, clock: Clock
    ) -> None:
        self._endpoint = endpoint
        self._after = after
        self._store = store
        self._enrollment = enrollment
        self._clock = clock

    async def check(self) -> None:
        """Revoke what is due. A failure is logged, the next check tries again."""
        now = self._clock()
        try:
            due = await self._store.read(lambda c: find_superseded(c, self._endpoint, now - self._after, now))
            for serial in due:
                await self._enrollment.revoke(serial, x509.ReasonFlags.superseded, f"certwright:{self._endpoint}")
        except StoreUnavailable as error:
            _log.error("renewed certificates not revoked", endpoint=str(self._endpoint), cause=str(error))
