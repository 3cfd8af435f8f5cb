"""The lines that a newcomer copies from the server's greeting, run by a shell as they are printed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from server.config import load_config
from server.deployment.hints import client_lines
from tests.wire.running import openssl_verify, require_certbot, require_program, require_strongswan, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.wire.running import RunningServer


@pytest.fixture
def lines(server: RunningServer) -> dict[str, str]:
    """The lines by the word that each begins its title with."""
    printed = server.process.log.read_text("utf-8")
    hints = client_lines(load_config(server.config)).splitlines()
    # as a shell in this process's folder reads them: the greeting may show other paths, but has the same lines
    assert all(line in printed for line in hints if not line.startswith("  "))
    return {title.split()[0]: line.strip() for title, line in zip(hints[0::3], hints[1::3], strict=True)}


def enroll(server: RunningServer, line: str, folder: Path, made: str) -> None:
    """Run a line in an empty folder, and check the certificate that it made."""
    run("bash", "-o", "pipefail", "-c", line, cwd=folder)
    certificate = x509.load_pem_x509_certificate((folder / made).read_bytes())
    openssl_verify(server, certificate)
    assert server.is_stored(certificate)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lines are run; paths in them are absolute from here."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_line_for_est_enrolls(folder: Path, server: RunningServer, lines: dict[str, str]) -> None:
    require_program("curl")
    enroll(server, lines["EST"], folder, "device.pem")


def test_the_line_for_est_shows_why_it_was_refused(folder: Path, lines: dict[str, str]) -> None:
    require_program("curl")
    line = lines["EST"].replace("device-1.example", "www.google.com")
    refused = run("bash", "-o", "pipefail", "-c", line, cwd=folder, check=False)
    assert refused.returncode != 0
    assert "this DNS name is not allowed: 'www.google.com'" in refused.stdout
    assert not (folder / "device.pem").exists()


def test_the_line_for_scep_enrolls(folder: Path, server: RunningServer, lines: dict[str, str]) -> None:
    require_strongswan()
    enroll(server, lines["SCEP"], folder, "router.pem")


def test_the_line_for_acme_enrolls(
    folder: Path, server: RunningServer, lines: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = os.path.dirname(require_certbot(oldest=1))  # noqa: PTH120 - a text for PATH
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{programs}")
    enroll(server, lines["ACME"], folder, "certbot/live/first.localhost/cert.pem")
