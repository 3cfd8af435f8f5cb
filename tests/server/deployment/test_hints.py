from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from server.config import load_config
from server.deployment.hints import client_lines, first_steps

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.deployment.folder import Deployment


def lines(made: Deployment, config: Path | None = None) -> list[str]:
    shown = client_lines(load_config(config or made.config))
    return [line.strip() for line in shown.splitlines() if line.startswith("  ")]


@pytest.fixture
def config(made: Deployment) -> Iterator[Path]:
    """Another configuration of the deployment, which is left as it is for others."""
    path = made.folder / "other.yaml"
    yield path
    path.unlink()


def test_the_first_steps_begin_with_the_roots_fingerprint(made: Deployment) -> None:
    shown = made.fingerprint.hex(":").upper()
    assert shown in first_steps(made)
    assert f"certwright serve --config {made.config}" in first_steps(made)


def test_there_is_one_line_for_each_protocol_with_the_real_credentials(made: Deployment) -> None:
    est, scep, acme = lines(made)
    assert f"{made.secrets.est_username}:{made.secrets.est_password}" in shlex.split(est)
    assert made.secrets.scep_challenge in shlex.split(scep)
    assert "https://127.0.0.1:8443/acme/directory" in shlex.split(acme)


def test_what_ends_in_a_log_has_no_secret_and_works_all_the_same(made: Deployment) -> None:
    shown = client_lines(load_config(made.config), for_a_person=False)
    assert made.secrets.est_password not in shown
    assert made.secrets.scep_challenge not in shown
    found = [re.search(word + r' (\S*"\$\(.*?\.json\)")', shown) for word in ("--user", "--password")]
    said = [subprocess.check_output(["sh", "-c", f"echo {match[1]}"], text=True).strip() for match in found if match]
    assert said == [f"{made.secrets.est_username}:{made.secrets.est_password}", made.secrets.scep_challenge]


@pytest.mark.parametrize(
    "more",
    [
        "    external_accounts: {required: true, sealing_key: {file: secrets/eab.key}}\n",
        "    challenges: [dns-01]\n",
    ],
)
def test_there_is_no_line_for_acme_that_would_fail(made: Deployment, config: Path, more: str) -> None:
    profiles = "    profiles: [tls-server]\n"
    config.write_text(made.config.read_text().replace(profiles, profiles + more))
    assert len(lines(made, config)) == 2


def test_the_line_for_acme_is_for_the_endpoint_that_it_names(made: Deployment, config: Path) -> None:
    before, acme = made.config.read_text().split("  acme/default:\n")
    config.write_text(f"{before}  acme/a:\n{acme.replace('5002', '5003').rstrip()}\n  acme/default:\n{acme}")
    assert "--http-01-port 5002 " in lines(made, config)[2]


def test_paths_are_relative_where_one_stands_above(made: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder.parent)
    assert "--cacert deployment/root.pem" in lines(made)[0]


def test_a_client_that_make_installed_is_called_where_it_is(
    made: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certbot = tmp_path / ".venv-certbot" / "bin" / "certbot"
    certbot.parent.mkdir(parents=True)
    certbot.touch()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv"))
    assert str(certbot) in shlex.split(lines(made)[2])


def test_in_the_repository_make_gets_certbot_first(
    made: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv"))
    monkeypatch.chdir(tmp_path)
    assert lines(made)[2].startswith("make certbot && REQUESTS_CA_BUNDLE=")
    assert " .venv-certbot/bin/certbot certonly" in lines(made)[2]


def test_a_client_that_is_missing_comes_with_its_source(made: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert "SCEP with strongSwan (apt-get install" in client_lines(load_config(made.config))


@pytest.mark.parametrize("text", [None, "{}"])
def test_without_credentials_there_are_no_lines(made: Deployment, tmp_path: Path, text: str | None) -> None:
    (tmp_path / "server.yaml").write_bytes(made.config.read_bytes())
    if text is not None:
        (tmp_path / "credentials.json").write_text(text)
    assert client_lines(load_config(tmp_path / "server.yaml")) == ""


def test_without_one_of_the_protocols_there_are_no_lines(made: Deployment, tmp_path: Path) -> None:
    text = made.config.read_text()
    (tmp_path / "server.yaml").write_text(text[: text.index("  acme/default:")])
    (tmp_path / "credentials.json").write_text(made.secrets.to_json())
    assert client_lines(load_config(tmp_path / "server.yaml")) == ""
