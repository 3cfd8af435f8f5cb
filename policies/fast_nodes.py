"""The quick way to the tree of a document that has nothing unusual in it: libyaml, twenty times as fast.

libyaml speaks YAML 1.1 and says little about what it does not like. So it is asked only about text in which both
versions of the language agree; what it refuses, and what is no plain mapping, list and scalar, is nothing here.
"""

from __future__ import annotations

import re
from typing import Any

from yaml.cyaml import CParser
from yaml.error import YAMLError
from yaml.events import (
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from policies.tree import MAX_DEPTH, MAX_NODES, Mark, Node, block_text, resolve

_MARKS = ("\n%", "\n---", "\n...")
"""Directives, and what begins and ends documents."""
_COMPLEX_KEY = re.compile(r"(^|[-\[{,:?])[ ]*\?(\s|$)", re.MULTILINE)
_HEADER = re.compile(r"[|>][-+]?(\n|$)")
_BEGIN = frozenset({MappingStartEvent, SequenceStartEvent})
_END = frozenset({MappingEndEvent, SequenceEndEvent})
_OUTSIDE = frozenset({StreamStartEvent, DocumentStartEvent, DocumentEndEvent, StreamEndEvent})
_BLOCK = frozenset({"|", ">"})
_new = tuple.__new__  # `Mark` by itself is a call in Python more, and there are hundreds of them in a file
_NO_KEYS: dict[str | int, Mark] = {}


class _Unusual(Exception):
    """The text has something that the thorough reader must look at."""


def read_fast(text: str) -> Node | None:
    """Return the root of the one document in `text`, or None where the thorough reader must look at it."""
    # Not printable are tabs, line breaks other than \n, byte order marks and surrogates.
    lines = "\n" + text
    if not text.replace("\n", "").isprintable() or any(mark in lines for mark in _MARKS):
        return None
    if "?" in text and _COMPLEX_KEY.search(text):
        return None
    try:
        return _Builder(text).build()
    except (_Unusual, YAMLError):
        return None


class _Builder:
    """Builds the tree from the parser's events, without recursion."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._stack: list[tuple[Node, str | None, Mark]] = []
        self._open: Node | None = None
        self._key: str | None = None
        self._key_mark = Mark(1, 1)
        self._count = 0

    def build(self) -> Node | None:
        """Return the root, None for an empty document. Raises _Unusual and YAMLError."""
        take = CParser(self._text).get_event
        root: Node | None = None
        while (event := take()) is not None:
            kind = type(event)
            if kind is ScalarEvent:
                done = self._scalar(event)
                if done is None:
                    continue
            elif kind in _BEGIN:
                self._begin(event, is_list=kind is SequenceStartEvent)
                continue
            elif kind in _END:
                done = self._end()
            elif kind in _OUTSIDE:
                continue
            else:
                raise _Unusual  # an alias
            if self._add(done):
                root = done
        return root

    def _begin(self, event: Any, *, is_list: bool) -> None:
        unexpected = self._open is not None and not self._open.is_list and self._key is None
        if unexpected or event.anchor is not None or event.tag is not None or len(self._stack) >= MAX_DEPTH:
            raise _Unusual
        start = event.start_mark
        node = Node(_new(Mark, (start.line + 1, start.column + 1)), None, {}, {}, is_list)
        if self._open is not None:
            self._stack.append((self._open, self._key, self._key_mark))
        else:
            self._stack.append((node, None, self._key_mark))
        self._open, self._key = node, None

    def _end(self) -> Node:
        done = self._open
        assert done is not None  # noqa: S101 - the parser pairs beginnings and ends
        parent, self._key, self._key_mark = self._stack.pop()
        self._open = None if parent is done else parent
        return done

    def _scalar(self, event: Any) -> Node | None:
        """Return a value, or None for a key, which is kept for the value that follows."""
        if event.anchor is not None or event.tag is not None:
            raise _Unusual
        start = event.start_mark
        mark = _new(Mark, (start.line + 1, start.column + 1))
        top, text, style = self._open, event.value, event.style
        if style and "\0" in text:  # by an escape
            raise _Unusual
        if top is not None and not top.is_list and self._key is None:
            self._key, self._key_mark = text, mark
            return None
        if not style:  # plain
            if not text:
                raise _Unusual  # nothing where a value should be: the two parsers place it differently
            inside = mark if event.end_mark.line == start.line else None
            return Node(mark, resolve(text), None, _NO_KEYS, False, 1, inside)  # noqa: FBT003 - as many as there are
        if not text and style in _BLOCK:
            raise _Unusual
        return Node(mark, text, None, _NO_KEYS, text=self._inside(event, mark))

    def _inside(self, event: Any, mark: Mark) -> Mark | None:
        """Return where the text of a scalar begins, inside the quotes or below the ``|``."""
        if event.style in _BLOCK and not _HEADER.match(self._text, event.start_mark.index):
            raise _Unusual  # an indentation indicator, or a comment
        if event.style == "|":
            return block_text(self._text[event.start_mark.index :], mark)
        if event.style == ">" or event.end_mark.line + 1 != mark.line:
            return None
        return Mark(mark.line, mark.column + 1)

    def _add(self, node: Node) -> bool:
        """Put a finished node where it belongs; return whether it is the root."""
        self._count += 1
        parent, key = self._open, self._key
        if self._count > MAX_NODES:
            raise _Unusual
        if parent is None or parent.items is None:
            return True
        if parent.is_list:
            index = len(parent.items)
            parent.keys[index] = node.mark
            parent.items[index] = node
        elif key is None or key in parent.items:
            raise _Unusual
        else:
            parent.keys[key] = self._key_mark
            parent.items[key] = node
            self._key = None
        return False
