"""What an EST endpoint is told of the policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.expectations import expectations

if TYPE_CHECKING:
    from collections.abc import Callable

    from policies.expectations import Expectations
    from policies.request import EndpointName
    from server.app.live_policies import LivePolicies
    from server.config import Config


def expected_at(endpoint: EndpointName, config: Config, policies: LivePolicies) -> Callable[[], Expectations | None]:
    """Return what tells what the profile in force wants of requests that name none, None where there is no profile."""

    def expected() -> Expectations | None:
        profile = policies.select(endpoint, None)
        return expectations(profile, config.ceilings.min_rsa_bits) if profile is not None else None

    return expected
