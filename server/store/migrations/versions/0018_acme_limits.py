"""ACME: rate limits, and accounts that keep failing."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "acme_limits",
        sa.Column("key", sa.String(400), nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_acme_limits"),
    )
    op.create_index("ix_acme_limits_until", "acme_limits", ["until"])
    op.create_table(
        "acme_failures",
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", _TIME, nullable=False),
        sa.Column("paused_at", _TIME),
        sa.PrimaryKeyConstraint("account_id", "type", "value", name="pk_acme_failures"),
        sa.ForeignKeyConstraint(["account_id"], ["acme_accounts.id"], name="fk_acme_failures_account_id"),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("acme_failures")
    op.drop_table("acme_limits")
