"""How many certificates come up for renewal in the same days: what windows are spread by (RFC 9773)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from server.acme.records import renewals

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from server.acme.service.endpoint import AcmeEndpoint

SLOTS = 8
"""Into how many parts of equal length the time is cut in which windows may begin."""
_QUIET_SLOTS = SLOTS // 2
_CROWD = 20
_KEPT = timedelta(minutes=1)
_MOST_KEPT = 512
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def place(fraction: float, load: Sequence[int]) -> float:
    """Return how many slots after the first possible moment a window begins, from 0 to `SLOTS`.

    In quiet times it is somewhere in the first half of the slots. Where a crowd is (20 certificates and more in the
    slot, more than twice the mean of all), it may be anywhere, and is the less likely in a slot the more certificates
    have their first possible moment there.

    Args:
        fraction: what is the certificate's own, evenly spread from 0 to 1.
        load: how many certificates each slot has, the certificate's own slot first; empty when that is not known.
    """
    crowd = bool(load) and load[0] >= _CROWD and load[0] * len(load) > 2 * sum(load)
    weights = [1 / (1 + number) for number in load] if crowd else [1.0] * _QUIET_SLOTS
    rest = fraction * sum(weights)
    for slot, weight in enumerate(weights):
        if rest < weight:
            return slot + rest / weight
        rest -= weight
    return float(len(weights))


class RenewalLoad:
    """Counts the certificates of an endpoint by when they end; what was counted is good for a minute."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint
        self._counted: dict[tuple[int, timedelta], tuple[datetime, tuple[int, ...]]] = {}

    def around(self, connection: sa.Connection, not_after: datetime, slot: timedelta) -> tuple[int, ...]:
        """Return how many certificates end in the slot in which this one ends, and in those that follow.

        Those that end so much later come up for renewal so much later. The slots of all certificates are the same,
        so that few queries are enough for any number of certificates.
        """
        number = (not_after - _EPOCH) // slot
        now = self._endpoint.clock()
        until, load = self._counted.get((number, slot), (now, ()))
        if until <= now:
            edges = tuple(_EPOCH + (number + step) * slot for step in range(SLOTS + 1))
            load = renewals.ending(connection, str(self._endpoint.name), edges)
            if len(self._counted) >= _MOST_KEPT:
                self._counted.clear()
            self._counted[number, slot] = (now + _KEPT, load)
        return load
