"""ACME: to which terms of service an account agreed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision: str | None = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column; of older accounts nobody knows."""
    op.add_column("acme_accounts", sa.Column("terms", sa.Text()))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("acme_accounts", "terms")
