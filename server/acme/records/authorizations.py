"""Works on authorizations and their challenges."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.acme.messages import (
    Authorization,
    AuthorizationStatus,
    Challenge,
    ChallengeStatus,
    Identifier,
    authorization_status,
)
from server.acme.records.tables import authorizations
from server.store.tables import UtcTime

if TYPE_CHECKING:
    from collections.abc import Sequence

_OWNED = sa.select(authorizations).where(
    authorizations.c.id == sa.bindparam("authorization"), authorizations.c.account_id == sa.bindparam("account")
)
_STATUSES = sa.select(authorizations.c.status, authorizations.c.expires).where(
    authorizations.c.order_id == sa.bindparam("order")
)
_DUE = (
    sa.select(authorizations)
    .where(
        authorizations.c.endpoint == sa.bindparam("endpoint"),
        authorizations.c.next_attempt.is_not(None),
        authorizations.c.next_attempt <= sa.bindparam("now", type_=UtcTime()),
        authorizations.c.status == AuthorizationStatus.PENDING,
    )
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)
_UPDATE = authorizations.update().where(authorizations.c.id == sa.bindparam("authorization"))


def authorized_names(connection: sa.Connection, account: str, now: datetime) -> frozenset[Identifier]:
    """Return the identifiers, wildcards with ``*.``, that the account holds valid authorizations for."""
    query = sa.select(authorizations).where(
        authorizations.c.account_id == account,
        authorizations.c.status == AuthorizationStatus.VALID,
        authorizations.c.expires > now,
    )
    return frozenset(
        Identifier(row.type, f"*.{row.value}" if row.wildcard else row.value) for row in connection.execute(query)
    )


def _write_challenges(challenges: Sequence[Challenge]) -> list[dict[str, object]]:
    return [
        {
            "type": each.type,
            "token": each.token,
            "status": each.status,
            "validated": each.validated.isoformat() if each.validated else None,
            "error": each.error,
        }
        for each in challenges
    ]


def _read_challenge(stored: dict[str, Any]) -> Challenge:
    validated = stored["validated"]
    return Challenge(
        stored["type"],
        stored["token"],
        ChallengeStatus(stored["status"]),
        datetime.fromisoformat(validated) if validated else None,
        stored["error"],
    )


def _authorization(row: sa.Row[Any], now: datetime) -> Authorization:
    return Authorization(
        id=row.id,
        account=row.account_id,
        order=row.order_id,
        identifier=Identifier(row.type, row.value),
        wildcard=row.wildcard,
        status=authorization_status(AuthorizationStatus(row.status), row.expires, now),
        expires=row.expires,
        challenges=tuple(map(_read_challenge, row.challenges)),
        attempts=row.attempts,
        thumbprint=row.thumbprint,
    )


def insert_authorizations(connection: sa.Connection, endpoint: str, parts: Sequence[Authorization]) -> None:
    """Record the authorizations of a new order."""
    connection.execute(
        authorizations.insert(),
        [
            {
                "id": each.id,
                "account_id": each.account,
                "order_id": each.order,
                "endpoint": endpoint,
                "type": each.identifier.type,
                "value": each.identifier.value,
                "wildcard": each.wildcard,
                "status": each.status,
                "expires": each.expires,
                "challenges": _write_challenges(each.challenges),
                "attempts": each.attempts,
            }
            for each in parts
        ],
    )


def find_authorization(
    connection: sa.Connection, account: str, authorization: str, now: datetime
) -> Authorization | None:
    """Return an authorization of the account."""
    parameters = {"authorization": authorization, "account": account}
    row = connection.execute(_OWNED, parameters).one_or_none()
    return _authorization(row, now) if row else None


def statuses_of(connection: sa.Connection, order: str, now: datetime) -> tuple[AuthorizationStatus, ...]:
    """Return where the authorizations of an order stand."""
    found = connection.execute(_STATUSES, {"order": order})
    return tuple(authorization_status(AuthorizationStatus(row.status), row.expires, now) for row in found)


def any_due(connection: sa.Connection, endpoint: str, now: datetime) -> bool:
    """Say whether there is something for `claim_due`."""
    return connection.execute(_DUE, {"endpoint": endpoint, "now": now, "limit": 1}).first() is not None


def update_authorization(
    connection: sa.Connection, authorization: Authorization, next_attempt: datetime | None = None
) -> None:
    """Record status, challenges, attempts, the key that answered, and when to try next."""
    connection.execute(
        _UPDATE.values(
            status=authorization.status,
            challenges=_write_challenges(authorization.challenges),
            attempts=authorization.attempts,
            thumbprint=authorization.thumbprint,
            next_attempt=next_attempt,
        ),
        {"authorization": authorization.id},
    )


def claim_due(
    connection: sa.Connection, endpoint: str, now: datetime, until: datetime, limit: int
) -> tuple[Authorization, ...]:
    """Take up validations that nobody works on: their time has come, and nobody else gets them before ``until``."""
    due = connection.execute(_DUE, {"endpoint": endpoint, "now": now, "limit": limit}).all()
    for row in due:
        connection.execute(_UPDATE.values(next_attempt=until), {"authorization": row.id})
    return tuple(_authorization(row, now) for row in due)
