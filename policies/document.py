"""Reading a YAML file into a frozen pydantic model, with the place of every value and all errors at once."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.json_schema import GenerateJsonSchema

from policies.decision import Location
from policies.nodes import MalformedText, read_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import ErrorDetails
    from pydantic_core.core_schema import CoreSchema

    from policies.tree import Mark, Node

KeyPath = tuple[str | int, ...]
"""Keys and list indexes from the root of a document down to a value."""


class Strict(BaseModel):
    """The base of everything that is read from a file: frozen, and an unknown key is an error."""

    # Most models are only parts of others, with which they are built: alone they are built when somebody reads one.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Have every number be one in the file too: ``true`` is not 1, and what stands in quotes is text."""
        schema = handler(source)
        _take_numbers_alone(schema)
        return schema


def _take_numbers_alone(schema: object) -> None:
    """Switch off, in a model's schema, pydantic's readiness to make numbers of true, false, texts and 1.0."""
    match schema:
        case {"type": "int" | "float", **_rest}:
            cast("dict[str, object]", schema)["strict"] = True
        case dict():
            for part in schema.values():
                _take_numbers_alone(part)
        case list() | tuple():
            for part in schema:
                _take_numbers_alone(part)
        case _:
            pass


def _written_as_number(value: object) -> object:
    if type(value) is not int:  # true is equal to 1
        raise ValueError(f"must be the number 1, not {json.dumps(value, ensure_ascii=False)}")
    return value


FormatVersion = Annotated[Literal[1], BeforeValidator(_written_as_number)]
"""The version of a file's format, by which later ones can be told from it."""


class FlawInText(ValueError):
    """A validator's complaint about one place inside a text; line and column count from 1 within it."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


M = TypeVar("M", bound=BaseModel)

_LONGEST = 1000
"""Characters of a message: it may hold what stands in the file."""

_WANTED = {
    "path_type": "the path of a file or folder",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
}


@dataclass(frozen=True, slots=True)
class DocumentProblem:
    """One thing that is wrong in a file, with the way out where there is one."""

    location: Location
    message: str

    def __str__(self) -> str:
        return f"{self.location}: {self.message}"


class DocumentErrors(ValueError):
    """A file is not as it must be; as text, one ``file:line:column: message`` a line.

    Attributes:
        problems: all that is wrong, in the order of file and line; never empty.
    """

    def __init__(self, problems: Iterable[DocumentProblem]) -> None:
        unique = dict.fromkeys(problems)
        self.problems = tuple(sorted(unique, key=lambda p: (p.location.file, p.location.line, p.location.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Document(Generic[M]):
    """A file that was read.

    Attributes:
        value: the model.
        file: the name to which locations refer.
        root: the tree of places.
    """

    value: M
    file: str
    root: Node = field(repr=False)

    def locate(self, path: KeyPath) -> Location:
        """Return the place of the key or list item at `path`, or of its nearest ancestor that is in the file."""
        return _location(self.file, _walk(self.root, path)[0])


def read_document(text: str, file: str, model: type[M]) -> Document[M]:
    """Read YAML into `model`.

    Args:
        text: the content of the file.
        file: its name, for locations.
        model: what it must be; usually derived from `Strict`.

    Raises:
        DocumentErrors: the text is no YAML of the supported kind, or is not what the model says. All problems are in
            it, each with its place. Nothing else is raised, whatever the text.
    """
    try:
        root = read_nodes(text)
    except MalformedText as error:
        raise DocumentErrors(DocumentProblem(_location(file, f.mark), f.message) for f in error.flaws) from error
    try:
        value = model.model_validate(root.plain())
    except ValidationError as error:
        details = _telling(error.errors(include_url=False))
        raise DocumentErrors(_problem(file, root, model, detail) for detail in details) from error
    return Document(value, file, root)


def _telling(details: list[ErrorDetails]) -> Iterator[ErrorDetails]:
    """Leave out that a list is too short when that is because items in it are wrong."""
    for detail in details:
        path = detail["loc"]
        within = (other["loc"] for other in details if len(other["loc"]) > len(path))
        if detail["type"] != "too_short" or all(other[: len(path)] != path for other in within):
            yield detail


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "..."?`` for the nearest of the known words, or the list of them, or nothing."""
    words = sorted(set(known))
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known here: {', '.join(words)}" if words else ""


def _location(file: str, mark: Mark) -> Location:
    return Location(file, mark.line, mark.column)


def _walk(root: Node, path: KeyPath) -> tuple[Mark, Node, bool, list[str]]:
    """Follow `path` as far as it goes.

    Steps that are not in the file are passed over: pydantic puts the tags of unions among the keys.

    Returns the place of the last key or item found, its node, whether the last step was found, and the steps as text.
    """
    mark, node, found = root.mark, root, True
    steps: list[str] = []
    for step in path:
        key: str | int = step if node.is_list else str(step)
        found = node.items is not None and key in node.items
        if found and node.items is not None:
            mark, node = node.keys[key], node.items[key]
            steps.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return mark, node, found, steps


def _problem(file: str, root: Node, model: type[BaseModel], detail: ErrorDetails) -> DocumentProblem:
    path = detail["loc"]
    mark, node, found, steps = _walk(root, path)
    kind, word = detail["type"], str(path[-1]) if path else ""
    prefix = "".join(steps).lstrip(".")
    if kind == "extra_forbidden" and found and word == "<<":
        return DocumentProblem(_location(file, mark), "merge keys (<<) are not taken: write the keys themselves")
    if kind == "extra_forbidden" and found:
        known = set(_known_keys(model, path[:-1]))
        return DocumentProblem(_location(file, mark), f'unknown key "{word}"{did_you_mean(word, known)}')
    if kind == "missing":
        where = f"{prefix}: " if prefix else ""
        return DocumentProblem(_location(file, mark), f'{where}"{word}" is missing')
    if found and node.items is None:
        mark = node.mark
        error = detail.get("ctx", {}).get("error")
        if isinstance(error, FlawInText):
            mark = node.within(error.line, error.column)
    message = _message(detail, node)
    if len(message) > _LONGEST:
        message = f"{message[:_LONGEST]}… ({len(message)} characters)"
    return DocumentProblem(_location(file, mark), f"{prefix}: {message}" if prefix else message)


def _message(detail: ErrorDetails, node: Node) -> str:
    """Return what pydantic says, in words of someone who edits a file."""
    scalar = node.items is None
    got = "a list" if node.is_list else json.dumps(node.value, ensure_ascii=False) if scalar else "a mapping"
    kind = "absent" if scalar and node.value is None and detail["type"] != "value_error" else detail["type"]
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, not {got}"
    match kind:
        case "absent":
            message = "a value is missing"
        case "value_error":
            message = str(detail["ctx"]["error"])
        case "string_type":
            message = f"must be text, not {got}: {'put it in quotes' if scalar else 'write one value'}"
        case "tuple_type" | "list_type" | "set_type" | "frozen_set_type":
            message = f"must be a list, {f'like [{node.value}], ' if scalar else ''}not {got}"
        case "model_type" | "dict_type" | "mapping_type" | "model_attributes_type":
            message = f"must be a mapping (key: value), not {got}"
        case "too_short":
            least = detail["ctx"]["min_length"]
            message = f"must have at least {least} item{'' if least == 1 else 's'}"
        case "union_tag_invalid" | "union_tag_not_found":
            name = detail["ctx"]["discriminator"].strip("'")
            tags = detail["ctx"].get("expected_tags")
            message = (
                f'"{name}" must be one of {tags}' if tags else f'"{name}" is missing, by which the others are known'
            )
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:] + (f" (here: {got})" if scalar else "")
    return message


class _LenientSchema(GenerateJsonSchema):
    """JSON schema in which what can't be described is left open."""

    def handle_invalid_for_json_schema(self, schema: CoreSchema, error_info: str) -> dict[str, Any]:
        del schema, error_info
        return {}

    def emit_warning(self, kind: str, detail: str) -> None:
        """Stay silent: nobody sees this schema."""
        del kind, detail


def open_schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of what a model reads; what can't be described is left open."""
    return model.model_json_schema(schema_generator=_LenientSchema)


_schema = lru_cache(maxsize=16)(open_schema)  # it takes a tenth of a second, and each unknown key asks for it


def _known_keys(model: type[BaseModel], path: KeyPath) -> Iterator[str]:
    """Yield the keys that the model knows at `path`, of all alternatives where there are several."""
    schema = _schema(model)
    definitions: dict[str, Any] = schema.get("$defs", {})
    here = list(_alternatives(schema, definitions))
    for step in path:
        below = [
            alternative
            for part in here
            for child in _children(part, step)
            for alternative in _alternatives(child, definitions)
        ]
        here = below or here
    for part in here:
        yield from part.get("properties", {})


def _alternatives(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in schema:
        yield from _alternatives(definitions[schema["$ref"].rpartition("/")[2]], definitions)
        return
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]
    for choice in choices:
        yield from _alternatives(choice, definitions)
    if not choices:
        yield schema


def _children(schema: dict[str, Any], step: str | int) -> Iterator[dict[str, Any]]:
    """Yield the schemas of what stands under `step`."""
    if isinstance(step, int):
        yield from schema.get("prefixItems", ())[step : step + 1]
        items = schema.get("items")
    elif step in schema.get("properties", {}):
        yield schema["properties"][step]
        return
    else:
        items = schema.get("additionalProperties")
    if isinstance(items, dict):
        yield items
