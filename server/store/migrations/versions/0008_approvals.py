"""Who must approve a request, and who has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision: str | None = "0007"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "approval_terms",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("needed", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(64)),
        sa.Column("until", _TIME),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_approval_terms")),
    )
    op.create_table(
        "approval_votes",
        sa.Column("number", _COUNTER, autoincrement=True),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_approval_votes")),
        sa.UniqueConstraint("request_id", "voter", name=op.f("uq_approval_votes_request_id")),
    )
