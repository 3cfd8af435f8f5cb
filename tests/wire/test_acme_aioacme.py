"""ACME with aioacme, a Python library: dns-01, account keys of all kinds, rolled over, and an end of everything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from tests.wire.devices import dns_names
from tests.wire.running import REPOSITORY, openssl_verify, run

if TYPE_CHECKING:
    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer

PYTHON = REPOSITORY / ".venv-aioacme" / "bin" / "python"


def live(site: AcmeSite, server: RunningServer, key: str, eab: tuple[str, str] | None = None) -> dict[str, Any]:
    """Return what a client with an account key of this kind found in its whole life."""
    if not PYTHON.exists():
        pytest.skip("aioacme is not installed: make aioacme")
    name = site.name("aio")
    settings = {
        "directory": server.acme_directory,
        "root": str(server.root_pem),
        "hook": str(site.dns_hook),
        "names": [name, f"*.{name}"],
        "key": key,
        "eab": eab,
    }
    found = json.loads(run(PYTHON, Path(__file__).with_name("aioacme_client.py"), json.dumps(settings)).stdout)
    for pem in found["certificates"]:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        openssl_verify(server, certificate, "sslserver")
        assert set(dns_names(certificate)) == {name, f"*.{name}"}
        assert site.is_revoked(certificate)
    return dict(found)


@pytest.mark.parametrize("key", ["Ed25519", "P-256", "P-384", "RSA"])
def test_aioacme_lives_a_whole_life(site: AcmeSite, key: str) -> None:
    found = live(site, site.server, key)
    assert found["contact"] == ["mailto:pki@example.com"]
    assert (found["authorization"], found["lost"]) == ("deactivated", "invalid")
    assert found["again"]["type"] == "alreadyRevoked"
    assert (found["ended"], found["after"]["type"]) == ("deactivated", "unauthorized")
    assert found["old key"]["type"] in {"malformed", "unauthorized"}
    assert found["forbidden"]["type"] == "rejectedIdentifier"
    assert found["forbidden"]["about"] == ["aio.google.com"]
    assert "not allowed" in found["forbidden"]["detail"]


def test_aioacme_binds_its_account(site: AcmeSite, eab_key: tuple[str, str]) -> None:
    assert live(site, site.bound, "Ed25519", eab_key)["ended"] == "deactivated"
