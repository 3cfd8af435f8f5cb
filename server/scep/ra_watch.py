"""Telling people in time of RAs that end: NDES' classic outage comes two years after its installation."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from policies.request import EndpointName
    from server.clock import Clock
    from server.scep.keyring import Keyring

SOON = timedelta(days=30)
_log = structlog.get_logger("server.scep")


class RaWatch:
    """Looks after the present RA of one endpoint.

    Args:
        endpoint: the endpoint.
        keys: its RA keys.
        clock: tells the time.
    """

    def __init__(self, endpoint: EndpointName, keys: Keyring, clock: Clock) -> None:
        self._endpoint = endpoint
        self._keys = keys
        self._clock = clock

    async def check(self) -> None:
        """Log an RA that ends soon, and one that has ended as an error: clients refuse to encrypt for it."""
        end, now = self._keys.current.certificate.not_valid_after_utc, self._clock()
        if now >= end:
            _log.error("the RA has ended", endpoint=str(self._endpoint), end=end.isoformat())
        elif end - now <= SOON:
            _log.warning("the RA ends soon", endpoint=str(self._endpoint), end=end.isoformat(), days=(end - now).days)
