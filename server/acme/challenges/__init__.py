"""Challenges: how control over an identifier is shown. One file a challenge type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from server.acme.challenges.question import Question
    from server.acme.messages import Identifier


class ChallengeType(Protocol):
    """Validates one type of challenge."""

    @property
    def type(self) -> str:
        """Its name, such as ``http-01``."""
        ...

    async def validate(self, question: Question) -> None:
        """Try once to validate control over a name. Raises `failure.ValidationFailed`, and nothing else."""
        ...


def can_prove(type_: str, identifier: Identifier) -> bool:
    """Say whether a type of challenge can show control over an identifier of an order.

    Devices are attested, and nothing else is. Only those of DNS can for wildcards (RFC 8555 section 7.1.3); they can't
    for addresses (RFC 8738 section 7).
    """
    if type_ == "device-attest-01" or identifier.type not in {"dns", "ip"}:
        return type_ == "device-attest-01" and identifier.type not in {"dns", "ip"}
    if identifier.type == "ip":
        return not type_.startswith("dns-")
    return type_.startswith("dns-") or not identifier.value.startswith("*.")
