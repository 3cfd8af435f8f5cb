"""The READMEs of the protocols name tests, modules and settings: they must be there, and none may be missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import BaseModel

from server.config.endpoints import AcmeEndpointConfig
from server.config.est import EstEndpointConfig, Manufacturer
from server.config.hsm import HsmKeyConfig
from server.config.scep import ScepEndpointConfig
from server.config.secret_sources import SecretSource

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent
ENDPOINTS: dict[str, type[BaseModel]] = {
    "est": EstEndpointConfig,
    "scep": ScepEndpointConfig,
    "acme": AcmeEndpointConfig,
}
ELSEWHERE: dict[str, tuple[type[BaseModel], ...]] = {"scep": (HsmKeyConfig, Manufacturer)}
"""Parts that READMEs of others describe: ca's and EST's. Where a secret comes from is in the first README."""
SOURCES = {path: path.read_text("utf-8") for path in TESTS.rglob("test_*.py")}
WRITTEN = {path: set(re.findall(r"def (test_\w+)\(", text)) for path, text in SOURCES.items()}

pytestmark = pytest.mark.parametrize("protocol", ENDPOINTS)


def readme(protocol: str) -> str:
    return (TESTS.parent / "server" / protocol / "README.md").read_text("utf-8")


def modules(protocol: str, name: str) -> list[Path]:
    """Return the test modules that a README may mean by a name."""
    folders = (TESTS / "server" / protocol, TESTS / "wire", TESTS / "server", TESTS, TESTS.parent)
    return [folder / name for folder in folders if folder / name in SOURCES]


def settings(kind: Any, protocol: str) -> Iterator[tuple[str, str]]:
    """Yield every setting of a model and of the models inside, with the name of its model."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind is SecretSource or kind in ELSEWHERE.get(protocol, ()):
            return
        for name, field in kind.model_fields.items():
            yield kind.__name__, name
            yield from settings(field.annotation, protocol)
    for inner in get_args(kind):
        yield from settings(inner, protocol)


def test_every_test_that_is_named_is_there(protocol: str) -> None:
    named = set(re.findall(r"`(test_\w+)`", readme(protocol)))
    assert sorted(named - set().union(*WRITTEN.values())) == []


def test_every_module_of_tests_that_is_named_is_there(protocol: str) -> None:
    named = set(re.findall(r"`((?:\w+/)*test_\w+\.py)`", readme(protocol)))
    assert named
    assert [name for name in sorted(named) if not modules(protocol, name)] == []


def test_a_test_stands_in_the_module_that_is_named_before_it(protocol: str) -> None:
    for module, tests in re.findall(r"`((?:\w+/)*test_\w+\.py)`: ((?:`test_\w+`(?:, )?)+)", readme(protocol)):
        assert set(re.findall(r"test_\w+", tests)) <= WRITTEN[modules(protocol, module)[0]], (module, tests)


def test_every_module_is_described(protocol: str) -> None:
    there = {path.name for path in (TESTS.parent / "server" / protocol).glob("*.py")} - {"__init__.py"}
    assert sorted(there - set(re.findall(r"\b\w+\.py\b", readme(protocol)))) == []


def test_every_setting_is_described(protocol: str) -> None:
    words = set(re.findall(r"\w+", readme(protocol)))
    found = set(settings(ENDPOINTS[protocol], protocol))
    assert len(found) > 20
    assert sorted(each for each in found if each[1] not in words) == []
