"""The secrets with which certificates may be revoked (RFC 7894 section 3.2): kept as hashes, found again."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography import x509

from server.audit import Action, AuditEvent
from server.credentials.hashes import TooManyVerifications
from server.outcome import Issued, Problem, Reason
from server.store import StoreUnavailable
from server.store import credentials as store_credentials
from server.store.credentials import CredentialKind, StoredCredential

if TYPE_CHECKING:
    import sqlalchemy as sa

    from policies.request import EndpointName
    from server.clock import Clock
    from server.credentials.hashes import SecretVerifier
    from server.outcome import Pending
    from server.store import Store
    from server.store.certificates import StoredCertificate

BUSY = Problem(Reason.RATE_LIMITED, "too many attempts at once", retry_after=2)


def find_kept(connection: sa.Connection, certificate: StoredCertificate) -> StoredCredential | None:
    """Return the secret with which a certificate may be revoked, None when none came with its request."""
    request_id, endpoint = certificate.request_id, certificate.endpoint
    return _find(connection, endpoint, request_id, certificate.serial)


def _find(
    connection: sa.Connection, endpoint: EndpointName, request_id: str, serial: int | None
) -> StoredCredential | None:
    """Find what came with a request: by its identifier, and what was kept before that was written, by the serial."""
    found = store_credentials.find_by_username(connection, CredentialKind.REVOCATION, endpoint, request_id)
    if not found and serial is not None:
        found = store_credentials.find_for_certificate(connection, serial)
    return found[0] if found else None


class RevocationChallenges:
    """Keeps and finds these secrets.

    Args:
        store: where they are kept.
        hashes: hashes them: people choose them.
        clock: tells the time.
    """

    def __init__(self, store: Store, hashes: SecretVerifier, clock: Clock) -> None:
        self._store = store
        self._hashes = hashes
        self._clock = clock

    async def keep(self, endpoint: EndpointName, outcome: Issued | Pending, secret: str, by: str) -> Problem | None:
        """Keep what came with a request, the first one that comes.

        A request that waits for a person has it from then on: whoever fetches the certificate later, and however, need
        not send it again.

        Args:
            endpoint: where the request came in.
            outcome: of the request.
            secret: what the holder chose.
            by: who that is, as `Requester.identity`.

        Returns:
            None when it is kept, else why it can't be now.
        """
        serial = None
        if isinstance(outcome, Issued):
            serial = x509.load_der_x509_certificate(outcome.certificate).serial_number
        request_id, now = outcome.request_id, self._clock()
        try:
            if await self._store.read(lambda connection: _find(connection, endpoint, request_id, serial)):
                return None  # the same request again
            kept = StoredCredential(
                id=secrets.token_hex(6),
                kind=CredentialKind.REVOCATION,
                endpoint=endpoint,
                created_by=by,
                created_at=now,
                username=request_id,
                argon2=await self._hashes.hash(secret),
                serial=serial,
            )
            event = AuditEvent(now, Action.CREDENTIAL_MADE, by, request_id, serial, "to revoke the certificate").row()
            await self._store.write(lambda connection: store_credentials.add(connection, kept, event))
        except StoreUnavailable as error:
            message = "The server can't record the revocation challenge now."
            return Problem(Reason.STORE_UNAVAILABLE, message, detail=str(error), retry_after=5)
        except TooManyVerifications:
            return BUSY
        return None

    async def hash_of(self, certificate: StoredCertificate) -> str | None:
        """Return the argon2 hash of what revokes a certificate, None when nothing does. Raises StoreUnavailable."""
        kept = await self._store.read(lambda connection: find_kept(connection, certificate))
        return None if kept is None or kept.revoked_at is not None else kept.argon2
