"""newAuthz: authorizations before there is an order (RFC 8555 section 7.4.1), for subdomains too (RFC 9444)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.acme.codec.replies import encode_authorization
from server.acme.codec.requests import decode_new_authorization
from server.acme.messages import ErrorType, NewOrder, Rejected, Reply, rejected
from server.acme.records import authorizations
from server.acme.service.authentication import active
from server.acme.service.limits import Limiter
from server.acme.service.parts import can_authorize, make_authorization
from server.acme.service.terms import Terms

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.acme.messages import Authorization
    from server.acme.service.authentication import Authentication, Call
    from server.acme.service.authorizations import Authorizations
    from server.acme.service.bindings import Bindings
    from server.acme.service.endpoint import AcmeEndpoint
    from server.acme.service.orders import Orders


class PreAuthorization:
    """The newAuthz resource."""

    def __init__(
        self,
        endpoint: AcmeEndpoint,
        authentication: Authentication,
        bindings: Bindings,
        orders: Orders,
        shown: Authorizations,
    ) -> None:
        self._endpoint = endpoint
        self._authentication = authentication
        self._bindings = bindings
        self._orders = orders
        self._shown = shown
        self._limiter = Limiter(endpoint)
        self._terms = Terms(endpoint)

    async def create(self, call: Call) -> Reply:
        """Answer newAuthz: 201 with an authorization that orders of the account can rely on once it is valid."""
        signed = await self._authentication.by_account(call)
        request = decode_new_authorization(signed.payload)
        await self._terms.judge(signed)
        endpoint, identifier = self._endpoint, request.identifier
        if request.subdomains and not endpoint.subdomains:
            raise rejected(ErrorType.UNAUTHORIZED, "subdomains are not authorized by their ancestors here")
        order = NewOrder((identifier,))
        profile = await self._bindings.profile(signed, order)
        types = [each.type for each in endpoint.proofs(profile).challenges]
        if not any(can_authorize(type_, identifier, subdomains=request.subdomains, order="") for type_ in types):
            detail = "no challenge offered here can prove control over this identifier"
            raise rejected(ErrorType.REJECTED_IDENTIFIER, detail, 403)
        if not request.subdomains:  # which names below it may be certified is asked when they are ordered
            self._orders.judge_names(call, signed, NewOrder((identifier,), profile=profile), 403)
        made = make_authorization(endpoint, signed.account, identifier, profile, subdomains=request.subdomains)

        def work(connection: sa.Connection) -> Authorization | Rejected:
            refusal = active(connection, signed) or self._limiter.new_order(connection, signed, call.address, order)
            if refusal is not None:
                return refusal
            authorizations.insert_authorizations(connection, [(str(endpoint.name), made)])
            return made

        await endpoint.write(work)
        body = encode_authorization(made, signed.urls, self._shown.members(made, signed))
        return Reply(201, body, location=signed.urls.authorization(made.id))
