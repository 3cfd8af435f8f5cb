from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from typer.testing import CliRunner

from server.commands.init import init
from server.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

app = typer.Typer()
app.command()(init)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_it_makes_a_deployment_and_prints_the_roots_fingerprint(tmp_path: Path) -> None:
    done = run(tmp_path / "new")
    assert done.exit_code == 0
    assert "SHA-256 fingerprint" in done.stdout
    assert load_config(tmp_path / "new" / "server.yaml").file == tmp_path / "new" / "server.yaml"


def test_host_names_and_ports_are_configured(tmp_path: Path) -> None:
    done = run(
        tmp_path, "--hostname", "ca.example.com", "--https-port", "1443", "--http-port", "1080", "--admin-port", "1081"
    )
    assert done.exit_code == 0
    listeners = load_config(tmp_path / "server.yaml").listeners
    assert listeners.https
    assert listeners.http
    assert listeners.https.origins()[0] == "https://ca.example.com:1443"
    assert listeners.http.port == 1080


def test_two_listeners_on_one_port_are_refused(tmp_path: Path) -> None:
    done = run(tmp_path, "--https-port", "1443", "--http-port", "1443")
    assert (done.exit_code, done.stderr) == (2, "each listener needs a port of its own\n")
    assert not list(tmp_path.iterdir())


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "holds mine: nothing is overwritten" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_whose_name_looks_like_markup_is_named_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "[" / "bold]x"
    (folder / "mine").mkdir(parents=True)
    done = run(folder)
    assert (done.exit_code, f"{folder} holds mine" in done.stderr) == (1, True)
