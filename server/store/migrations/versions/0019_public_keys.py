"""The public key of each certificate, to find others that have it."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

revision = "0019"
down_revision: str | None = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, fill it from the certificates, and make its index."""
    op.add_column("certificates", sa.Column("spki", sa.LargeBinary(32)))
    table = sa.table("certificates", sa.column("fingerprint"), sa.column("der"), sa.column("spki"))
    connection = op.get_bind()
    update = sa.update(table).where(table.c.fingerprint == sa.bindparam("one")).values(spki=sa.bindparam("key"))
    # Read as a whole first: a result that is open while its table changes has no certain content.
    for fingerprint, der in connection.execute(sa.select(table.c.fingerprint, table.c.der)).all():
        key = x509.load_der_x509_certificate(der).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        connection.execute(update, {"one": fingerprint, "key": hashlib.sha256(spki).digest()})
    op.create_index("ix_certificates_spki", "certificates", ["spki"])
