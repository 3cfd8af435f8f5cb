from __future__ import annotations

import pytest

from policies.nodes import MalformedText, read_nodes
from policies.tree import MAX_CHARACTERS, Mark


def flaws(text: str) -> list[tuple[int, str]]:
    with pytest.raises(MalformedText) as caught:
        read_nodes(text)
    return [(flaw.mark.line, flaw.message) for flaw in caught.value.flaws]


def test_scalars_resolve_as_yaml_1_2_says() -> None:
    text = "[1, -2, 1.5, true, False, null, ~]"
    assert read_nodes(text).plain() == [1, -2, 1.5, True, False, None, None]


def test_what_other_parsers_take_for_something_else_is_text() -> None:
    text = "[no, on, '1', \"true\", 0o7, 1e3, .inf, 2026-01-01]"
    assert read_nodes(text).plain() == ["no", "on", "1", "true", "0o7", "1e3", ".inf", "2026-01-01"]


def test_an_endless_number_is_text() -> None:
    assert read_nodes("9" * 5000).plain() == "9" * 5000


def test_keys_are_text_as_written() -> None:
    assert read_nodes("007: a\ntrue: b\n").plain() == {"007": "a", "true": "b"}


def test_places_count_from_one() -> None:
    root = read_nodes("a:\n  - b\n  -   c: d\n")
    items = root.at(("a",))
    assert items.keys == {0: Mark(2, 5), 1: Mark(3, 7)}
    assert root.at(("a", 1, "c")).mark == Mark(3, 10)


def test_block_text_is_text() -> None:
    assert read_nodes("a: |\n  one\n  two\n").plain() == {"a": "one\ntwo\n"}


def test_an_alias_repeats_a_finished_value() -> None:
    assert read_nodes("a: &x [1]\nb: *x\nc: &y z\nd: *y\n").plain() == {"a": [1], "b": [1], "c": "z", "d": "z"}


def test_every_key_that_is_there_twice_is_a_flaw() -> None:
    assert flaws("a: 1\na: 2\nb: {c: 1, c: 2}\n") == [
        (2, '"a" is here a second time; the first is in line 1'),
        (3, '"c" is here a second time; the first is in line 3'),
    ]


def test_a_merge_key_is_a_key_like_any_other() -> None:
    assert read_nodes("a: &x {b: 1}\nc:\n  <<: *x\n").plain() == {"a": {"b": 1}, "c": {"<<": {"b": 1}}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object x", "tags"),
        ("a: !x [1]", "tags"),
        ("? [a]\n: b", "a key must be a word"),
        ("a: &x b\n*x : c", "a key must be a word"),
        ("&x a: b", "a key can't have an anchor"),
        ("a: *x", 'no finished value called "&x"'),
        ("a: &x [*x]", 'no finished value called "&x"'),
        ("a: 1\n---\nb: 1\n", "a second document"),
        ("[" * 40 + "]" * 40, "levels deep"),
        ("# only a comment", "the file is empty"),
        ("a: \x00", "not YAML"),
        ('"\\U99999999"', "not YAML"),
        ("a: b: c", "not YAML"),
        ('"\\ud800"', "not Unicode text"),
        ('"\\ud800": 1', "not Unicode text"),
        ("%YAML 9.9\n---\na", "not YAML"),
    ],
)
def test_what_is_not_supported_is_refused_with_a_reason(text: str, message: str) -> None:
    assert message in flaws(text)[0][1]


def test_flaws_before_a_syntax_error_are_kept() -> None:
    assert len(flaws("a: !x 1\nb: [")) == 2


def test_a_long_file_is_refused_before_it_is_parsed() -> None:
    assert flaws("#" * (MAX_CHARACTERS + 1)) == [(1, "the file is longer than 512 KiB")]


def test_aliases_do_not_multiply_without_limit() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 50000 values" in flaws("\n".join(lines))[0][1]
