"""What an ACME endpoint is told beside its profiles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from policies.document import Strict
from policies.durations import Duration, parse_duration
from server.config.secret_sources import SecretSource
from server.config.values import WebAddress


def _from_a_minute_to_a_day(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(days=1):
        raise ValueError("from 1m to 1d: clients take anything else as one of these (RFC 9773 section 4.3.2)")
    return value


RenewalCheck = Annotated[Duration, AfterValidator(_from_a_minute_to_a_day)]


def _month(value: timedelta) -> timedelta:
    if value < timedelta(days=30):
        raise ValueError("at least 30d: clients come back to their orders for weeks")
    return value


OrderRetention = Annotated[Duration, AfterValidator(_month)]


@dataclass(frozen=True, slots=True)
class RateConfig:
    """So many in so long."""

    count: int
    period: timedelta


def _rate(value: object) -> RateConfig:
    number, _, period = value.partition("/") if isinstance(value, str) else ("", "", "")
    try:
        rate = RateConfig(int(number), parse_duration(period))
    except ValueError:
        rate = RateConfig(0, timedelta())
    if rate.count < 1 or not rate.period:
        raise ValueError("a rate is a number and a duration, like 300/3h")
    return rate


RateText = Annotated[RateConfig, BeforeValidator(_rate)]


class RateLimitsConfig(Strict):
    """How much is allowed in how long, each like ``300/3h``; None: any number (RFC 8555 section 6.6).

    Attributes:
        accounts_per_address: new accounts from one address, or one /48 of IPv6.
        orders_per_account: new orders of one account.
        orders_per_address: new orders from one address, or one /48 of IPv6.
        orders_per_name: new orders for one name, by any account.
        failures_per_name: authorizations of one account for one name that fail.
        pause_after: failures in a row after which an account can't order a name until it is let again.
        help: where people read about these limits; refusals have a link to it.
    """

    accounts_per_address: RateText | None = None
    orders_per_account: RateText | None = None
    orders_per_address: RateText | None = None
    orders_per_name: RateText | None = None
    failures_per_name: RateText | None = None
    pause_after: Annotated[int, Field(ge=1)] | None = None
    help: WebAddress | None = None


class ExternalAccountsConfig(Strict):
    """External account bindings (RFC 8555 section 7.3.4), with keys that ``certwright eab new`` makes.

    Attributes:
        required: whether an account needs one; otherwise it may have one.
        sealing_key: 64 hexadecimal digits, under which the keys are encrypted in the database.
    """

    required: bool = True
    sealing_key: SecretSource
