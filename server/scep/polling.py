"""CertPoll (RFC 8894 section 3.3.3): who waits asks what became of the request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from server.outcome import Issued
from server.scep.problems import EC_POLL, STORE_UNAVAILABLE, UNKNOWN_TRANSACTION, Rejected
from server.scep.records import find_polled
from server.scep.transactions import signer_of
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from policies.request import EndpointName
    from server.enrollment import Enrollment
    from server.outcome import Outcome
    from server.scep.authorization import Panel
    from server.scep.gate import Sealed
    from server.scep.opening import Operation
    from server.store import Store


class Polling:
    """Finds the requests of one endpoint again.

    Args:
        endpoint: the endpoint.
        store: the record.
        enrollment: the one door to the signer, which issues what a person has approved.
        panel: hears what became of first certificates.
    """

    def __init__(self, endpoint: EndpointName, store: Store, enrollment: Enrollment, panel: Panel) -> None:
        self._endpoint = endpoint
        self._store = store
        self._enrollment = enrollment
        self._panel = panel

    async def cert_poll(self, _operation: Operation, request: Sealed) -> Outcome:
        """Answer: the transaction and the signer's key say which request is meant. Raises Rejected.

        The enveloped IssuerAndSubject is informational, so the RA key is not put to work for it. A request of another
        key looks like none at all: transaction identifiers can be guessed.
        """
        authentic = request.authentic
        transaction = authentic.message.transaction
        try:
            polled = await self._store.read(lambda c: find_polled(c, self._endpoint, transaction, signer_of(authentic)))
        except StoreUnavailable as error:
            raise Rejected(replace(STORE_UNAVAILABLE, detail=str(error))) from error
        if polled is None:
            raise Rejected(UNKNOWN_TRANSACTION)
        outcome = await self._enrollment.poll(polled.request_id)
        if isinstance(outcome, Issued) and request.reply_to is None:
            raise Rejected(EC_POLL)
        if polled.requester.startswith("certificate:"):  # whom the panel was not asked about
            return outcome
        return await self._panel.settle(transaction, None, outcome)
