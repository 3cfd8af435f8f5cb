"""The vocabulary of EST."""

from __future__ import annotations

from server.est.messages import Malformed, Operation
from server.outcome import Problem, Reason


def test_cacerts_is_fetched_and_enrollments_are_posted() -> None:
    assert {operation: operation.methods for operation in Operation} == {
        Operation.CACERTS: ("GET", "HEAD"),
        Operation.CSRATTRS: ("GET", "HEAD"),
        Operation.CRLS: ("GET", "HEAD"),
        Operation.EECERTS: ("GET", "HEAD"),
        Operation.SIMPLEENROLL: ("POST",),
        Operation.SIMPLEREENROLL: ("POST",),
        Operation.SERVERKEYGEN: ("POST",),
        Operation.FULLCMC: ("POST",),
    }


def test_what_is_malformed_is_a_problem_with_its_reason() -> None:
    malformed = Malformed(Reason.BAD_PROOF, "no proof")

    assert malformed.problem == Problem(Reason.BAD_PROOF, "no proof")
    assert str(malformed) == "no proof"
