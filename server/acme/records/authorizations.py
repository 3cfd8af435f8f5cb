"""Works on authorizations and their challenges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.acme.messages import (
    Attempt,
    Authorization,
    AuthorizationStatus,
    Challenge,
    ChallengeStatus,
    Identifier,
    authorization_status,
)
from server.acme.records.accounts import OWNED
from server.acme.records.tables import accounts, authorizations
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import UtcTime

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from server.acme.messages import Owner

_STORED_TYPES = {"permanent-identifier": "permanent-id"}
"""Types of identifiers that are longer than the column."""
_TYPES = {stored: type_ for type_, stored in _STORED_TYPES.items()}

_STATUSES = {each.value: each for each in AuthorizationStatus}
_CHALLENGE_STATUSES = {each.value: each for each in ChallengeStatus}
"""By what is stored: to call an enumeration costs as much as all the rest of reading a challenge."""

_owned = Prepared(
    sa.select(authorizations)
    .join(accounts, OWNED)
    .where(authorizations.c.id == sa.bindparam("authorization"), authorizations.c.account_id == accounts.c.id)
)
_by_id = Prepared(sa.select(authorizations).where(authorizations.c.id == sa.bindparam("authorization")))
_NAMES = sa.func.json_each(sa.bindparam("names", type_=sa.JSON())).table_valued("value")
_OF_NAMES = sa.and_(
    authorizations.c.account_id == sa.bindparam("account"),
    authorizations.c.value.in_(sa.select(_NAMES.c.value)),
    authorizations.c.status == AuthorizationStatus.VALID,
    authorizations.c.expires > sa.bindparam("now", type_=UtcTime()),
)
"""What an account holds for any of some names."""
_held = Prepared(
    sa.select(authorizations)
    .where(_OF_NAMES, authorizations.c.order_id.is_(None))
    .order_by(authorizations.c.expires.desc())
)
_valid = Prepared(
    sa.select(authorizations.c.type, authorizations.c.value, authorizations.c.wildcard, authorizations.c.profile).where(
        _OF_NAMES
    )
)
_due = Prepared(
    sa.select(authorizations)
    .where(
        authorizations.c.endpoint == sa.bindparam("endpoint"),
        authorizations.c.next_attempt.is_not(None),
        sa.or_(
            authorizations.c.next_attempt <= sa.bindparam("now", type_=UtcTime()),
            authorizations.c.next_attempt > sa.bindparam("latest", type_=UtcTime()),
        ),
        authorizations.c.status == AuthorizationStatus.PENDING,
        authorizations.c.expires > sa.bindparam("now", type_=UtcTime()),
    )
    .limit(sa.bindparam("limit", type_=sa.Integer()))
)
_postpone = Prepared(
    authorizations.update()
    .where(authorizations.c.id == sa.bindparam("authorization"))
    .values(next_attempt=sa.bindparam("new_next_attempt"))
)
_UPDATE = authorizations.update().where(authorizations.c.id == sa.bindparam("authorization"))
_INSERT = BulkInsert(
    authorizations,
    "id",
    "account_id",
    "order_id",
    "endpoint",
    "type",
    "value",
    "wildcard",
    "status",
    "expires",
    "challenges",
    "attempts",
    "profile",
    "subdomains",
)


@cache
def _change(sources: tuple[AuthorizationStatus, ...]) -> Prepared:
    """Return the statement that changes an authorization in one of these states."""
    return Prepared(
        _UPDATE.where(authorizations.c.status.in_(sources)).values(
            status=sa.bindparam("new_status"),
            challenges=sa.bindparam("new_challenges"),
            attempts=sa.bindparam("new_attempts"),
            thumbprint=sa.bindparam("new_thumbprint"),
            history=sa.bindparam("new_history"),
            next_attempt=sa.bindparam("new_next_attempt"),
        )
    )


def authorized_names(
    connection: sa.Connection,
    account: str,
    wanted: Collection[Identifier],
    now: datetime,
    counts: Callable[[str | None], bool],
) -> frozenset[Identifier]:
    """Return the identifiers, wildcards with ``*.``, that the account holds valid authorizations for.

    Args:
        connection: the transaction.
        account: whose.
        wanted: those that matter; of the others, some may be among what is returned.
        now: the time.
        counts: whether an authorization counts that was given for this profile.
    """
    names = [each.value.removeprefix("*.") for each in wanted]
    return frozenset(
        Identifier(_TYPES.get(row.type, row.type), f"*.{row.value}" if row.wildcard else row.value)
        for row in _valid.all(connection, account=account, names=names, now=now)
        if counts(row.profile)
    )


def _write_challenges(challenges: Sequence[Challenge]) -> list[dict[str, object]]:
    return [
        {
            "type": each.type,
            "token": each.token,
            "status": each.status,
            "validated": each.validated.isoformat() if each.validated else None,
            "error": each.error,
            **({"attested": each.attested} if each.attested else {}),
        }
        for each in challenges
    ]


def _read_challenge(stored: dict[str, Any]) -> Challenge:
    validated = stored["validated"]
    return Challenge(
        stored["type"],
        stored["token"],
        _CHALLENGE_STATUSES[stored["status"]],
        datetime.fromisoformat(validated) if validated else None,
        stored["error"],
        stored.get("attested"),
    )


def _authorization(row: Any, now: datetime) -> Authorization:
    return Authorization(
        id=row.id,
        account=row.account_id,
        order=row.order_id or "",
        identifier=Identifier(_TYPES.get(row.type, row.type), row.value),
        wildcard=row.wildcard,
        status=authorization_status(_STATUSES[row.status], row.expires, now),
        expires=row.expires,
        challenges=tuple(map(_read_challenge, row.challenges)),
        attempts=row.attempts,
        thumbprint=row.thumbprint,
        profile=row.profile,
        subdomains=bool(row.subdomains),
        history=tuple(map(_read_attempt, row.history or ())),
    )


def _write_attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "at": attempt.at.isoformat(),
        "challenge": attempt.challenge,
        "seconds": attempt.seconds,
        "trail": list(attempt.trail),
        "error": attempt.error,
        "detail": attempt.detail,
    }


def _read_attempt(stored: dict[str, Any]) -> Attempt:
    return Attempt(**{**stored, "at": datetime.fromisoformat(stored["at"]), "trail": tuple(stored["trail"])})


def insert_authorizations(connection: sa.Connection, parts: Sequence[tuple[str, Authorization]]) -> None:
    """Record new authorizations, each with its endpoint."""
    _INSERT(
        connection,
        [
            {
                "id": each.id,
                "account_id": each.account,
                "order_id": each.order or None,
                "endpoint": endpoint,
                "type": _STORED_TYPES.get(each.identifier.type, each.identifier.type),
                "value": each.identifier.value,
                "wildcard": each.wildcard,
                "status": each.status,
                "expires": each.expires,
                "challenges": _write_challenges(each.challenges),
                "attempts": each.attempts,
                "profile": each.profile,
                "subdomains": each.subdomains,
            }
            for endpoint, each in parts
        ],
    )


def find_authorization(
    connection: sa.Connection, owner: Owner, authorization: str, now: datetime
) -> Authorization | None:
    """Return an authorization of the owner, None also when the owner is not valid any more."""
    row = _owned.first(connection, authorization=authorization, account=owner.account, thumbprint=owner.thumbprint)
    return _authorization(row, now) if row else None


def find_authorizations(
    connection: sa.Connection, authorizations_: Sequence[str], now: datetime
) -> tuple[Authorization, ...]:
    """Return authorizations, in this order as far as they are there."""
    rows = (_by_id.first(connection, authorization=each) for each in authorizations_)
    return tuple(_authorization(row, now) for row in rows if row is not None)


def held_authorizations(
    connection: sa.Connection, account: str, names: Sequence[str], now: datetime
) -> tuple[Authorization, ...]:
    """Return the valid authorizations of an account that belong to no order, those that are good for longest first.

    Args:
        connection: the transaction.
        account: whose.
        names: the values of their identifiers.
        now: the time.
    """
    found = _held.all(connection, account=account, names=list(names), now=now)
    return tuple(_authorization(row, now) for row in found)


@dataclass(frozen=True, slots=True)
class Due:
    """Which validations nobody works on: those whose time has come, or was set by a clock that has gone back since.

    Attributes:
        endpoint: where they are.
        now: the present time.
        latest: no process sets a time as late as this.
    """

    endpoint: str
    now: datetime
    latest: datetime


def any_due(connection: sa.Connection, due: Due) -> bool:
    """Say whether there is something for `claim_due`."""
    return bool(_find_due(connection, due, 1))


def _find_due(connection: sa.Connection, due: Due, limit: int) -> Sequence[Any]:
    return _due.all(connection, endpoint=due.endpoint, now=due.now, latest=due.latest, limit=limit)


def change_authorization(
    connection: sa.Connection,
    authorization: Authorization,
    sources: Sequence[AuthorizationStatus],
    next_attempt: datetime | None = None,
) -> bool:
    """Record status, challenges, attempts with their history, the key that answered, and when to try next.

    Only if the stored status is one of ``sources``; returns whether it was.
    """
    changed = _change(tuple(sources)).change(
        connection,
        authorization=authorization.id,
        new_status=authorization.status,
        new_challenges=_write_challenges(authorization.challenges),
        new_attempts=authorization.attempts,
        new_thumbprint=authorization.thumbprint,
        new_history=[_write_attempt(each) for each in authorization.history] or None,
        new_next_attempt=next_attempt,
    )
    return changed == 1


def claim_due(connection: sa.Connection, due: Due, until: datetime, limit: int) -> tuple[Authorization, ...]:
    """Take up validations that nobody works on; nobody else gets them before ``until``."""
    rows = _find_due(connection, due, limit)
    for row in rows:
        _postpone.change(connection, authorization=row.id, new_next_attempt=until)
    return tuple(_authorization(row, due.now) for row in rows)


def keep(connection: sa.Connection, authorizations_: Sequence[str], until: datetime) -> None:
    """Let nobody take up these validations before ``until``, those of them that are not over."""
    table = authorizations.c
    working = sa.and_(table.next_attempt.is_not(None), table.status == AuthorizationStatus.PENDING)
    connection.execute(authorizations.update().where(table.id.in_(authorizations_), working).values(next_attempt=until))
