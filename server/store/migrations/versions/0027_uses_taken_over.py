"""Uses of secrets: of which request one has been taken over, to go back to it when nothing comes of the other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision: str | None = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the column; of older uses nobody knows."""
    op.add_column("credential_uses", sa.Column("taken_from", sa.String(64)))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("credential_uses", "taken_from")
