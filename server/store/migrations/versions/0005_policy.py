"""Which policy judged, and what it was asked, for every request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None

_DIGEST = {
    "sqlite": "json_extract(requests.plan, '$.policy_digest')",
    "postgresql": "requests.plan::json ->> 'policy_digest'",
}


def upgrade() -> None:
    """Add the columns; what is on record of earlier requests fills the digests."""
    op.add_column("requests", sa.Column("asked", sa.Text()))
    op.add_column("requests", sa.Column("policy_digest", sa.String(64)))
    op.add_column("certificates", sa.Column("policy_digest", sa.String(64)))
    digest = _DIGEST.get(op.get_bind().dialect.name)
    if digest is not None:
        op.execute(f"UPDATE requests SET policy_digest = {digest} WHERE plan IS NOT NULL")  # noqa: S608 - constants
        op.execute(
            "UPDATE certificates SET policy_digest = "
            "(SELECT requests.policy_digest FROM requests WHERE requests.id = certificates.request_id)"
        )
