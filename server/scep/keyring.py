"""The RA keys of one endpoint: clients cache what GetCACert gave them, so several must be good at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.scep.ra import RaConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from server.cms.certificates import BagCertificate
    from server.scep.ra import RaKey


@dataclass(frozen=True, slots=True)
class Rollover:
    """The CA to come (RFC 8894 section 4.7).

    Attributes:
        ra: its RA; a request enveloped for it asks the CA to come.
        profile: what judges such a request.
        chain: returns the certificate of the CA to come and those above it, root last.
    """

    ra: RaKey
    profile: str
    chain: Callable[[], tuple[x509.Certificate, ...]]


class Keyring:
    """Says which key opens a message and signs its reply.

    Args:
        current: what GetCACert gives out.
        previous: what clients may still have from earlier.
        rollover: the CA to come, None when none is announced.

    Attributes:
        follow: returns the key that follows one, where processes renew the RA; None for none. Raises
            RaConfigurationError for one that can't serve.
    """

    def __init__(self, current: RaKey, previous: tuple[RaKey, ...] = (), rollover: Rollover | None = None) -> None:
        self.current = current
        self.previous = previous
        self.rollover = rollover
        self.follow: Callable[[RaKey], RaKey | None] | None = None

    def renew(self, newer: RaKey) -> None:
        """Make a newer key the current one; the one so far stays good for those who have it."""
        self.previous = (self.current, *self.previous)
        self.current = newer

    def catch_up(self) -> bool:
        """Take up what another process has renewed, when a message may be for it. Returns whether there was something.

        The hourly look says what is wrong with one that can't serve; messages don't make this process look again.
        """
        if self.follow is None:
            return False
        before = self.current
        try:
            while (newer := self.follow(self.current)) is not None:
                self.renew(newer)
        except RaConfigurationError:
            self.follow = None
        return self.current is not before

    def live(self) -> tuple[RaKey, ...]:
        """Return every key that opens messages, the current one first."""
        coming = () if self.rollover is None else (self.rollover.ra,)
        return (self.current, *self.previous, *coming)

    def holder(self, addressed: BagCertificate) -> RaKey:
        """Return the key that a message is addressed to; the current one when it is gone meanwhile."""
        return next((key for key in self.live() if key.addressed.der == addressed.der), self.current)

    def asks_next(self, addressed: BagCertificate) -> Rollover | None:
        """Return the CA to come when a message is addressed to it."""
        coming = self.rollover
        return coming if coming is not None and coming.ra.addressed.der == addressed.der else None
