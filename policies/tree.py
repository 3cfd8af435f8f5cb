"""A YAML document as a tree in which every key and value knows its place, and what it may hold at most."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

MAX_CHARACTERS = 512 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?[0-9]{1,18}\.[0-9]{1,18}")
_OF_NUMBERS = frozenset("+-0123456789")
_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}

Scalar = str | int | float | bool | None
Plain = Scalar | list["Plain"] | dict[str, "Plain"]


class Mark(NamedTuple):
    """A place in the text; line and column count from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Node:
    """A value with its place.

    Attributes:
        mark: where the value begins.
        value: the value of a scalar, None for a mapping or list.
        items: what a mapping or list holds, by key or index; None for a scalar.
        keys: where each key or list item begins.
        is_list: whether `items` is a list's.
        weight: the number of nodes in it, repetitions by alias included.
        text: where the text of a scalar begins, inside the quotes or below the ``|``; None where lines are folded.
    """

    mark: Mark
    value: Scalar = None
    items: dict[str | int, Node] | None = None
    keys: dict[str | int, Mark] = field(default_factory=dict)
    is_list: bool = False
    weight: int = 1
    text: Mark | None = None

    def within(self, line: int, column: int) -> Mark:
        """Return where a place inside a scalar's text stands in the file, as far as that can be told."""
        if self.text is None:
            return self.mark
        return Mark(self.text.line + line - 1, self.text.column + column - 1)

    def at(self, path: tuple[str | int, ...]) -> Node:
        """Return the node at `path`, which must be in the tree."""
        node = self
        for step in path:
            node = (node.items or {})[step]
        return node

    def plain(self) -> Plain:
        """Return the value as dictionaries, lists and scalars."""
        if self.items is None:
            return self.value
        if self.is_list:
            return [node.plain() for node in self.items.values()]
        return {str(key): node.plain() for key, node in self.items.items()}


def resolve(text: str) -> Scalar:
    """Return what a plain scalar means in the YAML 1.2 core schema, with decimal numbers only."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _OF_NUMBERS:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def block_text(rest: str, start: Mark) -> Mark | None:
    """Return where the text of a scalar below ``|`` begins.

    Args:
        rest: the document from the ``|`` on.
        start: the place of the ``|``.
    """
    for number, line in enumerate(rest.split("\n")[1:], 1):
        if line.strip():  # the first line with something in it tells the indentation
            return Mark(start.line + number, len(line) - len(line.lstrip(" ")) + 1)
    return None
