"""The end of accounts and authorizations, and of what relies on them (RFC 8555 sections 7.3.6 and 7.5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.request import account_identity
from server.acme import states
from server.acme.codec.replies import problem_object
from server.acme.messages import AccountStatus, AuthorizationStatus, ErrorType, OrderStatus, ProblemDocument, Subproblem
from server.acme.records import accounts, authorizations, orders
from server.acme.service.orders import lost
from server.audit import Action, AuditEvent
from server.outcome import Problem, Reason
from server.store import requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import sqlalchemy as sa

    from server.acme.messages import Authorization, Order

_ENDED = "the account has ended"
_GIVEN_BACK = "an authorization of the order was given back"


def end_account(
    connection: sa.Connection, account: str, event: states.AccountEvent, by: str, now: datetime
) -> AccountStatus:
    """End a valid account: what it has begun is given up, and what waits for a person is not issued any more.

    Certificates stay good, and one that the CA is making is made. Who ended it is among the audit events.
    Returns the state of the account.
    """
    status = states.advance(states.ACCOUNT, AccountStatus.VALID, event)
    ended = AuditEvent(now, Action.ACCOUNT_ENDED, by, detail=f"account {account}: {status}").row()
    accounts.end(connection, account, status, ended)
    accounts.abandon(
        connection,
        account,
        open_orders=states.sources(states.ORDER, states.OrderEvent.ABANDONED),
        open_authorizations=states.sources(states.AUTHORIZATION, states.AuthorizationEvent.DEACTIVATED),
        error=problem_object(ProblemDocument(ErrorType.UNAUTHORIZED, _ENDED)),
    )
    _stop(connection, orders.waiting(connection, account, None, now), _ENDED, by, now)
    return status


def end_authorization(
    connection: sa.Connection, authorization: Authorization, sources: tuple[AuthorizationStatus, ...], now: datetime
) -> None:
    """Record that an authorization is given back; no order that relies on it gets a certificate any more."""
    authorizations.change_authorization(connection, authorization, sources)
    which = Subproblem(ErrorType.UNAUTHORIZED, "the authorization was given back", authorization.identifier)
    problem = ProblemDocument(ErrorType.UNAUTHORIZED, _GIVEN_BACK, subproblems=(which,))
    lost(connection, authorization, problem_object(problem))
    waiting = orders.waiting(connection, authorization.account, authorization.id, now)
    _stop(connection, waiting, _GIVEN_BACK, account_identity(authorization.account), now)


def is_given_back(connection: sa.Connection, order: Order, now: datetime) -> bool:
    """Say whether an authorization of an order was given back, as all of them are when its account ends."""
    found = authorizations.find_authorizations(connection, order.authorizations, now)
    return any(each.status == AuthorizationStatus.DEACTIVATED for each in found)


def keep_waiting(connection: sa.Connection, order: Order, request_id: str, now: datetime) -> None:
    """Record what an order waits for, unless an authorization was given back, or the account has ended, by now.

    Until this is on record who ends either does not find what waits.
    """
    orders.note_request(connection, order, request_id)
    if is_given_back(connection, order, now):
        _stop(connection, [(order, request_id)], _GIVEN_BACK, account_identity(order.account), now)


def _stop(connection: sa.Connection, waiting: Sequence[tuple[Order, str]], why: str, by: str, now: datetime) -> None:
    """Reject what waits for a person; what the CA is making is made."""
    failed = states.advance(states.ORDER, OrderStatus.PROCESSING, states.OrderEvent.FAILED)
    error = problem_object(ProblemDocument(ErrorType.UNAUTHORIZED, why))
    for order, request_id in waiting:
        problem = Problem(Reason.POLICY, requests.REJECTED, detail=f"{by}: {why}")
        rejection = AuditEvent(now, Action.REJECTED, by, request_id, detail=why).row()
        if requests.reject(connection, request_id, problem, now, rejection):
            orders.end_refused(connection, order, failed, error)
