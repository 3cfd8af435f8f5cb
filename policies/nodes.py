"""YAML 1.2 text read into a tree in which every key and value knows its place.

Only what a reviewed configuration file needs is taken: mappings with plain keys, lists, text, numbers, true, false and
null. Words such as ``no`` and ``on`` are text. Tags and several documents in a file are refused, ``<<`` is a key like
any other, and what an alias repeats counts each time, so that a short file can't become a large one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from policies.fast_nodes import read_fast
from policies.tree import MAX_CHARACTERS, MAX_DEPTH, MAX_NODES, Mark, Node, block_text, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_A_TAB = r"found character '\t' that cannot start any token"


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something in the text that is not as it must be."""

    mark: Mark
    message: str


class MalformedText(ValueError):
    """The text is not a tree: `flaws` says what and where, `flaws` is never empty."""

    def __init__(self, flaws: Iterable[Flaw]) -> None:
        super().__init__("the text is malformed")
        self.flaws = tuple(flaws)


def read_nodes(text: str) -> Node:
    """Return the root of the one document in `text`. Raises MalformedText, and nothing else."""
    if len(text) > MAX_CHARACTERS:
        raise MalformedText([Flaw(Mark(1, 1), f"the file is longer than {MAX_CHARACTERS // 1024} KiB")])
    return read_fast(text) or read_thoroughly(text)


def read_thoroughly(text: str) -> Node:
    """Return the same by a parser of YAML 1.2 that says what is wrong where. Raises MalformedText, and nothing else."""
    reader = _Reader()
    try:
        for event in _events(text):
            reader.take(event)
    except MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        mark = Mark(place.line + 1, place.column + 1) if place else Mark(1, 1)
        why = error.problem or error.context
        if why == _A_TAB:
            why = "a tab; indent with spaces"
        raise MalformedText([*reader.flaws, Flaw(mark, f"not YAML: {why}")]) from error
    except YAMLError as error:
        first_line = str(error).partition("\n")[0]
        raise MalformedText([Flaw(Mark(1, 1), f"not YAML: {first_line}")]) from error
    except MalformedText:
        raise
    except Exception as error:  # the scanner lets errors of int(), chr() and recursion out
        raise MalformedText([Flaw(Mark(1, 1), "not YAML")]) from error
    if reader.root is None:
        raise MalformedText([Flaw(Mark(1, 1), "the file is empty")])
    if reader.flaws:
        raise MalformedText(reader.flaws)
    return reader.root


def _events(text: str) -> Iterator[Event]:
    return iter(YAML(typ="safe", pure=True).parse(text))


def _mark(event: Event) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _text_mark(event: ScalarEvent) -> Mark | None:
    start = event.start_mark
    if event.style == "|":
        return block_text(start.buffer[start.index :], _mark(event))
    if event.style == ">" or event.end_mark.line != start.line:
        return None
    return Mark(start.line + 1, start.column + 1 + (event.style is not None))


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_mark: Mark | None = None


@dataclass(slots=True)
class _Reader:
    """Builds the tree from parser events, without recursion."""

    root: Node | None = None
    flaws: list[Flaw] = field(default_factory=list)
    stack: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node] = field(default_factory=dict)
    documents: int = 0

    def take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self.documents += 1
                if self.documents > 1:
                    self._stop(event, "a second document begins here; one file holds one document")
            case ScalarEvent():
                self._inspect(event)
                self._take_scalar(event)
            case AliasEvent():
                target = self.anchors.get(event.anchor)
                if target is None:
                    self._stop(event, f'there is no finished value called "&{event.anchor}" before this place')
                self._add(event, target, None)
            case MappingStartEvent() | SequenceStartEvent():
                self._inspect(event)
                self._begin(event, is_list=isinstance(event, SequenceStartEvent))
            case MappingEndEvent() | SequenceEndEvent():
                done = self.stack.pop()
                self._add(event, done.node, done.anchor)
            case _:
                pass

    def _stop(self, event: Event, message: str) -> NoReturn:
        raise MalformedText([*self.flaws, Flaw(_mark(event), message)])

    def _inspect(self, event: Event) -> None:
        """Refuse what is no plain value: a tag, or escapes that make no text."""
        if "\0" in getattr(event, "value", ""):
            self.flaws.append(Flaw(_mark(event), "the character NUL stands in no text here"))
        if any("\ud800" <= character <= "\udfff" for character in getattr(event, "value", "")):
            self.flaws.append(Flaw(_mark(event), "not Unicode text: half of a surrogate pair is no character"))
        if getattr(event, "ctag", None) is not None:
            self.flaws.append(Flaw(_mark(event), "tags (!name) are not used here; leave the tag out"))

    def _begin(self, event: Event, *, is_list: bool) -> None:
        if self._awaits_key():
            self._stop(event, "a key must be a word, not a list or mapping")
        if len(self.stack) >= MAX_DEPTH:
            self._stop(event, f"more than {MAX_DEPTH} levels deep")
        self.stack.append(_Open(Node(_mark(event), items={}, is_list=is_list), getattr(event, "anchor", None)))

    def _take_scalar(self, event: ScalarEvent) -> None:
        if self._awaits_key():
            top = self.stack[-1]
            top.key, top.key_mark = event.value, _mark(event)
            if event.anchor:
                self.flaws.append(Flaw(_mark(event), "a key can't have an anchor"))
            return
        value = resolve(event.value) if event.style is None else event.value
        self._add(event, Node(_mark(event), value=value, text=_text_mark(event)), event.anchor)

    def _awaits_key(self) -> bool:
        return bool(self.stack) and not self.stack[-1].node.is_list and self.stack[-1].key is None

    def _add(self, event: Event, node: Node, anchor: str | None) -> None:
        if anchor:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        top = self.stack[-1]
        parent = top.node
        assert parent.items is not None  # noqa: S101 - only mappings and lists are pushed
        parent.weight += node.weight
        if parent.weight > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values")
        if parent.is_list:
            parent.keys[len(parent.items)] = node.mark
            parent.items[len(parent.items)] = node
            return
        if top.key is None or top.key_mark is None:
            self._stop(event, "a key must be a word, not an alias")
        if top.key in parent.items:
            first = parent.keys[top.key]
            message = f'"{top.key}" is here a second time; the first is in line {first.line}'
            self.flaws.append(Flaw(top.key_mark, message))
        else:
            parent.keys[top.key] = top.key_mark
            parent.items[top.key] = node
        top.key = top.key_mark = None
