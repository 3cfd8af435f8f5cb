"""Requests, certificates, audit events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None

_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TIME = sa.DateTime(timezone=True).with_variant(sa.String(32), "sqlite")
_NOT_ISSUED = sa.text("state <> 'issued'")
_SERIAL = sa.String(40)


def upgrade() -> None:
    """Make the first tables."""
    _make_requests()
    _make_certificates()
    _make_audit_events()


def _make_requests() -> None:
    op.create_table(
        "requests",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("key", sa.LargeBinary(32)),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("kind", sa.String(8)),
        sa.Column("profile", sa.String(80)),
        sa.Column("requester", sa.Text()),
        sa.Column("address", sa.String(64)),
        sa.Column("transaction_id", sa.Text()),
        sa.Column("csr", sa.LargeBinary()),
        sa.Column("renews", _SERIAL),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("finished_at", _TIME),
        sa.Column("plan", sa.Text()),
        sa.Column("serial", _SERIAL),
        sa.Column("owner", sa.String(32)),
        sa.Column("leased_until", _TIME),
        sa.Column("question", sa.Text()),
        sa.Column("approved_by", sa.Text()),
        sa.Column("reason", sa.String(32)),
        sa.Column("message", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("findings", sa.Text()),
        sa.Column("quarantined", sa.LargeBinary()),
        sa.UniqueConstraint("id", name="uq_requests_id"),
        sa.UniqueConstraint("key", name="uq_requests_key"),
        sa.UniqueConstraint("serial", name="uq_requests_serial"),
        sa.CheckConstraint(
            "state IN ('pending', 'intended', 'issued', 'refused', 'failed')", name=op.f("ck_requests_state")
        ),
    )
    op.create_index(
        "ix_requests_state", "requests", ["state", "number"], sqlite_where=_NOT_ISSUED, postgresql_where=_NOT_ISSUED
    )
    op.create_index("ix_requests_transaction_id", "requests", ["transaction_id"])


def _make_certificates() -> None:
    op.create_table(
        "certificates",
        sa.Column("serial", _SERIAL, primary_key=True),
        sa.Column("issuer", sa.String(80), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("endpoint", sa.String(80), nullable=False),
        sa.Column("profile", sa.String(80), nullable=False),
        sa.Column("requester", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("not_after", _TIME, nullable=False),
        sa.Column("issued_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME),
        sa.Column("revocation_reason", sa.String(32)),
        sa.Column(
            "request_id",
            sa.String(64),
            sa.ForeignKey("requests.id", name="fk_certificates_request_id"),
            nullable=False,
        ),
        sa.Column("renews", _SERIAL),
        sa.UniqueConstraint("fingerprint", name="uq_certificates_fingerprint"),
        sa.UniqueConstraint("request_id", name="uq_certificates_request_id"),
    )


def _make_audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("serial", _SERIAL),
        sa.Column("detail", sa.Text(), nullable=False),
    )
    op.create_index("ix_audit_events_request_id", "audit_events", ["request_id"])


def downgrade() -> None:
    """Remove them: only an empty database goes back."""
    op.drop_table("audit_events")
    op.drop_table("certificates")
    op.drop_table("requests")
