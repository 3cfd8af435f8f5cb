"""A token of SoftHSM2, made for one test module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ca.backends.hsm import Token
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    import pytest

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)
PIN = "314159"


def make_token(folder: Path, environment: pytest.MonkeyPatch, label: str = "certwright") -> Token:
    """Make a token; the library finds it by an environment variable, which child processes inherit."""
    program = require_program("softhsm2-util", "apt-get install softhsm2")
    (folder / "tokens").mkdir(parents=True)
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    environment.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
    run(program, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "271828")
    module = next(path for path in map(Path, MODULES) if path.exists())
    return Token(module, label, PIN)
