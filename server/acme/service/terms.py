"""Terms of service that have changed since an account agreed to them (RFC 8555 section 7.3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.acme.messages import ErrorType, ProblemDocument, Rejected
from server.acme.records import accounts

if TYPE_CHECKING:
    from server.acme.service.authentication import Signed
    from server.acme.service.endpoint import AcmeEndpoint

_CHANGED = "the terms of service have changed since this account agreed to them"


class Terms:
    """Says whether an account agreed to the terms that there are now, where that matters."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint

    async def judge(self, signed: Signed) -> None:
        """Raise Rejected: userActionRequired, with the terms and where people read how to agree to them."""
        endpoint = self._endpoint
        if not (endpoint.terms_of_service and endpoint.changed_terms):
            return
        agreed = await endpoint.read(lambda c: accounts.terms_of(c, signed.account))
        if agreed != endpoint.terms_of_service:
            links = ((endpoint.terms_of_service, "terms-of-service"),)
            instance = endpoint.changed_terms
            raise Rejected(ProblemDocument(ErrorType.USER_ACTION_REQUIRED, _CHANGED, links=links, instance=instance))
