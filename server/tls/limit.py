"""How many connections a listener has at once."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

_log = structlog.get_logger("server.tls")


@dataclass(slots=True)
class ConnectionLimit:
    """Counts the connections of one listener.

    Attributes:
        listener: its name, for events.
        limit: the most at once.
        count: how many there are.
    """

    listener: str
    limit: int
    count: int = 0
    _full: bool = False

    def enter(self, peer: str | None) -> bool:
        """Count one more connection. Returns whether there is room; the first refusal in a row is an event."""
        if self.count < self.limit:
            self.count += 1
            self._full = False
            return True
        if not self._full:
            self._full = True
            _log.warning("connection limit reached", listener=self.listener, limit=self.limit, peer=peer)
        return False

    def leave(self) -> None:
        """Count one less; for each `enter` that returned True."""
        self.count -= 1
