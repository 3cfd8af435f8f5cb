"""ACME: what attempts to validate found, under which profile they were made, and who asked from where."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision: str | None = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the columns."""
    op.add_column("acme_authorizations", sa.Column("profile", sa.String(80)))
    op.add_column("acme_authorizations", sa.Column("history", sa.JSON()))
    op.add_column("acme_orders", sa.Column("address", sa.String(64)))
    op.add_column("acme_accounts", sa.Column("address", sa.String(64)))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("acme_accounts", "address")
    op.drop_column("acme_orders", "address")
    op.drop_column("acme_authorizations", "history")
    op.drop_column("acme_authorizations", "profile")
