"""The load tool against a server of its own and against one that runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.wire.running import COMMAND, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.wire.running import RunningServer

WIDE = {"COLUMNS": "120"}


@pytest.mark.parametrize(
    ("arguments", "budget"),
    [
        (["est"], "0.8 ms"),
        (["est", "--new-connections", "--certificates"], "1.6 ms"),
        (["scep"], "2.0 ms"),
        (["acme"], "3.0 ms"),
    ],
    ids=" ".join,
)
def test_a_server_of_its_own_is_measured_beside_the_budget(arguments: list[str], budget: str, tmp_path: Path) -> None:
    environment = WIDE | {"TMPDIR": str(tmp_path)}
    done = run(*COMMAND, "bench", *arguments, "--count", "40", "--concurrency", "8", environment=environment)
    assert "40, 8 at once" in done.stdout
    assert budget in done.stdout
    assert "peak memory" in done.stdout
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - nothing is left behind


def test_a_running_server_is_enrolled_at_without_figures_of_its_cost(server: RunningServer) -> None:
    done = server.certwright(
        "bench", "scep", "--count", "20", "--url", server.scep_url, "--deployment", str(server.folder)
    )
    assert "20, 32 at once" in done.stdout
    assert "server CPU" not in done.stdout


def test_no_certificates_means_no_figures(server: RunningServer) -> None:
    done = server.certwright(
        "bench", "est", "--url", f"{server.est_url}/nowhere", "--deployment", str(server.folder), check=False
    )
    assert done.returncode == 1
    assert "no figures: HTTP 4" in done.stderr
