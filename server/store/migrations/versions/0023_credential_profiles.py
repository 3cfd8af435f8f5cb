"""Secrets: room for the names of several profiles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision: str | None = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column longer; in SQLite texts have no length, and the table is left alone."""
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("credentials", "profile", existing_type=sa.String(80), type_=sa.Text())


def downgrade() -> None:
    """Withdraw secrets for several profiles, which no older program understands, and make the column shorter."""
    op.execute("UPDATE credentials SET revoked_at = COALESCE(revoked_at, created_at) WHERE profile LIKE '% %'")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("UPDATE credentials SET profile = substr(profile, 1, 80)")
        op.alter_column("credentials", "profile", existing_type=sa.Text(), type_=sa.String(80))
