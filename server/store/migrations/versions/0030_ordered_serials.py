"""Certificates are found by their serial numbers, which begin with the time; the index on their hashes is gone.

Hashes are random: each enrollment wrote a page of that index as soon as the index was large.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision: str | None = "0029"
branch_labels = None
depends_on = None

_SUBJECT = [sa.text("lower(subject)")]


def upgrade() -> None:
    """Drop the constraint; SQLite copies the table for it, and knows no index on an expression while it does."""
    op.drop_index("ix_certificates_subject", "certificates")
    with op.batch_alter_table("certificates") as table:
        table.drop_constraint(op.f("uq_certificates_fingerprint"), type_="unique")
    op.create_index("ix_certificates_subject", "certificates", _SUBJECT)


def downgrade() -> None:
    """Make it again."""
    op.drop_index("ix_certificates_subject", "certificates")
    with op.batch_alter_table("certificates") as table:
        table.create_unique_constraint(op.f("uq_certificates_fingerprint"), ["fingerprint"])
    op.create_index("ix_certificates_subject", "certificates", _SUBJECT)
