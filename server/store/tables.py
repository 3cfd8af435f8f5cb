"""The tables of the foundation. A protocol with state of its own defines its tables on the same `metadata`.

What stands here is what the newest migration leaves behind; a test compares the two.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import Dialect

# Conditions of indexes stand here for SQLite alone: to name another database's loads SQLAlchemy's whole part for it at
# every start. The migrations, which make the indexes, know them for PostgreSQL too.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


@lru_cache(maxsize=256)
def _text(time: datetime) -> str:
    """Return a UTC time as text; the same one often goes into several rows."""
    return time.isoformat(" ", "microseconds")


class UtcTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC time. SQLite keeps it as text that sorts: ``2026-11-21 10:00:00.000000+00:00``."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        """Choose text where there is no type for times; SQLAlchemy's own text form costs five times as much."""
        return dialect.type_descriptor(sa.String(32) if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Refuse naive times, bring others to UTC."""
        if value is None:
            return None
        if value.tzinfo is not UTC:
            if value.tzinfo is None:
                raise ValueError("a time without zone can't be stored")
            value = value.astimezone(UTC)
        return _text(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """Give an aware time."""
        if value is None:
            return None
        time: datetime = datetime.fromisoformat(value) if dialect.name == "sqlite" else value.astimezone(UTC)
        return time


class Serial(sa.types.TypeDecorator[int]):
    """A certificate serial number: up to 20 octets, too large for any integer column, so it is kept as hex text."""

    impl = sa.String(40)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | None:  # noqa: ARG002 - given
        """Write lower-case hex without prefix, as `certwright cert list` shows it."""
        return None if value is None else format(value, "x")

    def process_result_value(self, value: str | None, dialect: Dialect) -> int | None:  # noqa: ARG002 - given
        """Read the number."""
        return None if value is None else int(value, 16)


_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # only INTEGER PRIMARY KEY counts by itself in SQLite

_NOT_ISSUED = sa.text("state <> 'issued'")
_IN_TRANSACTION = sa.text("transaction_id IS NOT NULL")
_RENEWED = sa.text("renews IS NOT NULL")
_CHOSEN = sa.text("argon2 IS NOT NULL")
COMPROMISED = sa.text("revocation_reason = 'keyCompromise'")
"""Certificates whose keys somebody else has."""


def is_in(state: str) -> sa.ColumnElement[bool]:
    """Return the condition that a request is in a state other than ``issued``, in the words of the index on states.

    SQLite compares the text of conditions before it knows any parameter; without this it reads the whole table.
    """
    wanted: sa.ColumnElement[str] = sa.literal_column(f"'{state}'")
    return sa.and_(requests.c.state == wanted, requests.c.state != sa.literal_column("'issued'"))


requests = sa.Table(
    "requests",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("key", sa.LargeBinary(32), unique=True),  # SHA-256 of the idempotency key; NULL when it is free again
    sa.Column("state", sa.String(8), nullable=False),
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("kind", sa.String(8)),
    sa.Column("profile", sa.String(80)),
    sa.Column("requester", sa.Text()),
    sa.Column("address", sa.String(64)),
    sa.Column("transaction_id", sa.Text()),
    sa.Column("signer", sa.String(64)),  # SHA-256, hex, of the key that signed the message around it
    sa.Column("csr", sa.LargeBinary()),
    sa.Column("renews", Serial()),
    sa.Column("received_at", UtcTime(), nullable=False),
    sa.Column("finished_at", UtcTime()),
    sa.Column("plan", sa.Text()),
    sa.Column("serial", Serial(), unique=True),  # reserved with the intent: no two plans are ever signed under one
    sa.Column("owner", sa.String(32)),
    sa.Column("issuer_reference", sa.Text()),  # what a CA that needs time calls the request
    sa.Column("leased_until", UtcTime()),
    sa.Column("question", sa.Text()),  # the whole request, while a person is to decide
    sa.Column("asked", sa.Text()),  # what the policy was asked, without the CSR, to ask it again
    sa.Column("policy_digest", sa.String(64)),  # of the policy file that judged
    sa.Column("approved_by", sa.Text()),
    sa.Column("reason", sa.String(32)),
    sa.Column("message", sa.Text()),
    sa.Column("detail", sa.Text()),
    sa.Column("findings", sa.Text()),
    sa.Column("quarantined", sa.LargeBinary()),  # a certificate that is not what was planned; it never left
    sa.CheckConstraint("state IN ('pending', 'intended', 'issued', 'refused', 'failed')", name="state"),
    # What is issued is found by other ways, and keeping it out keeps this index small.
    sa.Index("ix_requests_state", "state", "number", sqlite_where=_NOT_ISSUED),
    # SCEP clients poll by both: anyone can cause refusals under a transaction that is another's. People search by one.
    sa.Index("ix_requests_transaction_id", "transaction_id", "signer", sqlite_where=_IN_TRANSACTION),
)
"""Every request with its outcome, refusals included."""

certificates = sa.Table(
    "certificates",
    metadata,
    sa.Column("serial", Serial(), primary_key=True),
    sa.Column("issuer", sa.String(80), nullable=False),
    sa.Column("der", sa.LargeBinary(), nullable=False),
    sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("profile", sa.String(80), nullable=False),
    sa.Column("requester", sa.Text(), nullable=False),
    sa.Column("subject", sa.Text(), nullable=False),
    sa.Column("names", sa.Text(), nullable=False),
    sa.Column("not_before", UtcTime(), nullable=False),
    sa.Column("not_after", UtcTime(), nullable=False),
    sa.Column("issued_at", UtcTime(), nullable=False),
    sa.Column("revoked_at", UtcTime()),
    sa.Column("revocation_reason", sa.String(32)),
    sa.Column("request_id", sa.String(64), sa.ForeignKey("requests.id"), nullable=False, unique=True),
    sa.Column("renews", Serial()),
    sa.Column("policy_digest", sa.String(64)),  # of the policy file that approved
    sa.Column("spki", sa.LargeBinary(32), index=True),  # SHA-256 of the public key
    sa.Index("ix_certificates_requester", "requester", "profile", "issued_at"),  # quotas count by these
    sa.Index("ix_certificates_profile", "profile", "issued_at"),
    sa.Index("ix_certificates_endpoint", "endpoint", "not_after"),  # how many are renewed in the same days
    sa.Index("ix_certificates_subject", sa.text("lower(subject)")),  # registration authorities ask by it
    sa.Index("ix_certificates_renews", "renews", sqlite_where=_RENEWED),
    sa.Index("ix_certificates_compromised", "spki", sqlite_where=COMPROMISED),
)
"""Every certificate that may have left."""

approval_terms = sa.Table(
    "approval_terms",
    metadata,
    sa.Column("request_id", sa.String(64), primary_key=True),
    sa.Column("needed", sa.Integer(), nullable=False),
    sa.Column("role", sa.String(64)),
    sa.Column("until", UtcTime()),
)
"""How many persons, with which role, until when must approve a request that waits for that."""

approval_votes = sa.Table(
    "approval_votes",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("request_id", sa.String(64), nullable=False),
    sa.Column("voter", sa.Text(), nullable=False),
    sa.Column("at", UtcTime(), nullable=False),
    sa.UniqueConstraint("request_id", "voter"),
)
"""Who approved what."""

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("at", UtcTime(), nullable=False),
    sa.Column("action", sa.String(16), nullable=False),
    sa.Column("actor", sa.Text(), nullable=False),
    sa.Column("request_id", sa.String(64), index=True),
    sa.Column("serial", Serial()),
    sa.Column("detail", sa.Text(), nullable=False),
)
"""Who did what, when; only ever appended to."""

credentials = sa.Table(
    "credentials",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("endpoint", sa.String(80), nullable=False),
    sa.Column("username", sa.Text(), index=True),  # or key identifier
    sa.Column("digest", sa.LargeBinary(32), index=True),  # SHA-256 of a generated secret: nobody guesses 128 bits
    sa.Column("argon2", sa.Text()),  # of a secret that a person chose
    sa.Column("sealed", sa.LargeBinary()),  # encrypted, where the protocol needs the secret itself
    sa.Column("uses_left", sa.Integer()),  # NULL: any number
    sa.Column("expires_at", UtcTime()),
    sa.Column("profile", sa.Text()),  # several with spaces between, where the kind has several
    sa.Column("device", sa.Text()),
    sa.Column("names", sa.Text(), nullable=False),  # one a line, as `str` writes a general name
    sa.Column("serial", Serial(), index=True),  # the certificate that a revocation secret revokes
    sa.Column("created_by", sa.Text(), nullable=False),
    sa.Column("created_at", UtcTime(), nullable=False),
    sa.Column("spent_at", UtcTime()),  # when it was used last
    sa.Column("revoked_at", UtcTime()),
    sa.CheckConstraint("uses_left >= 0", name="uses_left"),
    sa.Index("ix_credentials_chosen", "kind", "endpoint", sqlite_where=_CHOSEN),  # no use of a secret writes it
)
"""Secrets that requesters may present; none can be read from here."""

credential_uses = sa.Table(
    "credential_uses",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("credential_id", sa.String(32), sa.ForeignKey("credentials.id"), nullable=False, index=True),
    sa.Column("request_id", sa.String(64), nullable=False, index=True),
    sa.Column("at", UtcTime(), nullable=False),
    sa.Column("taken_from", sa.String(64)),  # the request whose use it was, and is again if this one comes to nothing
)
"""Which request spent which secret."""
