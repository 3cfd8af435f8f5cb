from __future__ import annotations

import re
from importlib import resources
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from policies.profile import _File, parse_policy
from policies.trial import failed_tests
from policies.words import NEVER_REQUESTED_PURPOSES, PURPOSE_NAMES, SUBJECT_ATTRIBUTES
from tests.fakes.policy import CEILINGS

README = (resources.files("policies") / "README.md").read_text(encoding="utf-8")
RULES = (resources.files("policies") / "rules").iterdir()


def models(kind: Any) -> set[type[BaseModel]]:
    """Return every model that a file is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        below = [models(field.annotation) for field in kind.model_fields.values()]
        return {kind}.union(*below)
    return set().union(*map(models, get_args(kind)))


KEYS = sorted({name for model in models(_File) for name in model.model_fields})
IDENTIFIERS = sorted(
    {
        identifier
        for rule in RULES
        if rule.name.endswith(".py")
        for identifier in re.findall(r'report\.\w+\(\s*"([a-z_.]+)"', rule.read_text(encoding="utf-8"))
    }
)


def test_there_is_something_to_look_for() -> None:
    assert len(KEYS) > 50
    assert len(IDENTIFIERS) > 10


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_the_format_is_explained(key: str) -> None:
    assert f"`{key}`" in README


@pytest.mark.parametrize("identifier", IDENTIFIERS)
def test_every_rule_is_explained(identifier: str) -> None:
    assert f"`{identifier}`" in README


@pytest.mark.parametrize("word", sorted(SUBJECT_ATTRIBUTES))
def test_every_subject_attribute_is_named(word: str) -> None:
    assert f"`{word}`" in README


@pytest.mark.parametrize("word", sorted(PURPOSE_NAMES[oid] for oid in NEVER_REQUESTED_PURPOSES))
def test_every_purpose_that_can_not_be_asked_for_is_named(word: str) -> None:
    assert f"`{word}`" in README


def test_the_example_is_a_policy_file_whose_tests_pass() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    file = parse_policy(example, "README.md")
    assert len(file.tests) == 2
    assert list(failed_tests(file, CEILINGS)) == []
