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

_UNUSUAL = re.compile(r"^(%|---|\.\.\.)|(^|[-\[{,:?])[ ]*\?(\s|$)", re.MULTILINE)
"""Directives, the marks of several documents, and keys written as ``? key``."""
_HEADER = re.compile(r"[|>][-+]?(\n|$)")
_BEGIN = frozenset({MappingStartEvent, SequenceStartEvent})
_END = frozenset({MappingEndEvent, SequenceEndEvent})
_OUTSIDE = frozenset({StreamStartEvent, DocumentStartEvent, DocumentEndEvent, StreamEndEvent})
_BLOCK = frozenset({"|", ">"})
_PLAIN_OR_BLOCK = frozenset({"", None, "|", ">"})
_NO_KEYS: dict[str | int, Mark] = {}


class _Unusual(Exception):
    """The text has something that the thorough reader must look at."""


def read_fast(text: str) -> Node | None:
    """Return the root of the one document in `text`, or None where the thorough reader must look at it."""
    # Not printable are tabs, line breaks other than \n, byte order marks and surrogates.
    if not text.replace("\n", "").isprintable() or _UNUSUAL.search(text):
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
            elif kind in _BEGIN:
                self._begin(event, is_list=kind is SequenceStartEvent)
                continue
            elif kind in _END:
                done = self._end()
            elif kind in _OUTSIDE:
                continue
            else:
                raise _Unusual  # an alias
            if done is not None and self._add(done):
                root = done
        return root

    def _begin(self, event: Any, *, is_list: bool) -> None:
        unexpected = self._open is not None and not self._open.is_list and self._key is None
        if unexpected or event.anchor is not None or event.tag is not None or len(self._stack) >= MAX_DEPTH:
            raise _Unusual
        start = event.start_mark
        node = Node(Mark(start.line + 1, start.column + 1), None, {}, {}, is_list)
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
        mark = Mark(start.line + 1, start.column + 1)
        top = self._open
        if top is not None and not top.is_list and self._key is None:
            self._key, self._key_mark = event.value, mark
            return None
        quoted = bool(event.style)  # "" where plain
        if not (event.value if event.style in _PLAIN_OR_BLOCK else quoted):
            raise _Unusual  # nothing where a value should be: the two parsers place it differently
        value = event.value if quoted else resolve(event.value)
        return Node(mark, value, None, _NO_KEYS, text=self._inside(event, mark, quoted=quoted))

    def _inside(self, event: Any, mark: Mark, *, quoted: bool) -> Mark | None:
        """Return where the text of a scalar begins."""
        if event.style in _BLOCK and not _HEADER.match(self._text, event.start_mark.index):
            raise _Unusual  # an indentation indicator, or a comment
        if event.style == "|":
            return block_text(self._text[event.start_mark.index :], mark)
        if event.style == ">" or event.end_mark.line + 1 != mark.line:
            return None
        return Mark(mark.line, mark.column + 1) if quoted else mark

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
