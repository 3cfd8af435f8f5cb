"""What becomes of certificates that were renewed: put on hold or revoked after a while, where their profile says so.

Not at once: a device that lost the reply asks again with the old one. Whatever protocol brought the renewal, the
profile of the new certificate decides, as its file has it now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from server.store import StoreUnavailable
from server.store.replaced import find_replaced

if TYPE_CHECKING:
    from datetime import timedelta

    from server.app.live_policies import LivePolicies
    from server.clock import Clock
    from server.enrollment import Enrollment
    from server.store import Store

_log = structlog.get_logger("server.policies")


class Replaced:
    """Ends renewed certificates.

    Args:
        policies: the profiles in force.
        store: the record.
        enrollment: revokes.
        clock: tells the time.
    """

    def __init__(self, policies: LivePolicies, store: Store, enrollment: Enrollment, clock: Clock) -> None:
        self._policies = policies
        self._store = store
        self._enrollment = enrollment
        self._clock = clock

    async def check(self) -> None:
        """Hold and revoke what is due. A failure is logged, the next check tries again."""
        for name, profile in self._policies.profiles.items():
            renewal = profile.sections.renewal
            if renewal is None or renewal.replaced is None:
                continue
            try:
                if renewal.replaced.revoke_after is not None:
                    await self._end(name, renewal.replaced.revoke_after, x509.ReasonFlags.superseded)
                if renewal.replaced.hold_after is not None:
                    await self._end(name, renewal.replaced.hold_after, x509.ReasonFlags.certificate_hold)
            except StoreUnavailable as error:
                _log.error("renewed certificates not revoked", profile=name, cause=str(error))

    async def _end(self, profile: str, after: timedelta, reason: x509.ReasonFlags) -> None:
        now, final = self._clock(), reason is x509.ReasonFlags.superseded
        due = await self._store.read(lambda c: find_replaced(c, profile, now - after, now, held=final))
        for serial in due:
            await self._enrollment.revoke(serial, reason, f"certwright:{profile}")
