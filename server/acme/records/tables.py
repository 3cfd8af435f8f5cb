"""ACME's tables, on the metadata of the store."""

from __future__ import annotations

import sqlalchemy as sa

from server.store.tables import Serial, UtcTime, metadata

_PROCESSING = sa.text("status = 'processing'")
_WAITING = sa.text("next_attempt IS NOT NULL")

accounts = sa.Table(
    "acme_accounts",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("thumbprint", sa.String(43), nullable=False),  # RFC 7638
    sa.Column("jwk", sa.Text(), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("contact", sa.JSON(), nullable=False),
    sa.Column("terms_agreed", sa.Boolean(), nullable=False),
    sa.Column("created_at", UtcTime(), nullable=False),
    sa.Column("binding", sa.JSON(none_as_null=True)),  # the external account binding as it was verified
    sa.Column("credential_id", sa.String(32)),  # the key of the binding
    sa.Column("address", sa.String(64)),  # from where it was made
    sa.Column("terms", sa.Text()),  # the URL of the terms of service that were agreed to
    sa.UniqueConstraint("endpoint", "thumbprint", name="uq_acme_accounts_endpoint"),
    sa.Index("ix_acme_accounts_thumbprint", "thumbprint"),
)

chains = sa.Table(
    "acme_chains",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("pem", sa.Text(), nullable=False),
)
"""Chains as they were when certificates were issued, each once; a certificate is downloaded with its own."""

orders = sa.Table(
    "acme_orders",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("account_id", sa.String(32), sa.ForeignKey("acme_accounts.id"), nullable=False),
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", UtcTime(), nullable=False),
    sa.Column("expires", UtcTime(), nullable=False),
    sa.Column("identifiers", sa.JSON(), nullable=False),
    sa.Column("authorizations", sa.JSON(), nullable=False),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("csr", sa.LargeBinary()),
    sa.Column("request_id", sa.String(64), index=True),
    sa.Column("chain", sa.String(64), sa.ForeignKey("acme_chains.digest")),
    sa.Column("profile", sa.String(80)),
    sa.Column("replaces", sa.String(128), index=True),  # RFC 9773 section 5
    sa.Column("address", sa.String(64)),  # from where it was asked for
    sa.Index("ix_acme_orders_account_id", "account_id", "created_at"),
    sa.Index("ix_acme_orders_processing", "endpoint", sqlite_where=_PROCESSING),
)

authorizations = sa.Table(
    "acme_authorizations",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("account_id", sa.String(32), sa.ForeignKey("acme_accounts.id"), nullable=False),
    sa.Column("order_id", sa.String(32), sa.ForeignKey("acme_orders.id"), index=True),  # NULL: it came before any
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("value", sa.String(255), nullable=False),
    sa.Column("wildcard", sa.Boolean(), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("expires", UtcTime(), nullable=False),
    sa.Column("challenges", sa.JSON(), nullable=False),
    sa.Column("attempts", sa.Integer(), nullable=False),
    sa.Column("thumbprint", sa.String(43)),  # of the key that answered: what the key authorization must hold
    sa.Column("next_attempt", UtcTime()),  # when anybody may take the validation up; NULL when there is none
    sa.Column("profile", sa.String(80)),
    sa.Column("history", sa.JSON(none_as_null=True)),  # the attempts, for administrators
    sa.Column("subdomains", sa.Boolean()),  # RFC 9444
    sa.Index("ix_acme_authorizations_account_id", "account_id", "value"),
    sa.Index("ix_acme_authorizations_next_attempt", "next_attempt", sqlite_where=_WAITING),
)

windows = sa.Table(
    "acme_renewal_windows",
    metadata,
    sa.Column("serial", Serial(), primary_key=True),
    sa.Column("starts", UtcTime(), nullable=False),
    sa.Column("ends", UtcTime(), nullable=False),
    sa.Column("explanation", sa.Text(), nullable=False),
    sa.Column("made_by", sa.Text(), nullable=False),
    sa.Column("made_at", UtcTime(), nullable=False),
)
"""Renewal windows that an administrator has moved; the others are calculated (RFC 9773)."""

limits = sa.Table(
    "acme_limits",
    metadata,
    sa.Column("key", sa.String(400), primary_key=True),
    sa.Column("until", UtcTime(), nullable=False, index=True),
)
"""How far ahead each rate limit has got; what lies in the past says nothing any more."""

failures = sa.Table(
    "acme_failures",
    metadata,
    sa.Column("account_id", sa.String(32), sa.ForeignKey("acme_accounts.id"), primary_key=True),
    sa.Column("type", sa.String(16), primary_key=True),
    sa.Column("value", sa.String(255), primary_key=True),
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("failures", sa.Integer(), nullable=False),
    sa.Column("last_at", UtcTime(), nullable=False),
    sa.Column("paused_at", UtcTime()),
)
"""Names that an account failed to show control over since it last did."""
