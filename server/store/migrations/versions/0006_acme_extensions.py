"""ACME: profiles, replaced certificates and external accounts; moved renewal windows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """Make the columns and tables."""
    op.add_column("acme_accounts", sa.Column("binding", sa.JSON()))
    op.add_column("acme_accounts", sa.Column("credential_id", sa.String(32)))
    op.add_column("acme_orders", sa.Column("profile", sa.String(80)))
    op.add_column("acme_orders", sa.Column("replaces", sa.String(128)))
    op.create_index("ix_acme_orders_replaces", "acme_orders", ["replaces"])
    op.create_table(
        "acme_renewal_windows",
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("starts", _TIME, nullable=False),
        sa.Column("ends", _TIME, nullable=False),
        sa.Column("explanation", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("serial", name="pk_acme_renewal_windows"),
    )


def downgrade() -> None:
    """Remove them."""
    op.drop_table("acme_renewal_windows")
    op.drop_index("ix_acme_orders_replaces", "acme_orders")
    op.drop_column("acme_orders", "replaces")
    op.drop_column("acme_orders", "profile")
    op.drop_column("acme_accounts", "credential_id")
    op.drop_column("acme_accounts", "binding")
