"""Every target takes its seeds, what was kept, and changes of both."""

from __future__ import annotations

import pytest

from tests.fuzz.target import KEPT, Target, targets, variants

ALL = targets()


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_nothing_breaks_the_decoder(target: Target) -> None:
    for seed in (*target.seeds, *target.kept()):
        for octets in variants(seed):
            target.run(octets)


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_a_seed_is_worth_beginning_with(target: Target) -> None:
    assert target.seeds
    assert any(target.run(seed) is not None for seed in target.seeds)


def test_names_are_different_and_whatever_is_kept_belongs_to_one() -> None:
    names = [each.name for each in ALL]
    assert sorted(set(names)) == sorted(names)
    assert {path.name for path in KEPT.glob("*") if path.is_dir()} <= set(names)
