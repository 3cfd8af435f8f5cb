"""State by event: what is in the tables happens, everything else is refused (RFC 8555 section 7.1.6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.acme.messages import (
    AccountStatus,
    AuthorizationStatus,
    ChallengeStatus,
    OrderStatus,
    authorization_status,
    order_status,
)
from server.acme.states import (
    ACCOUNT,
    AUTHORIZATION,
    CHALLENGE,
    ORDER,
    AccountEvent,
    AuthorizationEvent,
    ChallengeEvent,
    ForbiddenTransition,
    OrderEvent,
    advance,
    allows,
    sources,
)

if TYPE_CHECKING:
    from enum import StrEnum

MACHINES: dict[str, tuple[Any, Any, Any]] = {
    "account": (ACCOUNT, AccountStatus, AccountEvent),
    "order": (ORDER, OrderStatus, OrderEvent),
    "authorization": (AUTHORIZATION, AuthorizationStatus, AuthorizationEvent),
    "challenge": (CHALLENGE, ChallengeStatus, ChallengeEvent),
}
PAIRS = [
    (name, status, event) for name, (_, statuses, events) in MACHINES.items() for status in statuses for event in events
]
NOW = datetime(2026, 11, 21, tzinfo=UTC)
# What the drawings of section 7.1.6 show, and the one step back that a bad CSR takes.
DRAWN = {
    "account": {("valid", "deactivated"), ("valid", "revoked")},
    "order": {
        ("pending", "ready"),
        ("pending", "invalid"),
        ("ready", "processing"),
        ("ready", "invalid"),
        ("processing", "valid"),
        ("processing", "invalid"),
        ("processing", "ready"),
    },
    "authorization": {
        ("pending", "valid"),
        ("pending", "invalid"),
        ("pending", "deactivated"),
        ("valid", "deactivated"),
        ("valid", "revoked"),
    },
    "challenge": {("pending", "processing"), ("processing", "valid"), ("processing", "invalid")},
}


@pytest.mark.parametrize(("name", "status", "event"), PAIRS)
def test_an_event_moves_along_a_drawn_line_or_is_forbidden(name: str, status: StrEnum, event: StrEnum) -> None:
    table = MACHINES[name][0]
    if allows(table, status, event):
        after = advance(table, status, event)
        assert (str(status), str(after)) in DRAWN[name]
        assert status in sources(table, event)
    else:
        assert status not in sources(table, event)
        with pytest.raises(ForbiddenTransition, match=f"{event} can't happen while {status}"):
            advance(table, status, event)


@pytest.mark.parametrize("name", MACHINES)
def test_every_drawn_line_and_every_event_is_in_the_table(name: str) -> None:
    table, _, events = MACHINES[name]
    assert {(str(status), str(after)) for (status, _), after in table.items()} == DRAWN[name]
    assert {event for _, event in table} == set(events)


@pytest.mark.parametrize(
    ("name", "final"),
    [
        ("account", {"deactivated", "revoked"}),
        ("order", {"valid", "invalid"}),
        ("authorization", {"invalid", "deactivated", "expired", "revoked"}),
        ("challenge", {"valid", "invalid"}),
    ],
)
@given(data=st.data())
def test_whatever_happens_a_final_state_is_never_left(name: str, final: set[str], data: st.DataObject) -> None:
    table, statuses, events = MACHINES[name]
    status = next(iter(statuses))
    ended = False
    for event in data.draw(st.lists(st.sampled_from(list(events)), max_size=12)):
        if allows(table, status, event):
            assert not ended
            status = advance(table, status, event)
        ended = str(status) in final


@pytest.mark.parametrize("stored", AuthorizationStatus)
def test_only_pending_and_valid_authorizations_expire(stored: AuthorizationStatus) -> None:
    assert authorization_status(stored, NOW + timedelta(seconds=1), NOW) is stored
    expires = stored in {AuthorizationStatus.PENDING, AuthorizationStatus.VALID}
    assert authorization_status(stored, NOW, NOW) is (AuthorizationStatus.EXPIRED if expires else stored)


@pytest.mark.parametrize("stored", OrderStatus)
def test_only_pending_and_ready_orders_expire(stored: OrderStatus) -> None:
    assert order_status(stored, NOW + timedelta(seconds=1), NOW) is stored
    expires = stored in {OrderStatus.PENDING, OrderStatus.READY}
    assert order_status(stored, NOW, NOW) is (OrderStatus.INVALID if expires else stored)
