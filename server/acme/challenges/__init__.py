"""Challenges: how control over an identifier is shown. One file a challenge type."""

from __future__ import annotations

from typing import Protocol


class ChallengeType(Protocol):
    """Validates one type of challenge."""

    @property
    def type(self) -> str:
        """Its name, such as ``http-01``."""
        ...

    async def validate(self, name: str, token: str, key_authorization: str) -> None:
        """Try once to validate control over the name. Raises `failure.ValidationFailed`, and nothing else."""
        ...
