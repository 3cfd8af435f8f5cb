"""Conditions in CEL, the Common Expression Language: typed, without side effects, bounded in time.

Everything that a condition may name is declared with its type, so that a misspelt word is an error when the file is
read. What goes wrong later is never taken for an answer: only a boolean is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from policies.document import FlawInText
from policies.literals import literals
from policies.words import SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Mapping


_PACKAGE = "certwright"
_TIME, _DURATION = "google.protobuf.Timestamp", "google.protobuf.Duration"
_NAMES = ("dns", "ip", "email", "uri", "rid", "dirname", "other")
_LIMIT = 4096
_WORD = re.compile(r"[A-Za-z_]+")
_ERROR = re.compile(r"ERROR: <input>:([0-9]+):([0-9]+): (.*)")

MESSAGES: dict[str, dict[str, str]] = {
    "Subject": {**dict.fromkeys(sorted(SUBJECT_ATTRIBUTES), "*string"), "other": "*string"},
    "Names": dict.fromkeys(_NAMES, "*string"),
    "Key": {"kind": "string", "bits": "int64", "curve": "string"},
    "Request": {
        "endpoint": "string",
        "protocol": "string",
        "label": "string",
        "kind": "string",
        "profile": "string",
        "time": _TIME,
    },
    "Requester": {"identity": "string", "name": "string", "evidence": "*string", "address": "string"},
    "Csr": {
        "subject": "Subject",
        "names": "Names",
        "key": "Key",
        "key_usage": "*string",
        "extended_key_usage": "*string",
        "extensions": "*string",
        "ca": "bool",
    },
    "Certificate": {
        "subject": "Subject",
        "names": "Names",
        "key_usage": "*string",
        "extended_key_usage": "*string",
        "not_before": _TIME,
        "not_after": _TIME,
        "lifetime": _DURATION,
    },
    "Renewed": {
        "serial": "string",
        "subject": "Subject",
        "names": "Names",
        "profile": "string",
        "endpoint": "string",
        "same_key": "bool",
        "not_before": _TIME,
        "not_after": _TIME,
    },
}
"""The types of what a condition may look at; a star stands for a list."""

TABLES = ("lookup",)
"""What a condition may name besides: text by name by name, such as ``lookup.device.state``."""

VARIABLES: dict[str, str] = {
    "request": "Request",
    "requester": "Requester",
    "csr": "Csr",
    "certificate": "Certificate",
    "renewed": "Renewed",
}
"""What a condition may name, with its type."""


class NotEvaluated(ValueError):
    """A condition has no answer: it failed, or its value is no boolean."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition, compiled.

    Attributes:
        text: as it was written.
        uses: the variables that it may look at.
    """

    text: str
    uses: frozenset[str]
    _program: Any = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: object) -> Expression:
        """Compile a condition.

        Raises:
            FlawInText: it can't be compiled, names what there is not, or is no condition; with the place in it.
        """
        if not isinstance(text, str) or not text.strip():
            raise FlawInText("a condition is text in CEL, like requester.name in csr.subject.CN", 1, 1)
        if len(text) > _LIMIT:
            raise FlawInText(f"a condition has at most {_LIMIT} characters", 1, 1)
        return _compiled(text)

    def __str__(self) -> str:
        return self.text

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Return what the condition says of these values.

        Raises:
            NotEvaluated: an error while evaluating, also for taking too long, or no boolean.
        """
        try:
            result = self._program.eval(data=values)
            kind, value = result.type().name(), result.value()
        except RuntimeError as error:
            raise NotEvaluated(str(error)) from error
        # An error comes back as a value too: its text, which is true like any text. Only a boolean is an answer.
        if kind != "BOOL" or not isinstance(value, bool):
            raise NotEvaluated(f"{kind}: {value}")
        return value


def message(kind: str) -> Any:
    """Return a new, empty message of one of the types above."""
    return _classes()[kind]()


@lru_cache(maxsize=4096)
def _compiled(text: str) -> Expression:
    try:
        program = _environment().compile(text)
    except RuntimeError as error:
        raise _flaw(str(error)) from error
    kind = program.return_type().name()
    if kind != "BOOL":
        raise FlawInText(f"a condition is true or false; this is of type {kind}", 1, 1)
    for pattern, before in literals(program.serialize(), "matches"):
        wrong = _flaw_in_pattern(pattern)
        if wrong:
            raise FlawInText(wrong, text.count("\n", 0, before) + 1, before - text.rfind("\n", 0, before))
    return Expression(text, frozenset(_WORD.findall(text)).intersection((*VARIABLES, *TABLES)), program)


def _flaw(text: str) -> FlawInText:
    """Return the first thing that is wrong; what follows from it is left out."""
    found = [match for match in _ERROR.finditer(text) if "*error*" not in match[3]]
    if not found:
        return FlawInText("this is not CEL", 1, 1)
    line, column, words = found[0].groups()
    return FlawInText(re.sub(rf"\b{_PACKAGE}\.", "", words.removesuffix(" [INVALID_ARGUMENT]")), int(line), int(column))


def _flaw_in_pattern(pattern: str) -> str:
    """Return what is wrong with a pattern of ``matches``, nothing when CEL takes it: written so, it always failed."""
    values = {"request": message("Request"), "requester": message("Requester")}
    values["requester"].name = pattern
    result = _matching().eval(data=values)
    if result.type().name() == "BOOL":
        return ""
    return "not a pattern (RE2): " + str(result.value()).rpartition("regular expression: ")[2]


@cache
def _matching() -> Any:
    return _environment().compile("request.label.matches(requester.name)")


@cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, timestamp_pb2  # noqa: PLC0415 - see below

    kinds = descriptor_pb2.FieldDescriptorProto
    scalars = {"string": kinds.TYPE_STRING, "int64": kinds.TYPE_INT64, "bool": kinds.TYPE_BOOL}
    known = (timestamp_pb2, duration_pb2)
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="certwright.proto", package=_PACKAGE, syntax="proto3")
    for each in known:
        pool.AddSerializedFile(each.DESCRIPTOR.serialized_pb)
        file.dependency.append(each.DESCRIPTOR.name)
    for name, fields in MESSAGES.items():
        described = file.message_type.add(name=name)
        for number, (word, kind) in enumerate(fields.items(), 1):
            one = described.field.add(name=word, number=number)
            one.label = kinds.LABEL_REPEATED if kind.startswith("*") else kinds.LABEL_OPTIONAL
            plain = kind.removeprefix("*")
            one.type = scalars.get(plain, kinds.TYPE_MESSAGE)
            if plain not in scalars:
                one.type_name = f".{plain}" if "." in plain else f".{_PACKAGE}.{plain}"
    pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def _classes() -> dict[str, Any]:
    from google.protobuf import message_factory  # noqa: PLC0415 - see below

    find = _pool().FindMessageTypeByName
    return {name: message_factory.GetMessageClass(find(f"{_PACKAGE}.{name}")) for name in MESSAGES}


@cache
def _environment() -> Any:
    """Return what compiles. CEL and protobuf take 16 MB: they are loaded when a file has a condition."""
    from cel_expr_python import cel  # noqa: PLC0415 - see above

    variables = {name: cel.Type(f"{_PACKAGE}.{kind}") for name, kind in VARIABLES.items()}
    text, maps = cel.Type.STRING, cel.Type.Map
    variables |= {name: maps(text, maps(text, text)) for name in TABLES}
    return cel.NewEnv(descriptor_pool=_pool(), variables=variables)


ExpressionField = Annotated[Expression, BeforeValidator(Expression.parse), WithJsonSchema({"type": "string"})]
