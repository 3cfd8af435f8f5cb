"""Which CAs elsewhere have yet to be told of revocations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import Serial, UtcTime

revision = "0016"
down_revision: str | None = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "revocation_notices",
        sa.Column("serial", Serial(), nullable=False),
        sa.Column("issuer", sa.String(80), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=False),
        sa.Column("told_at", UtcTime()),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("serial", name="pk_revocation_notices"),
    )
    op.create_index("ix_revocation_notices_issuer", "revocation_notices", ["issuer", "number"])
    op.create_index("ix_revocation_notices_due_at", "revocation_notices", ["told_at", "due_at"])
