"""EST: which keys were made here; a way to certificates by their subjects, for registration authorities."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from server.store.tables import UtcTime

revision = "0020"
down_revision: str | None = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the index."""
    op.create_table(
        "est_generated_keys",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("question", sa.LargeBinary(32), nullable=False),
        sa.Column("request_key", sa.LargeBinary(32), nullable=False),
        sa.Column("made_at", UtcTime(), nullable=False),
        sa.Column("escrow", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_est_generated_keys")),
        sa.UniqueConstraint("request_key", name=op.f("uq_est_generated_keys_request_key")),
    )
    op.create_index(op.f("ix_est_generated_keys_question"), "est_generated_keys", ["question"])
    op.create_index("ix_certificates_subject", "certificates", [sa.text("lower(subject)")])
