"""The end of an account, and of what it has begun (RFC 8555 section 7.3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.acme import states
from server.acme.codec.replies import problem_object
from server.acme.messages import AccountStatus, ErrorType, OrderStatus, ProblemDocument
from server.acme.records import accounts, orders
from server.audit import Action, AuditEvent
from server.outcome import Problem, Reason
from server.store import requests

if TYPE_CHECKING:
    from datetime import datetime

    import sqlalchemy as sa

_WHY = "the account has ended"


def end_account(
    connection: sa.Connection, account: str, event: states.AccountEvent, by: str, now: datetime
) -> AccountStatus:
    """End a valid account: what it has begun is given up, and what waits for a person is not issued any more.

    Certificates stay good, and one that the CA is making is made. Returns the state of the account.
    """
    status = states.advance(states.ACCOUNT, AccountStatus.VALID, event)
    accounts.end(connection, account, status)
    accounts.abandon(
        connection,
        account,
        open_orders=states.sources(states.ORDER, states.OrderEvent.ABANDONED),
        open_authorizations=states.sources(states.AUTHORIZATION, states.AuthorizationEvent.DEACTIVATED),
    )
    failed = states.advance(states.ORDER, OrderStatus.PROCESSING, states.OrderEvent.FAILED)
    error = problem_object(ProblemDocument(ErrorType.UNAUTHORIZED, _WHY))
    for order, request_id in orders.waiting(connection, account):
        problem = Problem(Reason.POLICY, requests.REJECTED, detail=f"{by}: {_WHY}")
        rejection = AuditEvent(now, Action.REJECTED, by, request_id, detail=_WHY).row()
        if requests.reject(connection, request_id, problem, now, rejection):
            orders.end_refused(connection, order, failed, error)
    return status
