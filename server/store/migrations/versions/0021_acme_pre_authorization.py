"""ACME: authorizations that belong to no order, and those that are good for subdomains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision: str | None = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let the order be absent, and make the column."""
    with op.batch_alter_table("acme_authorizations") as table:
        table.alter_column("order_id", existing_type=sa.String(32), nullable=True)
        table.add_column(sa.Column("subdomains", sa.Boolean()))


def downgrade() -> None:
    """Remove authorizations without orders, and the column."""
    op.execute("DELETE FROM acme_authorizations WHERE order_id IS NULL")
    with op.batch_alter_table("acme_authorizations") as table:
        table.drop_column("subdomains")
        table.alter_column("order_id", existing_type=sa.String(32), nullable=False)
