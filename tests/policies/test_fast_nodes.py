from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import fast_nodes
from policies.fast_nodes import read_fast
from policies.nodes import MalformedText, read_thoroughly

if TYPE_CHECKING:
    from policies.tree import Node

PROFILES = sorted((Path(__file__).parents[2] / "policies" / "profiles").glob("*.yaml"))

PIECES = [
    *(
        "a",
        "b",
        "1",
        "-1",
        "1.5",
        "true",
        "no",
        "~",
        "null",
        "é",
        "<<",
        "x y",
        "a:b",
        "::1",
        "a#b",
        "12:30",
        "*",
        "=",
        "@",
    ),
    *("'q'", "'it''s'", '"d"', '"\\n\\x41\\u00e9"', '"\\/"', '"', "'", "''", '""'),
    *(
        ": ",
        ":",
        "- ",
        "-",
        "? ",
        ", ",
        ",",
        "[",
        "]",
        "{",
        "}",
        "[]",
        "{}",
        "\n",
        "\n  ",
        "\n    ",
        " ",
        "  ",
        " # c\n",
        "#",
    ),
    *(
        "|",
        "|-",
        ">",
        ">+",
        "|2",
        "&x ",
        "*x",
        "!t ",
        "!!str ",
        "---",
        "\n---\n",
        "...",
        "%YAML 1.1",
        "\t",
        "\r\n",
        "`",
    ),
]
LINES = st.lists(st.sampled_from(PIECES), max_size=24).map("".join)


def shown(node: Node) -> object:
    """Return all of a tree, places included, in a form that can be compared."""
    below = None if node.items is None else [(key, node.keys[key], shown(item)) for key, item in node.items.items()]
    return node.mark, type(node.value), node.value, node.is_list, node.text, below


def agree(text: str) -> bool:
    """Whether the quick reader read the text; then it must have read what the thorough one reads."""
    fast = read_fast(text)
    if fast is None:
        return False
    try:
        thorough = read_thoroughly(text)
    except MalformedText as error:
        pytest.fail(f"{text!r} is read quickly, but it is malformed: {error.flaws}")
    assert shown(fast) == shown(thorough), text
    return True


@given(LINES)
@settings(max_examples=300, deadline=None)
def test_both_readers_read_the_same_out_of_pieces_of_yaml(text: str) -> None:
    agree(text)


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_both_readers_read_the_same_out_of_real_files_and_the_quick_one_reads_them(path: Path) -> None:
    assert agree(path.read_text("utf-8"))


@given(st.sampled_from(PROFILES), st.integers(0, 9000), st.sampled_from(["", *PIECES]), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_both_readers_read_the_same_out_of_damaged_files(path: Path, place: int, piece: str, removed: int) -> None:
    text = path.read_text("utf-8")
    begin = text.rfind("\n", 0, max(place - 300, 0)) + 1
    agree(text[begin:place] + piece + text[place + removed : place + 300])


@pytest.mark.parametrize(
    "text",
    [
        "a: *x",
        "a: &x b",
        "a: !x b",
        "a: 1\na: 2",
        "%YAML 1.1\n---\na: b",
        "---\na: b",
        "? a\n: b",
        "a:\tb",
        "a: b\r\n",
        "a: 'x\u2028y'",
        "a: |2\n   b",
        "a: | # c\n  b",
        "a:\nb: c",
        "[a]: b",
        "",
        "# nothing",
        "a: [",
        "[" * 40 + "]" * 40,
    ],
)
def test_what_is_unusual_is_left_to_the_thorough_reader(text: str) -> None:
    assert read_fast(text) is None


def test_more_values_than_may_be_are_left_to_the_thorough_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_nodes, "MAX_NODES", 3)
    assert read_fast("[a, b]") is not None
    assert read_fast("[a, b, c]") is None
