"""ACME accounts, orders, authorizations, chains."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")


def upgrade() -> None:
    """Make ACME's tables."""
    op.create_table(
        "acme_accounts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("thumbprint", sa.String(43), nullable=False),
        sa.Column("jwk", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("contact", sa.JSON(), nullable=False),
        sa.Column("terms_agreed", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_acme_accounts"),
        sa.UniqueConstraint("endpoint", "thumbprint", name="uq_acme_accounts_endpoint"),
    )
    op.create_table(
        "acme_chains",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("pem", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_acme_chains"),
    )
    _orders()
    _authorizations()


def _orders() -> None:
    op.create_table(
        "acme_orders",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.Column("identifiers", sa.JSON(), nullable=False),
        sa.Column("authorizations", sa.JSON(), nullable=False),
        sa.Column("error", sa.JSON()),
        sa.Column("csr", sa.LargeBinary()),
        sa.Column("request_id", sa.String(64)),
        sa.Column("chain", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_acme_orders"),
        sa.ForeignKeyConstraint(["account_id"], ["acme_accounts.id"], name="fk_acme_orders_account_id"),
        sa.ForeignKeyConstraint(["chain"], ["acme_chains.digest"], name="fk_acme_orders_chain"),
    )
    op.create_index("ix_acme_orders_request_id", "acme_orders", ["request_id"])
    op.create_index("ix_acme_orders_account_id", "acme_orders", ["account_id", "created_at"])
    op.create_index(
        "ix_acme_orders_processing",
        "acme_orders",
        ["endpoint"],
        sqlite_where=sa.text("status = 'processing'"),
        postgresql_where=sa.text("status = 'processing'"),
    )


def _authorizations() -> None:
    op.create_table(
        "acme_authorizations",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(32), nullable=False),
        sa.Column("order_id", sa.String(32), nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("type", sa.String(16), nullable=False),
        sa.Column("value", sa.String(255), nullable=False),
        sa.Column("wildcard", sa.Boolean(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("expires", _TIME, nullable=False),
        sa.Column("challenges", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("thumbprint", sa.String(43)),
        sa.Column("next_attempt", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_acme_authorizations"),
        sa.ForeignKeyConstraint(["account_id"], ["acme_accounts.id"], name="fk_acme_authorizations_account_id"),
        sa.ForeignKeyConstraint(["order_id"], ["acme_orders.id"], name="fk_acme_authorizations_order_id"),
    )
    op.create_index("ix_acme_authorizations_order_id", "acme_authorizations", ["order_id"])
    op.create_index("ix_acme_authorizations_account_id", "acme_authorizations", ["account_id", "value"])
    op.create_index(
        "ix_acme_authorizations_next_attempt",
        "acme_authorizations",
        ["next_attempt"],
        sqlite_where=sa.text("next_attempt IS NOT NULL"),
        postgresql_where=sa.text("next_attempt IS NOT NULL"),
    )
