"""Secrets that requesters may present, and what each was spent on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")
_SERIAL = sa.String(40)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "credentials",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("username", sa.Text()),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Column("argon2", sa.Text()),
        sa.Column("sealed", sa.LargeBinary()),
        sa.Column("uses_left", sa.Integer()),
        sa.Column("expires_at", _TIME),
        sa.Column("profile", sa.String(80)),
        sa.Column("device", sa.Text()),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("serial", _SERIAL),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("spent_at", _TIME),
        sa.Column("revoked_at", _TIME),
        sa.UniqueConstraint("id", name="uq_credentials_id"),
        sa.CheckConstraint("uses_left >= 0", name=op.f("ck_credentials_uses_left")),
    )
    op.create_index("ix_credentials_digest", "credentials", ["digest"])
    op.create_index("ix_credentials_username", "credentials", ["username"])
    op.create_index("ix_credentials_serial", "credentials", ["serial"])
    op.create_table(
        "credential_uses",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column(
            "credential_id",
            sa.String(32),
            sa.ForeignKey("credentials.id", name="fk_credential_uses_credential_id"),
            nullable=False,
        ),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at", _TIME, nullable=False),
    )
    op.create_index("ix_credential_uses_credential_id", "credential_uses", ["credential_id"])
    op.create_index("ix_credential_uses_request_id", "credential_uses", ["request_id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("credential_uses")
    op.drop_table("credentials")
