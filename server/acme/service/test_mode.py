"""An endpoint that makes life hard for clients, so that they are hardened before a bad day does it.

Nothing here makes a message or a proof pass that would not pass elsewhere: it only refuses more, and answers later.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from server.acme.challenges.device_attest01 import DeviceAttest01
from server.acme.service.endpoint import Proofs

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.acme.challenges import ChallengeType
    from server.acme.challenges.question import Question
    from server.acme.nonces import NonceSource
    from server.acme.service.endpoint import AcmeEndpoint

_HUNDRED = 100
_MILLISECONDS = 1000
_DIRECTORY_NOTE = "https://www.rfc-editor.org/rfc/rfc8555#section-7.1.1"


@dataclass(frozen=True, slots=True)
class TestMode:
    """What is made hard.

    Attributes:
        refuse_nonces: how many good nonces of a hundred are refused.
        odd_directory: whether the directory has a member that nobody knows, another one each time.
        slow_validation: seconds that an attempt waits at most before it begins; how long is drawn anew each time.
        slow_finalize: whether finalize answers ``processing`` at once.
        draw: returns a random number from 0 to below its argument.
    """

    __test__ = False

    refuse_nonces: int
    odd_directory: bool
    slow_validation: float
    slow_finalize: bool
    draw: Callable[[int], int] = secrets.randbelow


class RefusingNonces:
    """Nonces of which some are refused that were good; they are used up all the same.

    Never two in a row: who tries again once, as clients must at least, gets through.
    """

    def __init__(self, inner: NonceSource, mode: TestMode) -> None:
        self._inner = inner
        self._mode = mode
        self._refused = False

    def issue(self, scope: str) -> bytes:
        """See `NonceSource`."""
        return self._inner.issue(scope)

    def redeem(self, nonce: bytes, scope: str) -> bool:
        """See `NonceSource`. Raises LedgerUnavailable."""
        if not self._inner.redeem(nonce, scope):
            return False
        self._refused = not self._refused and self._mode.draw(_HUNDRED) < self._mode.refuse_nonces
        return not self._refused


class SlowChallenge:
    """A type of challenge whose attempts begin later."""

    def __init__(self, inner: ChallengeType, mode: TestMode) -> None:
        self._inner = inner
        self._mode = mode

    @property
    def type(self) -> str:
        """See `ChallengeType`."""
        return self._inner.type

    async def validate(self, question: Question) -> None:
        """See `ChallengeType`. Raises ValidationFailed."""
        limit = int(self._mode.slow_validation * _MILLISECONDS)
        await asyncio.sleep(self._mode.draw(limit + 1) / _MILLISECONDS)
        await self._inner.validate(question)


def hardened(endpoint: AcmeEndpoint, mode: TestMode) -> AcmeEndpoint:
    """Return the endpoint as clients in training meet it."""

    def slow(proofs: Proofs) -> Proofs:
        # Attestations are judged where they come in: nothing is waited for.
        made = (each if isinstance(each, DeviceAttest01) else SlowChallenge(each, mode) for each in proofs.challenges)
        return replace(proofs, challenges=tuple(made))

    def odd() -> dict[str, object]:
        return {f"x{mode.draw(1 << 40):010x}": _DIRECTORY_NOTE} if mode.odd_directory else {}

    timing = replace(endpoint.timing, finalize=0.0) if mode.slow_finalize else endpoint.timing
    return replace(
        endpoint,
        nonces=RefusingNonces(endpoint.nonces, mode),
        challenges=slow(Proofs(endpoint.challenges)).challenges,
        by_profile={name: slow(proofs) for name, proofs in endpoint.by_profile.items()},
        timing=timing,
        reuse=False,
        directory_extra=odd,
    )
