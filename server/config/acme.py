"""What an ACME endpoint is told beside its profiles."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

from policies.document import Strict
from policies.durations import Duration
from server.config.secret_sources import SecretSource


def _from_a_minute_to_a_day(value: timedelta) -> timedelta:
    if not timedelta(minutes=1) <= value <= timedelta(days=1):
        raise ValueError("from 1m to 1d: clients take anything else as one of these (RFC 9773 section 4.3.2)")
    return value


RenewalCheck = Annotated[Duration, AfterValidator(_from_a_minute_to_a_day)]


class ExternalAccountsConfig(Strict):
    """External account bindings (RFC 8555 section 7.3.4), with keys that ``certwright eab new`` makes.

    Attributes:
        required: whether an account needs one; otherwise it may have one.
        sealing_key: 64 hexadecimal digits, under which the keys are encrypted in the database.
    """

    required: bool = True
    sealing_key: SecretSource
