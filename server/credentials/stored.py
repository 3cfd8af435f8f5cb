"""Secrets of the store, looked up and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from server.credentials import redeeming
from server.store.credentials import find_chosen, is_waiting
from server.store.intents import FETCHED_WITHIN

if TYPE_CHECKING:
    from collections.abc import Callable

    from policies.request import EndpointName
    from server.clock import Clock
    from server.credentials.hashes import SecretVerifier
    from server.store import Store
    from server.store.credentials import CredentialKind, StoredCredential

_DECOY_SECONDS = 60


class Presented(NamedTuple):
    """A secret as it was presented.

    Attributes:
        kind: what for.
        endpoint: where.
        secret: the secret.
        username: what came with it, None where nothing does.
    """

    kind: CredentialKind
    endpoint: EndpointName
    secret: str
    username: str | None

    def __repr__(self) -> str:
        """Keep the secret to itself: who writes an error down may write this."""
        return f"Presented({self.kind}, {self.endpoint}, {self.username!r})"


class StoredSecrets:
    """Finds presented secrets in the store.

    Args:
        store: where they are kept.
        verifier: compares those that a person chose.
        clock: tells the time.
        seconds: a monotonic clock.
    """

    def __init__(self, store: Store, verifier: SecretVerifier, clock: Clock, seconds: Callable[[], float]) -> None:
        self._store = store
        self._verifier = verifier
        self._clock = clock
        self._seconds = seconds
        self._decoys: dict[EndpointName, tuple[float, str | None]] = {}

    async def find(self, presented: Presented, *, decoy: bool) -> tuple[StoredCredential | None, bool]:
        """Return which secret it is, None when it is none, and whether argon2 was computed for it.

        Args:
            presented: the secret.
            decoy: whether to compute it for user names without a chosen secret too, where there are others with one:
                else the time would tell which is which.

        Raises:
            StoreUnavailable: the store can't be read.
            TooManyVerifications: too many wait already.
        """
        kind, endpoint, secret, username = presented
        found, chosen = await self._store.read(
            lambda connection: redeeming.look_up(connection, kind, endpoint, username, secret)
        )
        for one in chosen:
            if await self._verifier.verify(one.argon2 or "", secret):
                return one, True
        if found is None and not chosen and decoy:
            like = await self._like(kind, endpoint)
            if like is not None:
                await self._verifier.verify_nothing(like, secret)
        return found, bool(chosen)

    async def _like(self, kind: CredentialKind, endpoint: EndpointName) -> str | None:
        """Return the hash of a secret that somebody chose; looked for now and then, for nothing indexes it."""
        until, like = self._decoys.get(endpoint, (0.0, None))
        if self._seconds() >= until:
            like = await self._store.read(lambda connection: find_chosen(connection, kind, endpoint))
            self._decoys[endpoint] = (self._seconds() + _DECOY_SECONDS, like)
        return like

    async def why_not(self, credential: StoredCredential) -> str | None:
        """Return why a right secret does not authenticate now, None when it does. Raises StoreUnavailable.

        Who waits for a person or a CA asks again and again with a secret that is used up, for as long as that takes.
        """
        now = self._clock()
        objection = redeeming.why_not(credential, now)
        if objection is None or credential.revoked_at is not None or credential.spent_at is None:
            return objection
        refused, approved = now - redeeming.REPLAY, now - FETCHED_WITHIN
        waiting = await self._store.read(lambda connection: is_waiting(connection, credential.id, refused, approved))
        return None if waiting else objection
