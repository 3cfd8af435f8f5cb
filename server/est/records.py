"""Which keys were made here, for whom, and what is kept of them: never a key that somebody could use."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from server.audit import Action, AuditEvent
from server.outcome import Reason
from server.store import leases, results
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.results import Failure
from server.store.tables import UtcTime, audit_events, certificates, is_in, metadata, requests

if TYPE_CHECKING:
    from datetime import datetime

    from ca.csr import Csr
    from policies.request import EnrollmentRequest
    from server.store.claims import Lease

_AWAY = "The certification authority can't be reached now."
_INTENDED = is_in("intended")
_SUBJECT_ALT_NAME = "2.5.29.17"
_NOT_KEPT = sa.text("escrow IS NULL")
_COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

generated_keys = sa.Table(
    "est_generated_keys",
    metadata,
    sa.Column("number", _COUNTER, primary_key=True, autoincrement=True),
    sa.Column("question", sa.LargeBinary(32), nullable=False, index=True),  # who asks for which names
    sa.Column("request_key", sa.LargeBinary(32), nullable=False, unique=True),  # as in requests
    sa.Column("made_at", UtcTime(), nullable=False),
    sa.Column("escrow", sa.LargeBinary()),  # EnvelopedData that this server can't open
    sa.Index("ix_est_generated_keys_made_at", "made_at", sqlite_where=_NOT_KEPT),  # by which old rows are found
)
"""One row for each key that was made and may have left."""

_row = generated_keys.c
_insert = BulkInsert(generated_keys, "question", "request_key", "made_at", "escrow")
# The row of an intent that stands is all by which who asks again finds and ends it.
_STANDS = sa.exists().where(requests.c.key == _row.request_key, _INTENDED).correlate(generated_keys)
_forget_old = Prepared(
    sa.delete(generated_keys).where(_row.escrow.is_(None), _row.made_at < sa.bindparam("since"), ~_STANDS)
)
_forget = Prepared(sa.delete(generated_keys).where(_row.request_key == sa.bindparam("request_key"), ~_STANDS))
_half_done = Prepared(
    sa.select(requests.c.id, requests.c.owner, requests.c.leased_until)
    .select_from(generated_keys.join(requests, requests.c.key == _row.request_key))
    .where(_row.question == sa.bindparam("question"), _INTENDED)
)
_before = Prepared(
    sa.select(certificates.c.serial, certificates.c.request_id)
    .select_from(generated_keys.join(requests, requests.c.key == _row.request_key))
    .join(certificates, certificates.c.request_id == requests.c.id)
    .where(
        _row.question == sa.bindparam("question"),
        _row.made_at >= sa.bindparam("since"),
        certificates.c.revoked_at.is_(None),
    )
)


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A key that was made.

    Attributes:
        question: who asks for which names, hashed: the same when a device asks again.
        request_key: the idempotency key of its request, hashed.
        made_at: when.
        escrow: the key, encrypted for somebody else; None where it is not kept.
    """

    question: bytes
    request_key: bytes
    made_at: datetime
    escrow: bytes | None

    @classmethod
    def of(cls, request: EnrollmentRequest, escrow: bytes | None) -> GeneratedKey:
        """Return what is kept of the key of a request."""
        renewed = "" if request.renewed is None else f"{request.renewed.serial:x}"
        asked = (str(request.endpoint), request.requester.identity, request.csr.subject.canonical(), renewed)
        names = sorted(map(str, request.csr.names))
        parts = (*map(str, asked), *names, *wishes(request.csr, request.profile))
        return cls(_hash("\0".join(parts)), _hash(request.key), request.now, escrow)


def wishes(csr: Csr, profile: str | None) -> list[str]:
    """Return what is asked for besides names, empty for most: who asks for another use asks for another certificate.

    Args:
        csr: the request.
        profile: the profile that a one-time password is for, None without.
    """
    others = [f"{one.oid} {one.critical} {one.value.hex()}" for one in csr.extensions if one.oid != _SUBJECT_ALT_NAME]
    if profile is not None:
        others.append(profile)
    return [hashlib.sha256("\n".join(sorted(others)).encode("utf-8", "surrogatepass")).hexdigest()] if others else []


@dataclass(frozen=True, slots=True)
class Predecessors:
    """What was made before for the same question and may not have arrived.

    Attributes:
        serials: of certificates that are still good.
        requests: the requests that they answer.
    """

    serials: tuple[int, ...]
    requests: tuple[str, ...]


def add(connection: sa.Connection, made: GeneratedKey, since: datetime, lease: Lease) -> Predecessors:
    """Keep a key's row, and return what came before it; what was left half-done before it ends.

    Args:
        connection: writes the store.
        made: the key.
        since: what was made before that time is no predecessor, and of no use any more where no key is kept.
        lease: tells on what is left another process still works.
    """
    _forget_old.change(connection, since=since)
    _end_half_done(connection, made, lease)
    found = _before.all(connection, question=made.question, since=since)
    _insert(connection, [asdict(made)])
    return Predecessors(tuple(one.serial for one in found), tuple(one.request_id for one in found))


def _end_half_done(connection: sa.Connection, made: GeneratedKey, lease: Lease) -> None:
    """End the intents of the same question on which nobody works: nobody has their keys, so nobody comes for them."""
    for one in _half_done.all(connection, question=made.question):
        if leases.is_held(one.leased_until, lease):
            continue
        why = "asked for again with another key"
        event = AuditEvent(lease.now, Action.FAILED, "certwright", one.id, detail=why).row()
        # What a CA may have signed is of no use: the key for it never left.
        results.fail(
            connection,
            Failure(one.id, one.owner, lease.now, Reason.ISSUER_UNAVAILABLE, _AWAY, why, event, gives_back=True),
        )


def forget(connection: sa.Connection, made: GeneratedKey) -> None:
    """Remove the row of a key that never left, unless its intent stands: that is ended, or issued, later."""
    _forget.change(connection, request_key=made.request_key)


def read_escrow(connection: sa.Connection, serial: int, event: dict[str, object]) -> bytes | None:
    """Return the key of a certificate as it is kept, encrypted, and record that; None where none is kept."""
    query = (
        sa.select(generated_keys.c.escrow)
        .select_from(certificates.join(requests, requests.c.id == certificates.c.request_id))
        .join(generated_keys, generated_keys.c.request_key == requests.c.key)
        .where(certificates.c.serial == serial)
    )
    found = connection.execute(query).scalar_one_or_none()
    if found is not None:
        connection.execute(sa.insert(audit_events).values(event))
    return found


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
