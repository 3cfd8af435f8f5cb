"""What ACME endpoints are told of their configuration."""

from __future__ import annotations

from server.app.acme import proofs, proofs_by_profile
from server.config import AcmeEndpointConfig


def test_profiles_have_challenges_and_caa_of_their_own() -> None:
    config = AcmeEndpointConfig.model_validate(
        {
            "profiles": ["web", "plant"],
            "challenges": ["dns-01", "http-01", "dns-01"],
            "caa": {"identities": ["ca.test"], "resolver": "127.0.0.1"},
            "by_profile": {"plant": {"challenges": ["tls-alpn-01"], "caa": {}}},
        }
    )
    everywhere, (plant,) = proofs(config), proofs_by_profile(config).values()
    assert [each.type for each in everywhere.challenges] == ["dns-01", "http-01"]
    assert [each.type for each in plant.challenges] == ["tls-alpn-01"]
    assert everywhere.caa is not None
    assert everywhere.caa.identities == ("ca.test",)
    assert plant.caa is None
