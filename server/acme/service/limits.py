"""Rate limits (RFC 8555 section 6.6), and accounts that never succeed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from server.acme.messages import ErrorType, Identifier, ProblemDocument, Rejected, Subproblem
from server.acme.records import limits
from server.acme.records.limits import Charge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    import sqlalchemy as sa

    from server.acme.messages import Authorization, NewOrder
    from server.acme.service.authentication import Signed
    from server.acme.service.endpoint import AcmeEndpoint

_SITE_BITS = 48
_DAY = 86400
_PAUSED = "the account has failed too often to show control over {}: the operator must let it try again"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in so long."""

    count: int
    period: timedelta


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What is limited; None is not.

    Attributes:
        accounts_per_address: new accounts, for each address, for each /48 of IPv6.
        orders_per_account: new orders of one account.
        orders_per_address: new orders from one address, for each /48 of IPv6.
        orders_per_name: new orders for one name, by any account.
        failures_per_name: authorizations of one account for one name that failed.
        pause_after: failures in a row for one name after which an account can't order it until somebody lets it.
        help: the URL of a page about these limits, empty where there is none.
    """

    accounts_per_address: Rate | None = None
    orders_per_account: Rate | None = None
    orders_per_address: Rate | None = None
    orders_per_name: Rate | None = None
    failures_per_name: Rate | None = None
    pause_after: int | None = None
    help: str = ""


class _OrderCharge(NamedTuple):
    """What a new order counts for, its limit, and how a refusal goes on after "new orders", or the name it is for."""

    charge: Charge
    rate: Rate
    of: str = ""
    name: Identifier | None = None


class Limiter:
    """Counts and refuses."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint
        self._limits = endpoint.limits
        self._scope = str(endpoint.name)
        self._counts_orders = endpoint.limits != RateLimits()

    def new_account(self, connection: sa.Connection, address: str | None) -> Rejected | None:
        """Count a new account from an address, or return why there can't be another now."""
        rate = self._limits.accounts_per_address
        if rate is None or address is None:
            return None
        charge = self._charge("accounts", _site(address), rate)
        wait = limits.count(connection, (charge,), self._endpoint.clock())
        return None if wait is None else self._too_many(f"new accounts from this address: {_said(rate)}", wait)

    def new_order(
        self,
        connection: sa.Connection,
        signed: Signed,
        address: str | None,
        request: NewOrder,
        renewed: frozenset[Identifier] = frozenset(),
    ) -> Rejected | None:
        """Count a new order, or return why there can't be one now: rateLimited, unauthorized.

        Names of the certificate that it replaces don't count (RFC 9773 section 5). Others do, or whoever has one
        certificate could order anything under its name. Who is paused for a name is so for renewals, too.
        """
        if not self._counts_orders:
            return None
        new = tuple(each for each in request.identifiers if each not in renewed)
        most, now, account = self._limits, self._endpoint.clock(), signed.account
        above = dict(request.ancestors) if self._endpoint.subdomains else {}
        names = _failing(request.identifiers, above)
        paused = frozenset(limits.paused_among(connection, account, names) if most.pause_after else ())
        if paused:
            wrong = tuple(each for each in request.identifiers if paused.intersection(_failing((each,), above)))
            return self._refusal(_PAUSED.format(_listed(wrong)), _DAY, wrong)
        if most.failures_per_name is not None:
            late = self._late(connection, account, _failing(new, above), most.failures_per_name)
            if late:
                wrong = tuple(each for each in new if not late.keys().isdisjoint(_failing((each,), above)))
                what = f"failed authorizations for {_listed(wrong)}: {_said(most.failures_per_name)}"
                return self._too_many(what, max(late.values()), wrong)
        charges = self._charges(account, address, new)
        # Retry-After is when all of them permit (RFC 8555 section 6.6).
        wait = limits.count(connection, [each.charge for each in charges], now)
        if wait is None:
            return None
        over = [each for each in charges if limits.wait_for(connection, (each.charge,), now)]
        first, wrong = over[0], tuple(each.name for each in over if each.name is not None)
        if first.name is not None:
            return self._too_many(f"new orders for {_listed(wrong)}: {_said(first.rate)}", wait, wrong)
        return self._too_many(f"new orders{first.of}: {_said(first.rate)}", wait)

    def _late(
        self, connection: sa.Connection, account: str, names: tuple[Identifier, ...], rate: Rate
    ) -> dict[Identifier, timedelta]:
        """Return the names for which the account has failed too often, each with how long it has to wait."""
        now = self._endpoint.clock()
        charges = {each: self._charge("failures", f"{account}/{_key(each)}", rate) for each in names}
        waits = {each: limits.wait_for(connection, (charge,), now) for each, charge in charges.items()}
        return {each: wait for each, wait in waits.items() if wait is not None}

    def _charges(self, account: str, address: str | None, names: tuple[Identifier, ...]) -> list[_OrderCharge]:
        """Return what a new order for these names counts for, what is for names last; no names: nothing."""
        most = self._limits
        found: list[_OrderCharge] = []
        if not names:
            return found
        if (rate := most.orders_per_account) is not None:
            found.append(_OrderCharge(self._charge("orders", account, rate), rate))
        if (rate := most.orders_per_address) is not None and address is not None:
            charge = self._charge("orders from", _site(address), rate)
            found.append(_OrderCharge(charge, rate, " from this address"))
        if (rate := most.orders_per_name) is not None:
            found += [_OrderCharge(self._charge("names", _key(each), rate), rate, name=each) for each in names]
        return found

    def failed(self, connection: sa.Connection, authorization: Authorization) -> None:
        """Count an authorization that failed."""
        most, now = self._limits, self._endpoint.clock()
        account, name = authorization.account, authorization.identifier
        if most.failures_per_name is not None:
            charge = self._charge("failures", f"{account}/{_key(name)}", most.failures_per_name)
            limits.note(connection, (charge,), now)
        if most.pause_after is not None:
            limits.note_failure(connection, self._scope, account, name, now, most=most.pause_after)

    def succeeded(self, connection: sa.Connection, authorization: Authorization) -> None:
        """Begin to count failures in a row anew."""
        if self._limits.pause_after is not None:
            limits.forget_failures(connection, authorization.account, authorization.identifier)

    def _charge(self, what: str, whose: str, rate: Rate) -> Charge:
        return Charge(f"{self._scope} {what} {whose}", rate.count, rate.period)

    def _too_many(self, what: str, wait: timedelta, wrong: tuple[Identifier, ...] = ()) -> Rejected:
        return self._refusal(f"too many {what}", max(1, math.ceil(wait.total_seconds())), wrong)

    def _refusal(self, detail: str, seconds: int, wrong: tuple[Identifier, ...]) -> Rejected:
        """Return the refusal, with a subproblem for each name at fault, so that clients can go on without these."""
        links = ((self._limits.help, "help"),) if self._limits.help else ()
        problems = tuple(Subproblem(ErrorType.RATE_LIMITED, detail, each) for each in wrong)
        document = ProblemDocument(
            ErrorType.RATE_LIMITED, detail, subproblems=problems, retry_after=seconds, links=links
        )
        return Rejected(document)


def _site(address: str) -> str:
    """Return what an address counts as: itself, or its site."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, _SITE_BITS), strict=False))
    return str(found)


def _failing(identifiers: tuple[Identifier, ...], above: Mapping[Identifier, str]) -> tuple[Identifier, ...]:
    """Return the names that may fail: those of the order without ``*.``, and domains above them (RFC 9444)."""
    bases = (each._replace(value=each.value.removeprefix("*.")) for each in identifiers)
    return tuple(dict.fromkeys((*bases, *(Identifier("dns", above[each]) for each in identifiers if each in above))))


def _listed(identifiers: Sequence[Identifier]) -> str:
    """Return the names for people, the first of many."""
    names, more = [each.value for each in identifiers[:_SHOWN]], len(identifiers) - _SHOWN
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _key(identifier: Identifier) -> str:
    return f"{identifier.type}:{identifier.value}"


def _said(rate: Rate) -> str:
    seconds = round(rate.period.total_seconds())
    return f"at most {rate.count} in {seconds} seconds"
