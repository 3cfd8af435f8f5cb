"""Entries of revocation lists, and the lists."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from cryptography.x509 import ReasonFlags

from ca.crl import write_entry

revision = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """Make the tables; what was revoked before goes into the first."""
    revocations = op.create_table(
        "revocations",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("serial", sa.String(40), nullable=False),
        sa.Column("issuer", sa.String(80), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("not_after", _TIME, nullable=False),
        sa.Column("invalid_since", _TIME),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.UniqueConstraint("serial", name="uq_revocations_serial"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_revocations_issuer", "revocations", ["issuer", "number"])
    op.create_index("ix_revocations_shard", "revocations", ["issuer", "shard", "number"])
    op.create_table(
        "crl_scopes",
        sa.Column("issuer", sa.String(80), primary_key=True),
        sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("scheduled_at", _TIME, nullable=False),
        sa.Column("owner", sa.String(32)),
        sa.Column("leased_until", _TIME),
    )
    op.create_table(
        "crls",
        sa.Column("issuer", sa.String(80), primary_key=True),
        sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("delta", sa.Boolean(), primary_key=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("this_update", _TIME, nullable=False),
        sa.Column("next_update", _TIME, nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.Integer(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
    )
    _carry_over(revocations)


def _carry_over(revocations: sa.Table) -> None:
    names = "serial, issuer, not_after, revoked_at, revocation_reason"
    rows = op.get_bind().exec_driver_sql(f"SELECT {names} FROM certificates WHERE revoked_at IS NOT NULL").all()  # noqa: S608 - constants
    entries = [
        {
            "serial": row.serial,
            "issuer": row.issuer,
            "shard": 0,
            "not_after": row.not_after,
            "released": False,
            "entry": write_entry(int(row.serial, 16), _moment(row.revoked_at), ReasonFlags(row.revocation_reason)),
        }
        for row in rows
    ]
    if entries:
        op.bulk_insert(revocations, entries)


def _moment(value: str | datetime) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def downgrade() -> None:
    """Remove them."""
    op.drop_table("crls")
    op.drop_table("crl_scopes")
    op.drop_table("revocations")
