"""What was seen of every SCEP message, and what became of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision: str | None = "0008"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "scep_exchanges",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("address", sa.String(64)),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("observed", sa.Text(), nullable=False),
    )
    op.create_index("ix_scep_exchanges_transaction_id", "scep_exchanges", ["transaction_id"])


def downgrade() -> None:
    """Remove it."""
    op.drop_table("scep_exchanges")
