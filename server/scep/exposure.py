"""Challenges that travelled in the clear, outside of the envelope: nobody may use them any more (RFC 8894 section 3.1).

Some clients leave the envelope out, and macOS has put the challenge among the signed attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from ca import der
from ca.csr import MalformedCsr, parse_csr
from server.audit import Action, AuditEvent
from server.cms.algorithms import MalformedCms
from server.credentials import Redeemable
from server.outcome import Problem
from server.store.credentials import revoke
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from policies.request import EndpointName
    from server.clock import Clock
    from server.credentials import Credentials
    from server.scep.messages import PkiMessage
    from server.store import Store

CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - the attribute that holds one
_log = structlog.get_logger("server.scep")


def among_attributes(message: PkiMessage) -> str | None:
    """Return the challenge among the signed attributes, None when there is none."""
    try:
        element = message.signed.signer.attribute(CHALLENGE_PASSWORD)
        return None if element is None else der.read_text(element)
    except (MalformedCms, der.MalformedDer):
        return None


def instead_of_envelope(message: PkiMessage) -> str | None:
    """Return the challenge of a certification request that stands where its envelope should, None when none does."""
    try:
        return parse_csr(message.signed.content or b"", allow_sha1=True, allow_md5=True).challenge_password
    except MalformedCsr:
        return None


class Exposure:
    """Withdraws what everybody could read.

    Args:
        endpoint: where the challenges are good.
        store: keeps them.
        credentials: knows them.
        clock: tells the time.
    """

    def __init__(self, endpoint: EndpointName, store: Store, credentials: Credentials, clock: Clock) -> None:
        self._endpoint = endpoint
        self._store = store
        self._credentials = credentials
        self._clock = clock

    async def withdraw(self, challenge: str, address: str | None) -> None:
        """Withdraw a one-time challenge; of a static one people must hear. What is no challenge here is nothing."""
        judged = await self._credentials.challenge(self._endpoint, challenge, address=address)
        if isinstance(judged, Problem):
            return
        if not isinstance(judged, Redeemable):
            _log.error("the static challenge was sent in the clear: change it", endpoint=str(self._endpoint))
            return
        identifier, now = judged.id, self._clock()
        event = AuditEvent(
            now, Action.CREDENTIAL_ENDED, f"certwright:{self._endpoint}", detail=f"{identifier}: sent in the clear"
        ).row()
        try:
            await self._store.write(lambda connection: revoke(connection, identifier, now, event))
        except StoreUnavailable as error:
            _log.error("a challenge sent in the clear is not withdrawn", credential=identifier, cause=str(error))
            return
        _log.warning("a challenge was sent in the clear and is withdrawn", credential=identifier, address=address)
