"""What a new order consists of: authorizations to be obtained, and those that the account holds already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.acme.challenges import can_prove
from server.acme.challenges.dns_persist01 import DnsPersist01
from server.acme.messages import Authorization, AuthorizationStatus, Challenge, ChallengeStatus, Identifier, Order
from server.acme.messages import OrderStatus as Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.acme.messages import NewOrder
    from server.acme.service.endpoint import AcmeEndpoint


def covers(authorization: Authorization, identifier: Identifier) -> bool:
    """Say whether an authorization is one for an identifier of an order, wildcards with ``*.``."""
    base, wildcard = identifier.value.removeprefix("*."), identifier.value.startswith("*.")
    if authorization.identifier == Identifier(identifier.type, base) and authorization.wildcard is wildcard:
        return True
    below = identifier.type == authorization.identifier.type == "dns" and base.endswith(
        f".{authorization.identifier.value}"
    )
    return authorization.subdomains and (below or base == authorization.identifier.value)


def covering(identifiers: Sequence[Identifier]) -> tuple[str, ...]:
    """Return the values of identifiers whose authorizations may cover these: their own, and the domains above."""
    found: dict[str, None] = {}
    for each in identifiers:
        value = each.value.removeprefix("*.")
        found[value] = None
        while each.type == "dns" and (value := value.partition(".")[2]):
            found[value] = None
    return tuple(found)


def can_authorize(type_: str, identifier: Identifier, *, subdomains: bool, order: str) -> bool:
    """Say whether a type of challenge can authorize an identifier, for an order or, if that is empty, for later ones.

    For subdomains, only those of DNS can: a host does not show control over what is below it (RFC 9444 section 7).
    What dns-persist-01 has found is good for as long as DNS lets it be kept, so it is looked for with each order.
    """
    return (
        can_prove(type_, identifier)
        and (not subdomains or type_.startswith("dns-"))
        and (bool(order) or type_ != DnsPersist01.type)
    )


def make_authorization(
    endpoint: AcmeEndpoint,
    account: str,
    identifier: Identifier,
    profile: str | None,
    *,
    order: str = "",
    subdomains: bool = False,
) -> Authorization:
    """Return a pending authorization, of no order unless one is given, with each challenge that can show control."""
    wildcard = identifier.value.startswith("*.")
    expires = (endpoint.clock() + endpoint.timing.order_lifetime).replace(microsecond=0)
    return Authorization(
        id=endpoint.new_id(),
        account=account,
        order=order,
        identifier=identifier._replace(value=identifier.value.removeprefix("*.")) if wildcard else identifier,
        wildcard=wildcard,
        status=AuthorizationStatus.PENDING,
        expires=expires,
        challenges=tuple(
            Challenge(each.type, endpoint.token(), ChallengeStatus.PENDING)
            for each in endpoint.proofs(profile).challenges
            if can_authorize(each.type, identifier, subdomains=subdomains, order=order)
        ),
        profile=profile,
        subdomains=subdomains,
    )


def make_order(
    endpoint: AcmeEndpoint, account: str, request: NewOrder, held: Sequence[Authorization] = ()
) -> tuple[Order, tuple[Authorization, ...]]:
    """Return an order with its new authorizations; it is ready when the account holds all it needs.

    Args:
        endpoint: where it is placed.
        account: whose it is.
        request: what is asked for; its ancestors are used where the endpoint takes them.
        held: valid authorizations of the account that belong to no order.
    """
    order = endpoint.new_id()
    listed: list[Authorization] = []
    parts: list[Authorization] = []
    ancestors = _ancestors(endpoint, request, order) if endpoint.subdomains else {}
    # What was shown for another profile was perhaps shown otherwise, to other roots, or without a look at CAA.
    held = [each for each in held if endpoint.same_proofs(each.profile, request.profile)]
    for identifier in request.identifiers:
        found = next((each for each in (*held, *parts) if covers(each, identifier)), None)
        if found is None:
            above = ancestors.get(identifier)
            wanted = identifier if above is None else Identifier("dns", above)
            found = make_authorization(
                endpoint, account, wanted, request.profile, order=order, subdomains=above is not None
            )
            parts.append(found)
        if found not in listed:
            listed.append(found)
    made_order = Order(
        order,
        account,
        Status.PENDING if parts else Status.READY,
        min(each.expires for each in listed),
        request.identifiers,
        tuple(each.id for each in listed),
        replaces=request.replaces,
        profile=request.profile,
    )
    return made_order, tuple(parts)


def _ancestors(endpoint: AcmeEndpoint, request: NewOrder, order: str) -> dict[Identifier, str]:
    """Return the domains to be validated instead of identifiers below them, none where nothing offered can do that.

    Then the identifiers are validated themselves (RFC 9444 section 4.3).
    """
    offered = endpoint.proofs(request.profile).challenges
    return {
        identifier: above
        for identifier, above in request.ancestors
        if any(can_authorize(each.type, Identifier("dns", above), subdomains=True, order=order) for each in offered)
    }
