from __future__ import annotations

from tests.fakes.policy import approved, judge, rules


def test_a_certificate_for_nobody_is_denied() -> None:
    assert rules(judge(subject="", names=[])) == {"identity"}


def test_a_subject_or_a_name_is_enough() -> None:
    assert approved(judge(subject="CN=a", names=[]))
    assert approved(judge(subject="", names=["dns:a.test"]))
