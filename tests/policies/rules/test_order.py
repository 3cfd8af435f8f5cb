from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.policy import judge, plan, rules

ACME = {"endpoint": "acme/default", "authorized": ["dns:a.test", "dns:b.test"]}
TWO = {"names": {"dns": {"allowed": ["**.test"], "max": 4}, "ip": {"allowed": ["10.0.0.0/8"]}}}


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        ("", ["dns:b.test", "dns:a.test"]),
        ("CN=a.test", ["dns:b.test"]),
        ("CN=A.TEST", ["dns:a.test", "dns:b.test"]),
        ("CN=a.test,CN=b.test", []),
    ],
)
def test_the_csr_asks_for_what_was_ordered(subject: str, names: list[str]) -> None:
    sections = {**TWO, "subject": {"others": "ignore"}}
    decision = judge(sections, subject=subject, names=names, **ACME)
    assert [str(name) for name in plan(decision).names] == ["dns:a.test", "dns:b.test"]


@pytest.mark.parametrize(
    ("subject", "names"),
    [
        ("", ["dns:a.test"]),
        ("", ["dns:a.test", "dns:b.test", "dns:c.test"]),
        ("", ["dns:a.test", "dns:b.test", "ip:10.0.0.1"]),
        ("CN=c.test", ["dns:a.test", "dns:b.test"]),
        ("CN=a.test,CN=c.test", ["dns:a.test", "dns:b.test"]),
        ("CN=Mallory Inc.", ["dns:a.test", "dns:b.test"]),
        ("", []),
    ],
)
def test_anything_else_is_denied(subject: str, names: list[str]) -> None:
    sections = {**TWO, "subject": {"others": "ignore"}}
    assert rules(judge(sections, subject=subject, names=names, **ACME)) == {"order.names"}


def test_an_address_can_be_ordered() -> None:
    sections = {**TWO, "subject": {"others": "ignore"}}
    decision = judge(sections, endpoint="acme/a", subject="CN=10.0.0.1", names=[], authorized=["ip:10.0.0.1"])
    assert [str(name) for name in plan(decision).names] == ["ip:10.0.0.1"]


def test_an_empty_order_is_denied() -> None:
    assert "order.names" in rules(judge(endpoint="acme/a", subject="", names=[], authorized=[]))


def test_a_device_may_be_named_by_what_it_has_attested() -> None:
    sections = {"evidence": {"all": ["account", "device"]}, "subject": {"allowed": {"CN": {"like": ["*"]}}}}
    given: dict[str, Any] = {"endpoint": "acme/a", "subject": "CN=SN-1", "names": [], "authorized": []}
    assert str(plan(judge(sections, evidence=["account", "device"], **given)).subject) == "CN=SN-1"
    assert rules(judge(sections, evidence=["account"], **given)) == {"evidence", "order.names"}


def test_who_has_no_account_has_ordered_nothing() -> None:
    assert plan(judge(TWO, subject="CN=device")).names


def test_the_ordered_names_are_judged_like_all_others() -> None:
    decision = judge(
        TWO, endpoint="acme/a", subject="", names=["dns:google.example"], authorized=["dns:google.example"]
    )
    assert rules(decision) == {"names.dns"}
