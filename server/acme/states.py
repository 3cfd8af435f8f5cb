"""State as tables (RFC 8555 section 7.1.6): what may follow what, for accounts, orders, authorizations, challenges.

Nothing else in this package decides a transition. Expiry is no event: it is derived on reading, see
`server.acme.messages`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from server.acme.messages import AccountStatus, AuthorizationStatus, ChallengeStatus, OrderStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


class ForbiddenTransition(Exception):
    """The event can't happen in this state."""


class AccountEvent(StrEnum):
    """What happens to accounts."""

    DEACTIVATED = "deactivated"
    REVOKED = "revoked"


class OrderEvent(StrEnum):
    """What happens to orders."""

    AUTHORIZED = "authorized"
    """Every authorization is valid."""
    AUTHORIZATION_LOST = "authorization-lost"
    """An authorization failed or was given back."""
    FINALIZED = "finalized"
    """A CSR was accepted for judgement."""
    CSR_REFUSED = "csr-refused"
    """The CSR, not the order, was at fault: another one may be sent."""
    ISSUED = "issued"
    FAILED = "failed"
    ABANDONED = "abandoned"
    """The account was deactivated."""


class AuthorizationEvent(StrEnum):
    """What happens to authorizations."""

    VALIDATED = "validated"
    FAILED = "failed"
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"


class ChallengeEvent(StrEnum):
    """What happens to challenges."""

    ANSWERED = "answered"
    VALIDATED = "validated"
    FAILED = "failed"


ACCOUNT: Mapping[tuple[AccountStatus, AccountEvent], AccountStatus] = {
    (AccountStatus.VALID, AccountEvent.DEACTIVATED): AccountStatus.DEACTIVATED,
    (AccountStatus.VALID, AccountEvent.REVOKED): AccountStatus.REVOKED,
}

ORDER: Mapping[tuple[OrderStatus, OrderEvent], OrderStatus] = {
    (OrderStatus.PENDING, OrderEvent.AUTHORIZED): OrderStatus.READY,
    (OrderStatus.PENDING, OrderEvent.AUTHORIZATION_LOST): OrderStatus.INVALID,
    (OrderStatus.PENDING, OrderEvent.ABANDONED): OrderStatus.INVALID,
    (OrderStatus.READY, OrderEvent.FINALIZED): OrderStatus.PROCESSING,
    (OrderStatus.READY, OrderEvent.AUTHORIZATION_LOST): OrderStatus.INVALID,
    (OrderStatus.READY, OrderEvent.ABANDONED): OrderStatus.INVALID,
    (OrderStatus.PROCESSING, OrderEvent.CSR_REFUSED): OrderStatus.READY,
    (OrderStatus.PROCESSING, OrderEvent.ISSUED): OrderStatus.VALID,
    (OrderStatus.PROCESSING, OrderEvent.FAILED): OrderStatus.INVALID,
}

AUTHORIZATION: Mapping[tuple[AuthorizationStatus, AuthorizationEvent], AuthorizationStatus] = {
    (AuthorizationStatus.PENDING, AuthorizationEvent.VALIDATED): AuthorizationStatus.VALID,
    (AuthorizationStatus.PENDING, AuthorizationEvent.FAILED): AuthorizationStatus.INVALID,
    (AuthorizationStatus.PENDING, AuthorizationEvent.DEACTIVATED): AuthorizationStatus.DEACTIVATED,
    (AuthorizationStatus.VALID, AuthorizationEvent.DEACTIVATED): AuthorizationStatus.DEACTIVATED,
    (AuthorizationStatus.VALID, AuthorizationEvent.REVOKED): AuthorizationStatus.REVOKED,
}

CHALLENGE: Mapping[tuple[ChallengeStatus, ChallengeEvent], ChallengeStatus] = {
    (ChallengeStatus.PENDING, ChallengeEvent.ANSWERED): ChallengeStatus.PROCESSING,
    (ChallengeStatus.PROCESSING, ChallengeEvent.VALIDATED): ChallengeStatus.VALID,
    (ChallengeStatus.PROCESSING, ChallengeEvent.FAILED): ChallengeStatus.INVALID,
}


def advance(table: Mapping[tuple[S, E], S], status: S, event: E) -> S:
    """Return the state after the event. Raises ForbiddenTransition when the table has no such line."""
    try:
        return table[status, event]
    except KeyError:
        raise ForbiddenTransition(f"{event} can't happen while {status}") from None


def allows(table: Mapping[tuple[S, E], S], status: S, event: E) -> bool:
    """Say whether the event can happen in this state."""
    return (status, event) in table


def sources(table: Mapping[tuple[S, E], S], event: E) -> tuple[S, ...]:
    """Return the states in which the event can happen: the condition of an UPDATE."""
    return tuple(status for status, e in table if e == event)
