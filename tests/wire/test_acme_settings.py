"""An ACME endpoint with external accounts and a second profile, as certbot and lego see it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.wire.running import serve, start
from tests.wire.test_acme_certbot import Certbot
from tests.wire.test_acme_lego import Lego

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

SETTINGS = """\
    profiles: [tls-server, short]
    external_accounts: {required: true, sealing_key: {file: secrets/eab.key}}
"""


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose ACME accounts need a binding, with a profile for a week beside the other."""
    first = start(tmp_path_factory.mktemp("wire") / "deployment")
    first.process.stop()
    file = first.config
    file.write_text(file.read_text().replace("    profiles: [tls-server]\n", SETTINGS))
    (first.folder / "secrets" / "eab.key").write_text("0f" * 32)
    policy = (first.folder / "policies" / "tls-server.yaml").read_text().partition("\ntests:")[0]
    short = re.sub(r"validity:.*", "validity: {default: 7d, max: 8d, issuer_end: shorten}", policy)
    (first.folder / "policies" / "short.yaml").write_text(short.replace("  tls-server:", "  short:"))
    running = serve(first.deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def new_key(server: RunningServer) -> tuple[str, str]:
    made = json.loads(server.certwright("eab", "new", "--name", "dns:**.localhost", "--json").stdout)
    return made["kid"], made["hmac_key"]


def test_certbot_binds_its_account_and_chooses_a_profile(bound: RunningServer, tmp_path: Path) -> None:
    certbot = Certbot(bound, tmp_path)
    refused = certbot.issue(check=False)
    assert refused.returncode != 0
    kid, key = new_key(bound)
    agreed = ("--register-unsafely-without-email", "--agree-tos")
    certbot("register", *agreed, "--eab-kid", kid, "--eab-hmac-key", key)
    port = str(bound.http01_port)
    certbot("certonly", "--standalone", "--http-01-port", port, "-d", certbot.name, "--required-profile", "short")
    certificate = certbot.accepted()
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 7
    other = Certbot(bound, tmp_path / "other")
    again = other("register", *agreed, "--eab-kid", kid, "--eab-hmac-key", key, check=False)
    assert again.returncode != 0
    assert "binding is not good" in again.stdout + again.stderr


def test_lego_binds_its_account(bound: RunningServer, tmp_path: Path) -> None:
    kid, key = new_key(bound)
    lego = Lego(bound, tmp_path, options=("--eab", "--kid", kid, "--hmac", key))
    lego("run")
    assert (lego.accepted().not_valid_after_utc - lego.accepted().not_valid_before_utc).days == 90
    wrong = Lego(bound, tmp_path / "other", options=("--eab", "--kid", kid, "--hmac", key[::-1]))
    assert wrong("run", check=False).returncode != 0
