"""What a new intent must keep to: certificates that are good, keys that are, quotas, places in the queue, secrets.

It is asked in the transaction that writes the intent, so it holds for requests of the same instant, too.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import sqlalchemy as sa

from policies.request import CertificateEvidence, RegistrationAuthorityEvidence
from server.store import credentials, holdings
from server.store.claims import Compromised, Crowded, OverQuota, Spent, Withdrawn
from server.store.prepared import Prepared
from server.store.tables import COMPROMISED, certificates, is_in, requests

if TYPE_CHECKING:
    from policies.request import EnrollmentRequest
    from server.store.claims import Claim, Granted

_table = requests.c
_REVOKED = Prepared(
    sa.select(certificates.c.serial).where(
        certificates.c.serial == sa.bindparam("serial"), certificates.c.revoked_at.is_not(None)
    )
)
# The condition in the words of the index: SQLite knows no parameter when it chooses one.
_ANY_COMPROMISED = Prepared(sa.select(certificates.c.serial).where(COMPROMISED).limit(sa.literal_column("1")))
_COMPROMISED = Prepared(
    sa.select(certificates.c.serial).where(
        certificates.c.spki == sa.bindparam("digest", type_=certificates.c.spki.type), COMPROMISED
    )
)
_FROM = _table.address.is_not_distinct_from(sa.bindparam("address"))
_WAITING = Prepared(
    sa.select(sa.func.count().label("number"), sa.func.count().filter(_FROM).label("of_address")).where(
        is_in("pending"), _table.endpoint == sa.bindparam("endpoint")
    )
)


def admit(
    connection: sa.Connection, one: Claim, *, wary: bool = True
) -> Spent | Crowded | OverQuota | Withdrawn | Compromised | None:
    """Return why the intent of a claim, which is on record already, must go; else use up what it spends.

    Args:
        connection: the transaction that has written the intent.
        one: the claim.
        wary: whether any key is compromised, by `is_any_compromised` in the same transaction.
    """
    if is_withdrawn(connection, one.request):
        return Withdrawn()
    if wary and is_compromised(connection, one.plan.spki):
        return Compromised()
    if one.deferred is None:
        over = over_quota(connection, one, one.request_id)
        if over is not None:
            return over
    elif _is_crowded(connection, one.request):
        return Crowded()
    spends, instead_of = one.request.spends, one.request.instead_of
    if spends and not credentials.spend(connection, spends, one.request_id, one.lease.now, instead_of):
        return Spent()
    return None


def over_quota(connection: sa.Connection, one: Claim, request_id: str) -> OverQuota | None:
    """Return which quota a claim would exceed, None for none; the request on record does not count against itself."""
    if one.limits is None:
        return None
    over = holdings.exceeded(connection, one.request, one.plan.profile, one.limits, request_id)
    return None if over is None else OverQuota(over)


def is_withdrawn(connection: sa.Connection, request: EnrollmentRequest) -> bool:
    """Whether a certificate of ours that shows who asks, or is renewed, is revoked by now: it was good when judged."""
    own = {
        one.serial
        for one in request.requester.evidence
        if isinstance(one, RegistrationAuthorityEvidence)
        or (isinstance(one, CertificateEvidence) and one.anchor == "own")
    }
    if request.renewed is not None:
        own.add(request.renewed.serial)
    return any(_REVOKED.first(connection, serial=serial) is not None for serial in own)


def lapsed(connection: sa.Connection, granted: Granted) -> Withdrawn | Compromised | None:
    """Return why what was granted a while ago, and not signed then, may be signed no more; None when it may."""
    if is_compromised(connection, granted.plan.spki):
        return Compromised()
    if granted.renews is not None and _REVOKED.first(connection, serial=granted.renews) is not None:
        return Withdrawn()
    return None


def is_any_compromised(connection: sa.Connection) -> bool:
    """Whether there is a certificate at all that was revoked because its key was compromised."""
    return _ANY_COMPROMISED.first(connection) is not None


def is_compromised(connection: sa.Connection, spki: bytes) -> bool:
    """Whether a certificate with a key, given in DER, was revoked because the key was compromised."""
    return _COMPROMISED.first(connection, digest=sha256(spki).digest()) is not None


def _is_crowded(connection: sa.Connection, request: EnrollmentRequest) -> bool:
    """Whether too many wait, this one among them."""
    if request.pending is None:
        return False
    found = _WAITING.first(connection, endpoint=str(request.endpoint), address=request.requester.address)
    most = request.pending
    return bool(found.number > most.endpoint or found.of_address > most.address)
