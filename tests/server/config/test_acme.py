"""What is limited at an ACME endpoint, as the configuration file writes it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from server.acme.service import Rate, RateLimits
from server.app.acme import rate_limits
from server.config.acme import RateLimitsConfig

HELP = "https://ca.example/limits"


def test_a_rate_is_a_number_and_a_duration() -> None:
    config = RateLimitsConfig.model_validate({"orders_per_account": "300/3h", "pause_after": 5, "help": HELP})
    assert rate_limits(config) == RateLimits(orders_per_account=Rate(300, timedelta(hours=3)), pause_after=5, help=HELP)
    assert rate_limits(RateLimitsConfig()) == RateLimits()


@pytest.mark.parametrize("text", ["300", "0/3h", "-1/3h", "x/3h", "3/0h", "3/", 7, None, "3/3"])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        RateLimitsConfig.model_validate({"orders_per_name": text} if text is not None else {"pause_after": 0})
