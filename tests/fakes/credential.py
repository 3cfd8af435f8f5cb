"""Secrets of the store, made by tests."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from policies.request import EndpointName
from server.audit import Action, AuditEvent
from server.credentials.redeeming import digest_of
from server.store import credentials
from server.store.credentials import CredentialKind, StoredCredential

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.store import Store

MADE = datetime(2026, 1, 1, tzinfo=UTC)
EST = EndpointName.parse("est/default")
_numbers = count(1)


def credential(secret: str | None = "secret", **fields: Any) -> StoredCredential:
    """One est-password for est/default of one use; `fields` say otherwise."""
    digest = None if secret is None else digest_of(secret)
    usual = {"id": f"c{next(_numbers)}", "kind": CredentialKind.EST_PASSWORD, "endpoint": EST, "digest": digest}
    return StoredCredential(**{**usual, "created_by": "admin:test", "created_at": MADE, **fields})


async def keep(store: Store, *kept: StoredCredential) -> None:
    event = AuditEvent(MADE, Action.CREDENTIAL_MADE, "admin:test").row()

    def work(connection: sa.Connection) -> None:
        for one in kept:
            credentials.add(connection, one, event)

    await store.write(work)


async def kept(store: Store, identifier: str) -> StoredCredential:
    found = await store.read(lambda connection: credentials.find(connection, identifier))
    assert found is not None
    return found
