"""The one secret store: what requesters may present, how often, until when and for what.

A secret is kept as SHA-256 when it was generated here (128 bits and more, which nobody guesses), as argon2 when a
person chose it, encrypted where the protocol needs it in plain. It is used up in the transaction that writes the
intent, so however many requests come with it at once, no more than its uses get a certificate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from policies.request import EndpointName
from server.store.bulk import BulkInsert
from server.store.prepared import Prepared
from server.store.tables import audit_events, credential_uses, credentials, requests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

_table, _uses = credentials.c, credential_uses.c


class CredentialKind(StrEnum):
    """What a secret is for."""

    EST_PASSWORD = "est-password"  # noqa: S105 - a word
    """HTTP Basic or otpChallenge at an EST endpoint."""
    SCEP_CHALLENGE = "scep-challenge"
    """challengePassword at a SCEP endpoint."""
    ACME_EAB = "acme-eab"
    """The key of an external account binding."""
    CMC_SECRET = "cmc-secret"  # noqa: S105 - a word
    """identityProofV2 in fullcmc at an EST endpoint."""
    REVOCATION = "revocation"
    """Revokes one certificate (RFC 7894 section 3.2)."""


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """One secret of the store; it itself can't be read from here.

    Attributes:
        id: its identifier.
        kind: what it is for.
        endpoint: where it may be presented, and nowhere else.
        created_by, created_at: who made it, and when.
        username: the user name or key identifier that goes with it, None when it goes by itself.
        digest: SHA-256 of a generated secret.
        argon2: the argon2 hash of a chosen secret.
        sealed: the secret, encrypted by `server.credentials.sealing`. Exactly one of these three is there.
        uses_left: how many certificates it is still good for, None for any number.
        expires_at: until when, None for ever.
        profile: the only profile that it is good for, None for those of the endpoint; the key of an external account
            may name several, with spaces between.
        device: the only device name that it is good for, None for any.
        names: the only subject alternative names it is good for, as `str` writes them; empty for any.
        serial: the certificate that a revocation secret revokes.
        spent_at: when it was used last.
        revoked_at: when it was withdrawn.
    """

    id: str
    kind: CredentialKind
    endpoint: EndpointName
    created_by: str
    created_at: datetime
    username: str | None = None
    digest: bytes | None = None
    argon2: str | None = None
    sealed: bytes | None = None
    uses_left: int | None = 1
    expires_at: datetime | None = None
    profile: str | None = None
    device: str | None = None
    names: tuple[str, ...] = ()
    serial: int | None = None
    spent_at: datetime | None = None
    revoked_at: datetime | None = None

    @property
    def profiles(self) -> tuple[str, ...]:
        """The only profiles that it is good for; empty for those of the endpoint."""
        return tuple((self.profile or "").split())

    def objection(self, now: datetime) -> str | None:
        """Return why it is no good for a new request now, None when it is."""
        if self.revoked_at is not None:
            return "withdrawn"
        if self.expires_at is not None and now >= self.expires_at:
            return "expired"
        return "used up" if self.uses_left == 0 else None


def _stored(row: sa.Row[Any]) -> StoredCredential:
    values = row._asdict()
    del values["number"]
    values["kind"] = CredentialKind(row.kind)
    values["endpoint"] = EndpointName.parse(row.endpoint)
    values["names"] = tuple(row.names.splitlines())
    return StoredCredential(**values)


def _with(*columns: str) -> Prepared:
    wanted = (_table[column] == sa.bindparam(column) for column in columns)
    return Prepared(sa.select(credentials).where(*wanted).order_by(_table.number))


_by_id = _with("id")
_by_digest = _with("digest", "kind", "endpoint")
_by_username = _with("username", "kind", "endpoint")
_by_serial = _with("serial", "kind")
_locked = Prepared(sa.select(credentials).where(_table.id == sa.bindparam("id")).with_for_update())
_use = Prepared(
    sa.update(credentials)
    .where(_table.id == sa.bindparam("credential"))
    .values(uses_left=sa.bindparam("left"), spent_at=sa.bindparam("at"))
)
_of = requests.c
_waiting = Prepared(
    sa.select(_of.id)
    .join(credential_uses, _uses.request_id == _of.id)
    .where(
        _uses.credential_id == sa.bindparam("credential"),
        sa.or_(
            _of.state.in_(("pending", "intended")),
            sa.and_(_of.state.in_(("refused", "issued")), _of.finished_at >= sa.bindparam("refused")),
            sa.and_(
                _of.approved_by.is_not(None),
                sa.or_(_of.finished_at.is_(None), _of.finished_at >= sa.bindparam("approved")),
            ),
        ),
    )
    .limit(sa.literal_column("1"))
)
_INSERT_USES = BulkInsert(credential_uses, "credential_id", "request_id", "at")


def add(connection: sa.Connection, credential: StoredCredential, event: Mapping[str, object]) -> None:
    """Keep a new secret, with the audit event."""
    values = asdict(credential)
    values["endpoint"] = str(credential.endpoint)
    values["names"] = "\n".join(credential.names)
    connection.execute(sa.insert(credentials).values(values))
    connection.execute(sa.insert(audit_events), dict(event))


def find(connection: sa.Connection, identifier: str) -> StoredCredential | None:
    """Return the secret with this identifier, None when there is none."""
    row = _by_id.first(connection, id=identifier)
    return None if row is None else _stored(row)


def find_by_digest(
    connection: sa.Connection, kind: CredentialKind, endpoint: EndpointName, digest: bytes
) -> StoredCredential | None:
    """Return the generated secret with this SHA-256, used up or not, None when there is none."""
    row = _by_digest.first(connection, digest=digest, kind=kind, endpoint=str(endpoint))
    return None if row is None else _stored(row)


def find_by_username(
    connection: sa.Connection, kind: CredentialKind, endpoint: EndpointName, username: str
) -> tuple[StoredCredential, ...]:
    """Return all secrets that go with a user name or key identifier, used up or not, the oldest first."""
    return tuple(map(_stored, _by_username.all(connection, username=username, kind=kind, endpoint=str(endpoint))))


def find_chosen(connection: sa.Connection, kind: CredentialKind, endpoint: EndpointName) -> str | None:
    """Return the argon2 hash of any secret that a person chose for an endpoint, None when there is none."""
    here = (_table.argon2.is_not(None), _table.kind == kind, _table.endpoint == str(endpoint))
    return connection.scalars(sa.select(_table.argon2).where(*here).order_by(_table.number).limit(1)).first()


def find_for_certificate(connection: sa.Connection, serial: int) -> tuple[StoredCredential, ...]:
    """Return the secrets that revoke a certificate."""
    return tuple(map(_stored, _by_serial.all(connection, serial=serial, kind=CredentialKind.REVOCATION)))


def list_credentials(
    connection: sa.Connection,
    *,
    kind: CredentialKind | None = None,
    endpoint: EndpointName | None = None,
    limit: int = 100,
) -> tuple[StoredCredential, ...]:
    """Return the secrets that were made, the newest first; those for revocation only when asked for by kind.

    No index: the table is read from its end until there are enough, all of it (a tenth of a second for 100,000) when
    there are not, which only people wait for.
    """
    query = sa.select(credentials).order_by(_table.number.desc()).limit(limit)
    query = query.where(_table.kind == kind if kind is not None else _table.kind != CredentialKind.REVOCATION)
    if endpoint is not None:
        query = query.where(_table.endpoint == str(endpoint))
    return tuple(map(_stored, connection.execute(query)))


def revoke(connection: sa.Connection, identifier: str, at: datetime, event: Mapping[str, object]) -> bool:
    """Withdraw a secret, with the audit event. Returns whether there was one to withdraw."""
    good = sa.and_(_table.id == identifier, _table.revoked_at.is_(None))
    if connection.execute(sa.update(credentials).where(good).values(revoked_at=at)).rowcount != 1:
        return False
    connection.execute(sa.insert(audit_events), dict(event))
    return True


def spend(
    connection: sa.Connection, identifiers: Sequence[str], request_id: str, at: datetime, instead_of: Sequence[str] = ()
) -> bool:
    """Use each of the secrets once, all of them or none, for one request. Returns whether that could be done.

    To be called in the transaction that gives what they are spent on. A use by a request that this one takes the place
    of becomes its own, once: of several that come at the same time the first has it.
    """
    wanted = set(identifiers)
    rows = [_locked.first(connection, id=identifier) for identifier in sorted(wanted)]
    held = [_stored(row) for row in rows if row is not None]
    theirs = (_uses.credential_id.in_(wanted), _uses.request_id.in_(instead_of))
    used = set(connection.scalars(sa.select(_uses.credential_id).where(*theirs))) if instead_of else set()
    if len(held) != len(wanted) or any(one.revoked_at if one.id in used else one.objection(at) for one in held):
        return False
    if used:
        taken = {"request_id": request_id, "taken_from": _uses.request_id}
        connection.execute(sa.update(credential_uses).where(*theirs).values(taken))
    new = [one for one in held if one.id not in used]
    for one in new:
        left = None if one.uses_left is None else one.uses_left - 1
        _use.change(connection, credential=one.id, left=left, at=at)
    if new:
        _INSERT_USES(connection, [{"credential_id": one.id, "request_id": request_id, "at": at} for one in new])
    return True


def is_waiting(connection: sa.Connection, identifier: str, refused: datetime, approved: datetime) -> bool:
    """Return whether what a secret was used for waits for a person or a CA, or was settled not long ago.

    Args:
        connection: reads the store.
        identifier: the secret.
        refused: since when a person must have said no, or a certificate must have been made without one.
        approved: since when a certificate must have been made that a person has approved.
    """
    return _waiting.first(connection, credential=identifier, refused=refused, approved=approved) is not None


def give_back(connection: sa.Connection, request_id: str) -> None:
    """Undo what a request has spent, when it came to nothing: what it took over is the other request's again."""
    own = _uses.request_id == request_id
    restored = {"request_id": _uses.taken_from, "taken_from": None}
    connection.execute(sa.update(credential_uses).where(own, _uses.taken_from.is_not(None)).values(restored))
    spent = list(connection.scalars(sa.select(_uses.credential_id).where(own)))
    if not spent:
        return
    connection.execute(sa.delete(credential_uses).where(own))
    last = sa.select(sa.func.max(_uses.at, type_=_uses.at.type)).where(_uses.credential_id == _table.id)
    # NULL + 1 is NULL: any number stays that. Who has used another of its uses lately may ask for the reply again.
    one_more = {"uses_left": _table.uses_left + 1, "spent_at": last.scalar_subquery()}
    connection.execute(sa.update(credentials).where(_table.id.in_(spent)).values(one_more))


def uses_of(connection: sa.Connection, identifier: str) -> tuple[tuple[str, datetime], ...]:
    """Return the requests that spent a secret, each with the time."""
    query = sa.select(_uses.request_id, _uses.at).where(_uses.credential_id == identifier).order_by(_uses.number)
    return tuple((row.request_id, row.at) for row in connection.execute(query))
