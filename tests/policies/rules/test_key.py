from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from policies.engine import decide
from policies.profile import Ceilings
from tests.fakes.policy import approved, judge, plan, question, rules


@pytest.mark.parametrize("key", ["ec:P-256", "rsa:2048", "rsa:3072", "rsa:4096"])
def test_a_key_on_the_list_is_taken(key: str) -> None:
    assert plan(judge(key=key)).spki


@pytest.mark.parametrize("key", ["ec:P-384", "rsa:1024", "rsa:8192", "ed25519"])
def test_a_key_that_is_not_on_the_list_is_denied(key: str) -> None:
    assert rules(judge(key=key)) == {"key.allowed"}


def test_ed25519_is_taken_where_it_is_listed() -> None:
    assert approved(judge({"key": {"allowed": ["ed25519"]}}, key="ed25519"))


def test_the_ceiling_denies_what_a_profile_would_take() -> None:
    asked = replace(question({}, key="rsa:2048"), ceilings=Ceilings(timedelta(days=825), min_rsa_bits=3072))
    assert rules(decide(asked)) == {"key.ceiling"}
