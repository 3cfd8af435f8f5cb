"""The README names the test of each row: they must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.config import ScepEndpointConfig
from server.config.scep import RaConfig, RaRenewal, Rollover, Switches

TESTS = Path(__file__).parents[2]
TEXT = (TESTS.parent / "server" / "scep" / "README.md").read_text("utf-8")
FOLDERS = (TESTS / "server" / "scep", TESTS / "server", TESTS)


def test_every_test_that_the_readme_names_is_there() -> None:
    sources = [*FOLDERS[0].glob("*.py"), *(TESTS / "server" / "cms").glob("*.py"), *(TESTS / "wire").glob("*scep*.py")]
    written = set(re.findall(r"def (test_\w+)\(", "".join(path.read_text("utf-8") for path in sources)))
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named
    assert named <= written, sorted(named - written)


def test_every_module_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`((?:\w+/)?test_\w+\.py)`", TEXT))
    assert named
    assert not [name for name in named if not any((folder / name).exists() for folder in FOLDERS)]


def test_every_module_is_described() -> None:
    folder = TESTS.parent / "server" / "scep"
    there = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert there <= set(re.findall(r"\b\w+\.py\b", TEXT)), there


@pytest.mark.parametrize("model", [ScepEndpointConfig, Switches, RaConfig, RaRenewal, Rollover])
def test_every_setting_is_described(model: type[ScepEndpointConfig]) -> None:
    written = set(re.findall(r"\w+", TEXT))
    assert set(model.model_fields) <= written, set(model.model_fields) - written
