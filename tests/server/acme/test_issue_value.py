"""The grammar of CAA's issue values (RFC 8659 section 4.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.acme.challenges.issue_value import IssueValue, parse_issue_value


@pytest.mark.parametrize(
    ("text", "domain", "parameters"),
    [
        ("ca.test", "ca.test", ()),
        ("  CA.Test \t", "ca.test", ()),
        (";", "", ()),
        ("", "", ()),
        (" ; ", "", ()),
        ("ca.test;", "ca.test", ()),
        ("ca.test; policy=ev", "ca.test", (("policy", "ev"),)),
        ("ca.test ; a = 1 ; B-2=x=y", "ca.test", (("a", "1"), ("b-2", "x=y"))),
        ("ca.test; a=", "ca.test", (("a", ""),)),
        ("a-b--c.test", "a-b--c.test", ()),
        ("ca.test; a=1; a=2", "ca.test", (("a", "1"), ("a", "2"))),
    ],
)
def test_what_follows_the_grammar_is_read(text: str, domain: str, parameters: tuple[tuple[str, str], ...]) -> None:
    assert parse_issue_value(text) == IssueValue(domain, parameters)


@pytest.mark.parametrize(
    "text",
    [
        *("ca_1.test", "-ca.test", "ca.test.", "ca..test", "ca.test foo", "ca.test; a", "ca.test; =1"),
        *("ca.test; a=1; ;", "ca.test; a=b c", "ca.test; a=\xfc", "ca.test; -a=1", "ca.test;; a=1", "%%%"),
    ],
)
def test_what_does_not_is_nothing(text: str) -> None:
    assert parse_issue_value(text) is None


@given(st.text())
def test_any_text_is_read_or_not(text: str) -> None:
    parsed = parse_issue_value(text)
    assert parsed is None or parsed.domain == parsed.domain.lower()
