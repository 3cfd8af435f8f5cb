"""Secrets that a person chose, by kind and endpoint: they are few, and were looked for among all."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision: str | None = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; no enrollment writes it."""
    chosen = sa.text("argon2 IS NOT NULL")
    op.create_index(
        "ix_credentials_chosen", "credentials", ["kind", "endpoint"], sqlite_where=chosen, postgresql_where=chosen
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_credentials_chosen", "credentials")
