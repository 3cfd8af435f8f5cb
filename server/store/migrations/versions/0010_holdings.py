"""Ways to what a requester holds, and to what was renewed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision: str | None = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("ix_certificates_requester", "certificates", ["requester", "issued_at"])
    op.create_index("ix_certificates_profile", "certificates", ["profile", "issued_at"])
    renewed = sa.text("renews IS NOT NULL")
    op.create_index(
        "ix_certificates_renews", "certificates", ["renews"], sqlite_where=renewed, postgresql_where=renewed
    )
