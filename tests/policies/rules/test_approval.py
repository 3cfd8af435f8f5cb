from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from policies.decision import ApprovalTerms, Approved, Deferred, Denied
from policies.document import DocumentErrors
from policies.profile import file_schema
from tests.fakes.policy import judge


def terms(approval: object, **given: object) -> ApprovalTerms:
    decision = judge({"approval": approval}, **given)
    assert isinstance(decision, Deferred)
    return decision.terms


def test_a_profile_says_who_must_approve() -> None:
    assert terms("manual") == ApprovalTerms()
    full = {"role": "ra-officer", "count": 2, "expires": "7d"}
    assert terms(full) == ApprovalTerms(2, "ra-officer", timedelta(days=7))


def test_nobody_must_approve_where_the_profile_says_so() -> None:
    assert isinstance(judge({"approval": "none"}), Approved)


def test_a_condition_says_what_must_be_approved() -> None:
    approval = {"when": 'csr.key.kind == "rsa"'}
    assert isinstance(judge({"approval": approval}), Approved)
    assert terms(approval, key="rsa:2048").count == 1


@pytest.mark.parametrize("when", ['csr.names.dns[9] == "x"', 'requester.identity == "x"'])
def test_a_condition_without_an_answer_asks_for_approval(when: str) -> None:
    assert terms({"when": when}, requester="password:a\ud800") == ApprovalTerms()


@pytest.mark.parametrize(
    ("approval", "message"),
    [
        ({"count": 0}, "greater than or equal to 1"),
        ({"role": "RA Officers"}, "pattern"),
        ({"when": "csr.kye"}, "undefined field"),
        ({"roles": "x"}, 'unknown key "roles"; did you mean "role"'),
        (7, "must be a mapping"),
    ],
)
def test_a_slip_is_told(approval: Any, message: str) -> None:
    with pytest.raises(DocumentErrors, match=message):
        judge({"approval": approval})


def test_editors_know_both_ways_to_write_it() -> None:
    assert '"manual"' in json.dumps(file_schema()["$defs"]["Sections"]["properties"]["approval"])


def test_who_proves_a_key_and_nothing_else_waits_for_a_person() -> None:
    decision = judge({"evidence": {"any": ["possession"]}, "approval": "manual"}, evidence=["possession"])
    assert isinstance(decision, Deferred)
    assert isinstance(judge({"approval": "manual"}, evidence=["possession"]), Denied)
