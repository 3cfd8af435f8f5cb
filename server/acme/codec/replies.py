"""Objects and problem documents as JSON (RFC 8555 sections 6.7 and 7.1). Absent is absent: never null, never empty."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from server.acme.codec.encodings import write_object
from server.acme.messages import AuthorizationStatus, ChallengeStatus, ErrorType, OrderStatus, ProblemDocument

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from server.acme.messages import Account, Authorization, Challenge, Identifier, Order, Urls

_ERROR = "urn:ietf:params:acme:error:"
_EXPIRED = ProblemDocument(ErrorType.UNAUTHORIZED, "the order has expired: place a new one")
_DECIDED: Mapping[AuthorizationStatus, ChallengeStatus] = {
    AuthorizationStatus.VALID: ChallengeStatus.VALID,
    AuthorizationStatus.INVALID: ChallengeStatus.INVALID,
}


@lru_cache(maxsize=256)
def _time(moment: datetime) -> str:
    """Return a time as RFC 3339 has it; that of an order stands in each of its replies and its authorizations'."""
    return f"{moment.isoformat()[:19]}Z"


def _identifier(identifier: Identifier) -> dict[str, object]:
    return {"type": identifier.type, "value": identifier.value}


def problem_object(document: ProblemDocument) -> dict[str, object]:
    """Return the members of a problem document (RFC 7807), as they also stand in orders and challenges."""
    members: dict[str, object] = {
        "type": _ERROR + document.type,
        "detail": document.detail,
        "status": document.http_status,
    }
    if document.instance:
        members["instance"] = document.instance
    if document.algorithms:
        members["algorithms"] = list(document.algorithms)
    if document.subproblems:
        members["subproblems"] = [
            {"type": _ERROR + each.type, "detail": each.detail, "identifier": _identifier(each.identifier)}
            for each in document.subproblems
        ]
    return members


def encode_problem(document: ProblemDocument) -> bytes:
    """Return the problem document."""
    return write_object(problem_object(document))


def encode_directory(urls: Urls, meta: dict[str, object], extra: Mapping[str, object]) -> bytes:
    """Return the directory (section 7.1.1): nothing that does not work; no ``meta`` when there is nothing in it."""
    members: dict[str, object] = {
        **extra,
        "newNonce": f"{urls.base}/new-nonce",
        "newAccount": f"{urls.base}/new-account",
        "newOrder": f"{urls.base}/new-order",
        "revokeCert": f"{urls.base}/revoke-cert",
        "keyChange": f"{urls.base}/key-change",
        "renewalInfo": urls.renewal_info,
    }
    if meta:
        members["meta"] = meta
    return write_object(members)


def encode_account(account: Account, urls: Urls) -> bytes:
    """Return the account object (section 7.1.2)."""
    members: dict[str, object] = {"status": account.status}
    if account.contact:
        members["contact"] = list(account.contact)
    if account.terms_agreed:
        members["termsOfServiceAgreed"] = True
    if account.binding:
        members["externalAccountBinding"] = account.binding
    members["orders"] = urls.orders(account.id)
    return write_object(members)


def encode_orders(orders: tuple[str, ...], urls: Urls) -> bytes:
    """Return one page of the orders list (section 7.1.2.1)."""
    return write_object({"orders": [urls.order(order) for order in orders]})


def encode_order(order: Order, urls: Urls) -> bytes:
    """Return the order object (section 7.1.3)."""
    members: dict[str, object] = {
        "status": order.status,
        "expires": _time(order.expires),
        "identifiers": [_identifier(identifier) for identifier in order.identifiers],
        "authorizations": [urls.authorization(each) for each in order.authorizations],
        "finalize": urls.finalize(order.id),
    }
    if order.status == OrderStatus.VALID and order.certificate:
        members["certificate"] = urls.certificate(order.id)
    if order.expired:  # which made it invalid, whatever came before
        members["error"] = problem_object(_EXPIRED)
    elif order.error:
        members["error"] = order.error
    if order.profile:
        members["profile"] = order.profile
    if order.replaces:
        members["replaces"] = order.replaces
    return write_object(members)


def encode_renewal_info(start: datetime, end: datetime, explanation: str) -> bytes:
    """Return the RenewalInfo object (RFC 9773 section 4.2)."""
    members: dict[str, object] = {"suggestedWindow": {"start": _time(start), "end": _time(end)}}
    if explanation:
        members["explanationURL"] = explanation
    return write_object(members)


def _challenge(challenge: Challenge, url: str, instead: Mapping[str, object] | None) -> dict[str, object]:
    members: dict[str, object] = {
        "type": challenge.type,
        "url": url,
        "status": challenge.status,
        **({"token": challenge.token} if instead is None else instead),
    }
    if challenge.validated:
        members["validated"] = _time(challenge.validated)
    # Errata 5732: an error may be shown while processing, as the retries of section 8.2 need it, not only at the end.
    if challenge.error and challenge.status in {ChallengeStatus.PROCESSING, ChallengeStatus.INVALID}:
        members["error"] = challenge.error
    return members


def encode_challenge(challenge: Challenge, url: str, instead: Mapping[str, object] | None = None) -> bytes:
    """Return the challenge object (section 8), with other members instead of a token if it has none."""
    return write_object(_challenge(challenge, url, instead))


def encode_authorization(
    authorization: Authorization, urls: Urls, instead: Mapping[str, Mapping[str, object]]
) -> bytes:
    """Return the authorization object (section 7.1.4), with what types of challenges have instead of a token.

    Once it is decided, the challenge that decided it is the only one.
    """
    decided = _DECIDED.get(authorization.status)
    members: dict[str, object] = {
        "identifier": _identifier(authorization.identifier),
        "status": authorization.status,
        "expires": _time(authorization.expires),
        "challenges": [
            _challenge(each, urls.challenge(authorization.id, each.type), instead.get(each.type))
            for each in authorization.challenges
            if decided is None or each.status == decided
        ],
    }
    if authorization.wildcard:
        members["wildcard"] = True
    if authorization.subdomains:
        members["subdomainAuthAllowed"] = True
    return write_object(members)
