"""The certificates of peers that an EST endpoint distributes (RFC 8295 section 3)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from policies.document import DocumentErrors, did_you_mean
from server.store.certificates import CertificateFilter, list_certificates

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from policies.request import EndpointName
    from server.clock import Clock
    from server.config import Config
    from server.store import Store
    from server.store.certificates import StoredCertificate


def check_profiles(name: EndpointName, config: Config, profiles: Collection[str]) -> None:
    """Raise DocumentErrors when an endpoint names a profile for eecerts that there is not."""
    for index, each in enumerate(config.endpoints.est[name].eecerts):
        if each not in profiles:
            message = f'there is no profile "{each}"{did_you_mean(each, profiles)}'
            raise DocumentErrors([config.problem(("endpoints", str(name), "eecerts", index), message)])


FRESH = timedelta(minutes=1)
"""For how long an answer is good: anybody may ask, and must not be able to keep the database busy."""
MOST = 64
_LOOKED_AT = 1000


class Peers:
    """Tells the certificates in force under some profiles, for each name the newest.

    Args:
        profiles: the profiles.
        store: the record.
        clock: tells the time.
    """

    def __init__(self, profiles: Sequence[str], store: Store, clock: Clock) -> None:
        self._profiles = profiles
        self._store = store
        self._clock = clock
        self._found: tuple[bytes, ...] = ()
        self._good_until: datetime | None = None
        self._turn = asyncio.Lock()

    async def __call__(self) -> tuple[bytes, ...]:
        """Return their DER, 64 at most. Raises StoreUnavailable."""
        async with self._turn:
            now = self._clock()
            if self._good_until is None or now >= self._good_until:
                self._found = await self._read(now)
                self._good_until = now + FRESH
            return self._found

    async def _read(self, now: datetime) -> tuple[bytes, ...]:
        newest: dict[tuple[str, tuple[str, ...]], bytes] = {}
        for profile in self._profiles:
            wanted = CertificateFilter(profile=profile, revoked=False, limit=_LOOKED_AT)
            listed: tuple[StoredCertificate, ...] = await self._store.read(
                lambda connection, wanted=wanted: list_certificates(connection, wanted)  # type: ignore[misc]
            )
            for one in listed:
                if one.not_before <= now < one.not_after:
                    newest.setdefault((one.subject, one.names), one.der)
        return tuple(newest.values())[:MOST]
