"""The record: tables, transactions that share a commit, migrations."""

from __future__ import annotations

from server.store.database import Store
from server.store.lane import StoreUnavailable
from server.store.migrations import SchemaOutdated, SchemaUnknown, current_revision, head_revision, upgrade

__all__ = [
    "SchemaOutdated",
    "SchemaUnknown",
    "Store",
    "StoreUnavailable",
    "current_revision",
    "head_revision",
    "upgrade",
]
