"""A way to the certificates of an endpoint by when they end: how many are renewed in the same days."""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision: str | None = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_certificates_endpoint", "certificates", ["endpoint", "not_after"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_certificates_endpoint", "certificates")
