"""Works on accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.acme.messages import Account, AccountStatus, AuthorizationStatus, OrderStatus, Owner
from server.acme.records.tables import accounts, authorizations, orders
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import audit_events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

OWNED = sa.and_(
    accounts.c.id == sa.bindparam("account"),
    accounts.c.thumbprint == sa.bindparam("thumbprint"),
    accounts.c.status == AccountStatus.VALID,
)
"""The condition that a request's account is valid and still has the key that signed."""

_active = Prepared(sa.select(accounts.c.id).where(OWNED))
_about = Prepared(
    sa.select(accounts.c.endpoint, accounts.c.terms, accounts.c.credential_id).where(
        accounts.c.id == sa.bindparam("account")
    )
)
_here = Prepared(
    sa.select(accounts).where(accounts.c.id == sa.bindparam("account"), accounts.c.endpoint == sa.bindparam("endpoint"))
)
_here_by_key = Prepared(
    sa.select(accounts).where(
        accounts.c.endpoint == sa.bindparam("endpoint"), accounts.c.thumbprint == sa.bindparam("thumbprint")
    )
)
_INSERT = BulkInsert(
    accounts,
    "id",
    "endpoint",
    "thumbprint",
    "jwk",
    "status",
    "contact",
    "terms_agreed",
    "created_at",
    "address",
    "binding",
    "credential_id",
    "terms",
)
_key = Prepared(sa.select(accounts.c.id).where(accounts.c.thumbprint == sa.bindparam("thumbprint")))


def read_account(row: Any) -> Account:
    """Return the account that a row holds."""
    return Account(
        row.id,
        AccountStatus(row.status),
        tuple(row.contact),
        row.terms_agreed,
        row.thumbprint,
        row.jwk,
        row.binding,
        row.credential_id,
        row.terms,
    )


def find_account(connection: sa.Connection, endpoint: str, account: str) -> Account | None:
    """Return the account of an endpoint."""
    row = _here.first(connection, account=account, endpoint=endpoint)
    return read_account(row) if row else None


def find_account_by_key(connection: sa.Connection, endpoint: str, thumbprint: str) -> Account | None:
    """Return the account that has the key; a deactivated one too."""
    row = _here_by_key.first(connection, endpoint=endpoint, thumbprint=thumbprint)
    return read_account(row) if row else None


def is_account_key(connection: sa.Connection, thumbprint: str) -> bool:
    """Say whether a key is that of an account of any endpoint, of one that has ended too."""
    return _key.first(connection, thumbprint=thumbprint) is not None


def insert_account(
    connection: sa.Connection, endpoint: str, account: Account, now: datetime, address: str | None = None
) -> None:
    """Record a new account, and from where it was made."""
    row = {
        "id": account.id,
        "endpoint": endpoint,
        "thumbprint": account.thumbprint,
        "jwk": account.jwk,
        "status": account.status,
        "contact": list(account.contact),
        "terms_agreed": account.terms_agreed,
        "created_at": now,
        "address": address,
        "binding": account.binding,
        "credential_id": account.credential,
        "terms": account.terms,
    }
    _INSERT(connection, [row])


def terms_of(connection: sa.Connection, account: str) -> str | None:
    """Return the URL of the terms of service that an account agreed to, None when that is not known."""
    row = _about.first(connection, account=account)
    return None if row is None else row.terms


def endpoint_of(connection: sa.Connection, account: str) -> str | None:
    """Return the endpoint of an account, None when there is no such account."""
    row = _about.first(connection, account=account)
    return None if row is None else row.endpoint


def agree(connection: sa.Connection, account: str, terms: str, event: Mapping[str, object]) -> None:
    """Record to which terms of service an account has agreed, with the audit event."""
    connection.execute(accounts.update().where(accounts.c.id == account).values(terms=terms, terms_agreed=True))
    connection.execute(sa.insert(audit_events), dict(event))


def credential_of(connection: sa.Connection, account: str) -> str | None:
    """Return the identifier of the key of an account's external account binding."""
    row = _about.first(connection, account=account)
    return None if row is None else row.credential_id


def bound_to(connection: sa.Connection, credential: str, status: AccountStatus) -> tuple[str, ...]:
    """Return the accounts in this state that a key of external account bindings has made."""
    query = sa.select(accounts.c.id).where(accounts.c.credential_id == credential, accounts.c.status == status)
    return tuple(connection.scalars(query))


def end(connection: sa.Connection, account: str, status: AccountStatus, event: Mapping[str, object]) -> None:
    """Record the state in which an account ends, with the audit event."""
    connection.execute(accounts.update().where(accounts.c.id == account).values(status=status))
    connection.execute(sa.insert(audit_events), dict(event))


def update_account(connection: sa.Connection, account: Account) -> None:
    """Record contacts, status and key of an account."""
    connection.execute(
        accounts.update()
        .where(accounts.c.id == account.id)
        .values(contact=list(account.contact), status=account.status, thumbprint=account.thumbprint, jwk=account.jwk)
    )


def is_active(connection: sa.Connection, owner: Owner) -> bool:
    """Say whether the account is valid and still has the key that signed."""
    return _active.first(connection, account=owner.account, thumbprint=owner.thumbprint) is not None


def active_among(connection: sa.Connection, owners: Sequence[Owner]) -> list[bool]:
    """Say of each whether it `is_active`."""
    active = {owner for owner in set(owners) if is_active(connection, owner)}
    return [owner in active for owner in owners]


def abandon(
    connection: sa.Connection,
    account: str,
    *,
    open_orders: Sequence[OrderStatus],
    open_authorizations: Sequence[AuthorizationStatus],
    error: dict[str, object],
) -> None:
    """Give up every order, for this reason, and authorization of an account that is in one of these states."""
    connection.execute(
        orders.update()
        .where(orders.c.account_id == account, orders.c.status.in_(open_orders))
        .values(status=OrderStatus.INVALID, error=error)
    )
    connection.execute(
        authorizations.update()
        .where(authorizations.c.account_id == account, authorizations.c.status.in_(open_authorizations))
        .values(status=AuthorizationStatus.DEACTIVATED, next_attempt=None)
    )
