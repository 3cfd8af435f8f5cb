"""ACME with acme-client, a library for Node.js: all three challenges, its account rolled over and ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from tests.wire.devices import dns_names
from tests.wire.running import REPOSITORY, openssl_verify, require_program, run

if TYPE_CHECKING:
    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer

MODULE = REPOSITORY / ".venv-acme-client" / "node_modules" / "acme-client"


def live(site: AcmeSite, server: RunningServer, key: str, eab: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return what a client with account keys of this kind found in its whole life."""
    if not MODULE.exists():
        pytest.skip("acme-client is not installed: make acme-client")
    a, b, c = (site.name("node") for _ in range(3))
    wanted = {"http-01": [a, f"www.{a}"], "dns-01": [b, f"*.{b}"], "tls-alpn-01": [c]}
    settings = {
        "module": str(MODULE),
        "directory": server.acme_directory,
        "hook": str(site.dns_hook),
        "http": server.http01_port,
        "tls": site.tls_port,
        "names": wanted,
        "key": key,
        "eab": eab,
    }
    node = require_program("node", "apt-get install nodejs")
    trust = {"NODE_EXTRA_CA_CERTS": str(server.root_pem)}
    done = run(node, Path(__file__).with_name("acme_client.js"), json.dumps(settings), environment=trust)
    found: dict[str, Any] = json.loads(done.stdout)
    for pem, names in zip(found["certificates"], [*wanted.values(), [a]], strict=True):
        leaf, _ = x509.load_pem_x509_certificates(pem.encode())
        openssl_verify(server, leaf, "sslserver")
        assert set(dns_names(leaf)) == set(names)
        assert site.is_revoked(leaf)
    return found


@pytest.mark.parametrize("key", ["RSA", "P-256", "P-384"])
def test_acme_client_lives_a_whole_life(site: AcmeSite, key: str) -> None:
    found = live(site, site.server, key)
    assert found["contact"] == ["mailto:ca@example.com"]
    assert (found["authorization"], found["lost"]) == ("deactivated", "invalid")
    assert "node.google.com" in found["forbidden"]
    assert "not allowed" in found["forbidden"]
    assert found["ended"] == "deactivated"
    assert "deactivated" in found["after"]


def test_acme_client_binds_its_account(site: AcmeSite, eab_key: tuple[str, str]) -> None:
    assert live(site, site.bound, "P-256", eab_key)["ended"] == "deactivated"
