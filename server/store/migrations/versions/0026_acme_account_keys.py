"""ACME: keys of accounts are found at any endpoint, so that none of them gets a certificate."""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision: str | None = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_acme_accounts_thumbprint", "acme_accounts", ["thumbprint"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_acme_accounts_thumbprint", "acme_accounts")
