"""Keys that were given up as compromised: no certificate is issued for them any more, so each request asks for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision: str | None = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index; no enrollment writes it."""
    compromised = sa.text("revocation_reason = 'keyCompromise'")
    op.create_index(
        "ix_certificates_compromised",
        "certificates",
        ["spki"],
        sqlite_where=compromised,
        postgresql_where=compromised,
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_index("ix_certificates_compromised", "certificates")
