"""How fast CA keys sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from ca.backends.hsm import SignerProcess, generate_hsm_key
from server.app.signing import local_throwaway
from server.bench.sign import measure_signing
from server.clock import system_clock
from server.commands.bench import app
from tests.fakes.softhsm import PIN, make_token

if TYPE_CHECKING:
    from pathlib import Path


def test_certificates_and_bare_signatures_are_measured() -> None:
    cost = measure_signing(local_throwaway("P-256", system_clock()), count=40, now=system_clock())
    assert cost.cpu > cost.bare_cpu / 2  # of CPU time, as others keep the machine busy
    assert min(cost.a_second, cost.bare_a_second, cost.bare_cpu) > 0


@pytest.mark.parametrize("kind", ["ed25519", "rsa:2048 pss", "ml-dsa-44"])
def test_the_command_prints_a_line_for_each_kind(kind: str) -> None:
    done = CliRunner().invoke(app, ["sign", "--count", "3", "--kind", kind])
    assert done.exit_code == 0, done.output
    assert kind in done.output


def test_keys_in_an_hsm_are_measured_with_their_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = make_token(tmp_path, monkeypatch)
    signer = SignerProcess(token)
    generate_hsm_key(signer, "bench", "P-256", b"\x01")
    signer.close()
    (tmp_path / "pin").write_text(PIN)
    reach = ["--module", str(token.module), "--token", str(token.label), "--pin-file", str(tmp_path / "pin")]
    done = CliRunner().invoke(app, ["sign", "--count", "5", *reach, "--key", "bench"])
    assert done.exit_code == 0, done.output
    assert "bench (HSM)" in done.output
    wrong = CliRunner().invoke(app, ["sign", "--count", "5", *reach, "--key", "other"])
    assert wrong.exit_code == 1


@pytest.mark.parametrize("options", [["--module", "/x"], ["--key", "x"], ["--kind", "dsa"], ["--kind", "rsa:2048x"]])
def test_options_that_can_not_work_are_told(options: list[str]) -> None:
    assert CliRunner().invoke(app, ["sign", "--count", "1", *options]).exit_code == 2
