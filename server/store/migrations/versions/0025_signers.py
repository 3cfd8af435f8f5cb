"""Requests: which key signed the message around them, because a SCEP client polls with the same."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision: str | None = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column; of older requests nobody knows, and their clients send them again."""
    op.add_column("requests", sa.Column("signer", sa.String(64)))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("requests", "signer")
