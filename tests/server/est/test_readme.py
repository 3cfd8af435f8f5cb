"""The README names the test of each row, and the settings: they must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.config import EstEndpointConfig
from server.config.est import Authenticate, CmcSigner, FullCmc, Manufacturer, ServerKeys

TESTS = Path(__file__).parents[2]
TEXT = (TESTS.parent / "server" / "est" / "README.md").read_text("utf-8")
FOLDERS = (TESTS / "server" / "est", TESTS / "wire", TESTS.parent)


def test_every_test_that_the_readme_names_is_there() -> None:
    written = set(
        re.findall(r"def (test_\w+)\(", "".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py")))
    )
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named
    assert named <= written, sorted(named - written)


def test_every_module_of_tests_that_the_readme_names_is_there() -> None:
    named = set(re.findall(r"`((?:\w+/)*test_\w+\.py)`", TEXT))
    assert named
    assert not [name for name in named if not any((folder / name).exists() for folder in FOLDERS)]


def test_a_test_stands_in_the_module_that_is_named_before_it() -> None:
    pairs = re.findall(r"`((?:\w+/)*test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", TEXT)
    assert pairs
    for module, tests in pairs:
        (path,) = [folder / module for folder in FOLDERS if (folder / module).exists()]
        written = set(re.findall(r"def (test_\w+)\(", path.read_text("utf-8")))
        assert set(re.findall(r"test_\w+", tests)) <= written, (module, tests)


def test_every_module_is_described() -> None:
    folder = TESTS.parent / "server" / "est"
    there = {path.name for path in folder.glob("*.py")} - {"__init__.py"}
    assert there <= set(re.findall(r"\b\w+\.py\b", TEXT)), there


@pytest.mark.parametrize("model", [EstEndpointConfig, Authenticate, Manufacturer, ServerKeys, FullCmc, CmcSigner])
def test_every_setting_is_described(model: type[EstEndpointConfig]) -> None:
    written = set(re.findall(r"\w+", TEXT))
    assert set(model.model_fields) <= written, set(model.model_fields) - written
