"""Quotas for one requester count by an index of their own; so are keys found that were made long ago and not kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision: str | None = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes: without the profile in it, the one for quotas was passed over for that of whole profiles."""
    op.drop_index("ix_certificates_requester", "certificates")
    op.create_index("ix_certificates_requester", "certificates", ["requester", "profile", "issued_at"])
    not_kept = sa.text("escrow IS NULL")
    op.create_index(
        "ix_est_generated_keys_made_at",
        "est_generated_keys",
        ["made_at"],
        sqlite_where=not_kept,
        postgresql_where=not_kept,
    )


def downgrade() -> None:
    """Make them what they were."""
    op.drop_index("ix_est_generated_keys_made_at", "est_generated_keys")
    op.drop_index("ix_certificates_requester", "certificates")
    op.create_index("ix_certificates_requester", "certificates", ["requester", "issued_at"])
