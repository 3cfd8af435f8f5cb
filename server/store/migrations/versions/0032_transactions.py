"""Requests of a transaction are found by who signed them, too, and what has no transaction is not in the index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision: str | None = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index anew."""
    op.drop_index("ix_requests_transaction_id", "requests")
    named = sa.text("transaction_id IS NOT NULL")
    columns = ["transaction_id", "signer"]
    op.create_index("ix_requests_transaction_id", "requests", columns, sqlite_where=named, postgresql_where=named)


def downgrade() -> None:
    """Make it what it was."""
    op.drop_index("ix_requests_transaction_id", "requests")
    op.create_index("ix_requests_transaction_id", "requests", ["transaction_id"])
