"""What an ACME endpoint is told of its configuration and of the policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.acme.routes import AcmeProfile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.app.live_policies import LivePolicies


def acme_profiles(names: tuple[str, ...], policies: LivePolicies) -> Mapping[str, AcmeProfile]:
    """Return what the policies say of the profiles of an endpoint, in the endpoint's order."""
    sections = {name: policies.profiles[name].sections for name in names}
    return {
        name: AcmeProfile(each.description or name, each.renewal.window if each.renewal is not None else None)
        for name, each in sections.items()
    }
