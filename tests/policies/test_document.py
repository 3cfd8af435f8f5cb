from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, PlainValidator

from policies.decision import Location
from policies.document import DocumentErrors, DocumentProblem, FormatVersion, Strict, did_you_mean, read_document


class Local(Strict):
    type: Literal["local"]
    key_file: str


class Remote(Strict):
    type: Literal["remote"]
    url: str


class Listener(Strict):
    address: str = "127.0.0.1"
    port: int


class Server(Strict):
    version: Literal[1] = 1
    format: FormatVersion = 1
    seconds: Annotated[float, Field(gt=0)] = 1
    times: dict[str, int | float] = Field(default_factory=dict)
    name: str = ""
    file: Path = Path()
    debug: bool = False
    ports: tuple[int, ...] = ()
    some: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)
    pair: tuple[Listener, int] | None = None
    listeners: dict[str, Listener] = Field(default_factory=dict)
    issuers: dict[str, Annotated[Local | Remote, Field(discriminator="type")]] = Field(default_factory=dict)


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentErrors) as caught:
        read_document(text, "f.yaml", Server)
    return str(caught.value).splitlines()


def test_a_document_is_read_into_the_model_with_its_places() -> None:
    document = read_document("version: 1\nlisteners:\n  https:\n    port: 8443\n", "f.yaml", Server)
    assert document.value.listeners["https"].port == 8443
    assert document.locate(("listeners", "https", "port")) == Location("f.yaml", 4, 5)


def test_a_place_that_is_not_in_the_file_is_that_of_what_is_around_it() -> None:
    document = read_document("listeners:\n  https:\n    port: 8443\n", "f.yaml", Server)
    assert document.locate(("listeners", "https", "address")) == Location("f.yaml", 2, 3)


def test_words_like_no_are_text_and_become_a_boolean_only_where_one_is_wanted() -> None:
    document = read_document("name: no\ndebug: no\n", "f.yaml", Server)
    assert (document.value.name, document.value.debug) == ("no", False)


def test_all_errors_come_at_once_in_the_order_of_the_file() -> None:
    text = "version: 2\nports: [1, x]\nname: 12\nlisteners: {https: {adress: a}}\n"
    assert problems(text) == [
        "f.yaml:1:10: version: input should be 1 (here: 2)",
        'f.yaml:2:12: ports[1]: must be a whole number, not "x"',
        "f.yaml:3:7: name: must be text, not 12: put it in quotes",
        'f.yaml:4:13: listeners.https: "port" is missing',
        'f.yaml:4:21: unknown key "adress"; did you mean "address"?',
    ]


def test_an_unknown_key_far_from_all_others_lists_what_is_known() -> None:
    (line,) = problems("listeners: {https: {port: 1, zzzz: 2}}")
    assert line == 'f.yaml:1:30: unknown key "zzzz"; known here: address, port'


def test_an_unknown_key_in_a_union_is_suggested_from_its_alternatives() -> None:
    (line,) = problems("issuers: {a: {type: local, key_file: k, keyfile: l}}")
    assert line == 'f.yaml:1:41: unknown key "keyfile"; did you mean "key_file"?'


def test_an_unknown_key_inside_a_list_is_found() -> None:
    (line,) = problems("pair: [{port: 1, prt: 2}, 3]")
    assert line.endswith('unknown key "prt"; did you mean "port"?')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ports: 5", "f.yaml:1:8: ports: must be a list, like [5], not 5"),
        ("ports: {a: 1}", "f.yaml:1:1: ports: must be a list, not a mapping"),
        ("listeners: []", "f.yaml:1:1: listeners: must be a mapping (key: value), not a list"),
        ("name: [a]", "f.yaml:1:1: name: must be text, not a list: write one value"),
        ("name:", "f.yaml:1:6: name: a value is missing"),
        ("issuers: {a: {type: remot}}", "f.yaml:1:11: issuers.a: \"type\" must be one of 'local', 'remote'"),
        ("ports: [[]]", "f.yaml:1:9: ports[0]: must be a whole number, not a list"),
        ("ports: [1.5]", "f.yaml:1:9: ports[0]: must be a whole number, not 1.5"),
        ("ports: [true]", "f.yaml:1:9: ports[0]: must be a whole number, not true"),
        ("ports: ['1']", 'f.yaml:1:9: ports[0]: must be a whole number, not "1"'),
        ("ports: [1.0]", "f.yaml:1:9: ports[0]: must be a whole number, not 1.0"),
        ("listeners: {a: {port: true}}", "f.yaml:1:23: listeners.a.port: must be a whole number, not true"),
        ("seconds: true", "f.yaml:1:10: seconds: must be a number, not true"),
        ("seconds: '8'", 'f.yaml:1:10: seconds: must be a number, not "8"'),
        ("format: true", "f.yaml:1:9: format: must be the number 1, not true"),
        ("format: 1.0", "f.yaml:1:9: format: must be the number 1, not 1.0"),
        ("format: '1'", 'f.yaml:1:9: format: must be the number 1, not "1"'),
        ("debug: maybe", 'f.yaml:1:8: debug: must be true or false, not "maybe"'),
        ("debug: []", "f.yaml:1:1: debug: must be true or false, not a list"),
        ("file: []", "f.yaml:1:1: file: must be the path of a file or folder, not a list"),
        ("some: []", "f.yaml:1:1: some: must have at least 1 item"),
        ("issuers: {a: {}}", 'f.yaml:1:11: issuers.a: "type" is missing, by which the others are known'),
        ("<<: {name: a}", "f.yaml:1:1: merge keys (<<) are not taken: write the keys themselves"),
        ("name:\n\t- a", "f.yaml:2:1: not YAML: a tab; indent with spaces"),
        ('name: "a\\0"', "f.yaml:1:7: the character NUL stands in no text here"),
        ("just text", 'f.yaml:1:1: must be a mapping (key: value), not "just text"'),
        ("", "f.yaml:1:1: the file is empty"),
    ],
)
def test_messages_speak_to_who_edits_the_file(text: str, message: str) -> None:
    assert problems(text) == [message]


def test_seconds_are_whole_or_not() -> None:
    document = read_document("seconds: 8\ntimes: {a: 1, b: 1.5}\nformat: 1\n", "f.yaml", Server)
    assert (document.value.seconds, document.value.times, document.value.format) == (8, {"a": 1, "b": 1.5}, 1)


def test_a_message_does_not_repeat_a_value_that_is_very_long() -> None:
    (line,) = problems(f"version: {'x' * 100_000}")
    assert len(line) < 1200
    assert re.search(r"… \(100\d\d\d characters\)$", line)


def test_a_list_is_not_called_short_because_its_items_are_wrong() -> None:
    (line,) = problems("some: [x]")
    assert "whole number" in line
    (line,) = problems("some: []")
    assert "at least 1 item" in line


def test_malformed_yaml_is_a_problem_with_a_place() -> None:
    (line,) = problems("name: [a\nversion: 1")
    assert line.startswith("f.yaml:2:")
    assert "not YAML" in line


def test_the_same_problem_is_reported_once() -> None:
    problem = DocumentProblem(Location("f", 1, 1), "x")
    assert DocumentErrors([problem, problem]).problems == (problem,)


def test_nothing_is_suggested_when_nothing_is_known() -> None:
    assert not did_you_mean("word", [])


class Odd(Strict):
    hook: Callable[[], None] | None = None
    other: Annotated[object, PlainValidator(lambda value: value)] = object()
    name: str = ""


def test_a_model_that_no_schema_describes_still_has_suggestions() -> None:
    with pytest.raises(DocumentErrors, match=r'did you mean "name"\?'):
        read_document("nmae: x", "f.yaml", Odd)


@given(st.one_of(st.text(), st.text(alphabet="ab:-[]{}&*!\"'|>#%?, \n\t0\\xU~<", max_size=60)))
def test_any_text_is_a_document_or_document_errors(text: str) -> None:
    try:
        read_document(text, "f.yaml", Server)
    except DocumentErrors as errors:
        found = errors.problems
    else:
        return
    assert found
    assert all(problem.location.line > 0 for problem in found)
