from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.expressions import Expression
from policies.literals import literals


def found(text: str, function: str = "matches") -> list[tuple[str, str]]:
    """Return the literals, each with what stands in its place."""
    compiled = Expression.parse(text)._program.serialize()
    return [(literal, text[before:][: len(literal) + 2]) for literal, before in literals(compiled, function)]


@pytest.mark.parametrize(
    "text",
    [
        "request.label.matches('a+')",
        "matches(request.label, 'a+')",
        "!(csr.ca || request.label.matches('a+'))",
        "csr.names.dns.all(name, name.matches('a+'))",
        "csr.names.dns.filter(name, name.matches('a+')).size() == 0",
        "csr.names.dns.map(name, name.matches('a+') ? 1 : 2) == []",
        "[request.label.matches('a+')] == [true]",
        "{'x': request.label.matches('a+')}['x']",
        "{request.label.matches('a+'): true}[true]",
        "has(renewed.subject) && request.label.matches('a+')",
        "'ü' == '' || request.label.matches('a+')",
    ],
)
def test_a_literal_is_found_wherever_it_stands_with_its_place(text: str) -> None:
    assert found(text) == [("a+", "'a+'")]


def test_several_are_found_and_what_is_worked_out_is_none() -> None:
    several = "request.label.matches('a') && matches(request.label, 'b') && request.label.matches('c' + request.label)"
    assert found(several) == [("a", "'a'"), ("b", "'b'")]
    assert found("request.label.startsWith('a')") == []
    assert found("request.label.startsWith('a')", "startsWith") == [("a", "'a'")]


@given(st.binary())
def test_what_is_no_expression_is_told(octets: bytes) -> None:
    with pytest.raises(ValueError, match=r"expression|codec"):
        list(literals(octets, "matches"))
