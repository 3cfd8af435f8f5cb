"""The texts that stand in a CEL expression where a function takes its last argument, with their places.

A compiled expression is written by the compiler as a ``cel.expr.CheckedExpr`` (https://github.com/cel-expr/cel-spec,
``proto/cel/expr``) in protobuf's encoding. It is read here without the generated classes, which nothing else needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Numbers of fields.
_ANY_VALUE, _CHECKED_EXPR, _SOURCE_INFO, _POSITIONS = 2, 4, 5, 4
_ID, _CONSTANT, _CALL = 2, 3, 6
_STRING, _FUNCTION, _ARGUMENT = 6, 2, 3
_NESTED = {
    5: ((1,),),  # select: the operand
    _CALL: ((1,), (_ARGUMENT,)),  # the target and the arguments
    7: ((1,),),  # list: the elements
    8: ((2, 3), (2, 4)),  # struct: keys and values of the entries
    9: ((2,), (4,), (5,), (6,), (7,)),  # comprehension: range, first value, condition, step, result
}
"""By which fields further expressions are found inside an expression of each kind."""
_VARINT, _DELIMITED = 0, 2
_SIZES = {1: 8, 5: 4}
"""Octets of the numbers of fixed size."""


def literals(compiled: bytes, function: str) -> Iterator[tuple[str, int]]:
    """Yield each literal text that a function is given as its last argument, and how many characters are before it.

    Args:
        compiled: a CheckedExpr, packed into an Any, as CEL's compiler serialises it.
        function: the name of the function.

    Raises:
        ValueError: it is none.
    """
    try:
        parts = {number: octets for number, _, octets in _fields(_last(compiled, _ANY_VALUE))}
        places = dict(map(_place, _all(parts[_SOURCE_INFO], _POSITIONS)))
        for expression in _expressions(parts[_CHECKED_EXPR]):
            for call in _all(expression, _CALL):
                arguments = _all(call, _ARGUMENT)
                if _last(call, _FUNCTION).decode() == function and arguments:
                    for constant in _all(arguments[-1], _CONSTANT):
                        yield from ((text.decode(), places[_number(arguments[-1])]) for text in _all(constant, _STRING))
    except (IndexError, KeyError) as error:
        raise ValueError("not a compiled expression") from error


def _place(entry: bytes) -> tuple[int, int]:
    """Return the number of an expression and how many characters are before it; zeros are left out."""
    found = {number: value for number, value, _ in _fields(entry)}
    return found.get(1, 0), found.get(2, 0)


def _number(expression: bytes) -> int:
    return next(value for number, value, _ in _fields(expression) if number == _ID)


def _expressions(expression: bytes) -> Iterator[bytes]:
    """Yield an expression and all that are inside it."""
    yield expression
    for kind, paths in _NESTED.items():
        for node in _all(expression, kind):
            for path in paths:
                found = [node]
                for number in path:
                    found = [each for one in found for each in _all(one, number)]
                for one in found:
                    yield from _expressions(one)


def _all(message: bytes, wanted: int) -> list[bytes]:
    return [octets for number, _, octets in _fields(message) if number == wanted]


def _last(message: bytes, wanted: int) -> bytes:
    return _all(message, wanted)[-1]


def _fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the fields of a message: the number, and the value of an integer or the octets of anything else."""
    offset = 0
    while offset < len(message):
        key, offset = _varint(message, offset)
        number, form = key >> 3, key & 7
        value, octets = 0, b""
        if form == _VARINT:
            value, offset = _varint(message, offset)
        else:
            size, offset = _varint(message, offset) if form == _DELIMITED else (_SIZES[form], offset)
            octets, offset = message[offset : offset + size], offset + size
        yield number, value, octets


def _varint(message: bytes, offset: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        octet = message[offset]
        offset += 1
        value |= (octet & 0x7F) << shift
        if octet < 0x80:
            return value, offset
        shift += 7
