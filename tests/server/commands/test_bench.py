from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from server.bench.process import free_ports
from server.commands.bench import app
from server.deployment.folder import Secrets

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is needed of the deployment of a server that runs elsewhere."""
    (tmp_path / "credentials.json").write_text(Secrets("user", "word", "challenge").to_json())
    (tmp_path / "root.pem").touch()
    return tmp_path


@pytest.mark.parametrize("protocol", ["est", "scep", "acme"])
def test_a_server_that_runs_elsewhere_needs_its_credentials(protocol: str) -> None:
    done = CliRunner().invoke(app, [protocol, "--url", "http://127.0.0.1/"])
    assert done.exit_code == 2
    assert "--url needs --deployment" in done.stderr


def test_a_folder_without_credentials_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["est", "--url", "http://127.0.0.1/", "--deployment", str(tmp_path)])
    assert done.exit_code == 2
    assert "--deployment has no good credentials.json" in done.stderr


def test_only_a_store_of_its_own_is_filled(folder: Path) -> None:
    options = ["--stored", "1", "--url", "http://127.0.0.1/", "--deployment", str(folder)]
    done = CliRunner().invoke(app, ["est", *options])
    assert done.exit_code == 2
    assert "--stored is for the server that is started" in done.stderr


def test_a_server_that_does_not_answer_gives_no_figures(folder: Path) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}/scep"
    done = CliRunner().invoke(app, ["scep", "--count", "1", "--url", url, "--deployment", str(folder)])
    assert done.exit_code == 1
    assert "Connection refused" in done.stderr


def test_every_protocol_explains_itself() -> None:
    help_text = CliRunner().invoke(app, ["--help"]).stdout
    assert [name for name in ("est", "scep", "acme") if name not in help_text] == []
