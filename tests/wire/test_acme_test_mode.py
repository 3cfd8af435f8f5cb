"""Clients in training: an endpoint in test mode, which refuses half of the nonces, and clients that get through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.wire.running import serve
from tests.wire.test_acme_certbot import Certbot
from tests.wire.test_acme_lego import Lego

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

MODE = "    danger_test_mode: {refuse_nonces: 50, slow_validation: 1}\n"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose ACME endpoint is in test mode; it says so loudly when it starts."""
    folder = tmp_path_factory.mktemp("wire") / "deployment"
    deployment = create(folder, ports=Ports(*free_ports(4)), clock=system_clock)
    profiles = "    profiles: [tls-server]\n"
    deployment.config.write_text(deployment.config.read_text().replace(profiles, profiles + MODE))
    policy = deployment.folder / "policies" / "tls-server.yaml"
    policy.write_text(policy.read_text().replace("    issuer: issuing\n", "    issuer: issuing\n    testing: true\n"))
    running = serve(deployment)
    assert "DANGER: this endpoint is in test mode" in running.process.tail()
    yield running
    assert running.process.stop() == 0, running.process.tail()


def refused_nonces(server: RunningServer) -> int:
    return server.process.log.read_text().count("badNonce")


def test_certbot_gets_through(training: RunningServer, tmp_path: Path) -> None:
    before = refused_nonces(training)
    certbot = Certbot(training, tmp_path)
    certbot.issue()
    certbot.accepted()
    assert refused_nonces(training) > before


def test_lego_gets_through(training: RunningServer, tmp_path: Path) -> None:
    before = refused_nonces(training)
    lego = Lego(training, tmp_path)
    lego("run")
    lego.accepted()
    assert refused_nonces(training) > before
