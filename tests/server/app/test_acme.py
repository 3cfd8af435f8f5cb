"""What ACME endpoints are told of their configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policies.document import DocumentErrors
from server.app.acme import acme_origins, proofs, proofs_by_profile, roots_of
from server.config import AcmeEndpointConfig, load_config

if TYPE_CHECKING:
    from pathlib import Path


def _no_roots(file: Path) -> tuple[()]:
    raise AssertionError(file)


def test_profiles_have_challenges_and_caa_of_their_own() -> None:
    config = AcmeEndpointConfig.model_validate(
        {
            "profiles": ["web", "plant"],
            "challenges": ["dns-01", "http-01", "dns-01"],
            "caa": {"identities": ["ca.test"], "resolver": "127.0.0.1"},
            "by_profile": {"plant": {"challenges": ["tls-alpn-01"], "caa": {}}},
        }
    )
    everywhere, (plant,) = proofs(config, _no_roots), proofs_by_profile(config, _no_roots).values()
    assert [each.type for each in everywhere.challenges] == ["dns-01", "http-01"]
    assert [each.type for each in plant.challenges] == ["tls-alpn-01"]
    assert everywhere.caa is not None
    assert everywhere.caa.identities == ("ca.test",)
    assert plant.caa is None


def test_roots_for_attestations_are_read_where_the_configuration_names_them(folder: Path) -> None:
    file = folder / "server.yaml"
    attest = 'device_attest: {identifiers: ["permanent-identifier:*"], step: root.pem}'
    settings = f"    challenges: [device-attest-01]\n    {attest}\n"
    profiles = "    profiles: [tls-server]\n"
    file.write_text(file.read_text().replace(profiles, profiles + settings))
    config = load_config(file)
    ((name, endpoint),) = config.endpoints.acme.items()
    (challenge,) = proofs(endpoint, roots_of(name, config)).challenges
    assert challenge.type == "device-attest-01"
    for text, message in (("none", "holds no PEM certificates"), (None, "No such file")):
        if text is None:
            (folder / "root.pem").unlink()
        else:
            (folder / "root.pem").write_text(text)
        with pytest.raises(DocumentErrors, match=message):
            proofs(endpoint, roots_of(name, config))


def test_accounts_are_known_by_the_urls_of_both_listeners(folder: Path) -> None:
    file = folder / "server.yaml"
    proxied = '  proxied: {proxies: [10.0.0.1], headers: nginx, external_urls: ["https://pki.example"]}\n'
    file.write_text(file.read_text().replace("listeners:\n", f"listeners:\n{proxied}", 1))
    listeners = load_config(file).listeners
    assert listeners.https is not None
    own = listeners.https.origins()
    assert acme_origins(listeners, "https") == (*own, "https://pki.example")
    assert acme_origins(listeners, "proxied") == ("https://pki.example", *own)
    alone = listeners.model_copy(update={"proxied": None})
    assert acme_origins(alone, "https") == own
