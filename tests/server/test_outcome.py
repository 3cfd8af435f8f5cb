from __future__ import annotations

from server.outcome import Problem, Reason


def test_the_event_of_a_refusal_has_what_the_requester_is_told_and_no_more() -> None:
    problem = Problem(Reason.POLICY, "no: " + "x" * 400, detail="the cause, for administrators")
    assert problem.notes() == {"outcome": "refused", "reason": "policy", "why": "no: " + "x" * 296}
