"""Reasons as CMC calls them."""

from __future__ import annotations

import pytest

from policies.decision import Finding, Location
from server.est.cmc import problems
from server.est.cmc.messages import CmcFault, FailInfo, Status, malformed
from server.outcome import Problem, Reason


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_name_in_cmc(reason: Reason) -> None:
    told = problems.refused(Problem(reason, "why"), 3)
    assert (told.status, told.parts, told.text) == (Status.FAILED, (3,), "why")
    assert told.fail is not None


@pytest.mark.parametrize(
    ("reason", "fail"),
    [
        (Reason.BAD_PROOF, FailInfo.POP_FAILED),
        (Reason.BAD_CREDENTIALS, FailInfo.BAD_IDENTITY),
        (Reason.CERTIFICATE_REJECTED, FailInfo.BAD_IDENTITY),
        (Reason.BAD_ALGORITHM, FailInfo.BAD_ALG),
        (Reason.STORE_UNAVAILABLE, FailInfo.TRY_LATER),
        (Reason.INTERNAL, FailInfo.INTERNAL_CA_ERROR),
        (Reason.POLICY, FailInfo.BAD_REQUEST),
    ],
)
def test_clients_are_told_what_they_can_do_something_about(reason: Reason, fail: FailInfo) -> None:
    assert problems.fail_info(reason) is fail


def test_of_findings_the_messages_are_told_and_neither_values_nor_limits() -> None:
    finding = Finding("names.dns", "this name is not allowed", Location("x.yaml", 1, 1), value="secret")
    told = problems.refused(Problem(Reason.POLICY, "no", (finding,)), 1)
    assert told.text == "this name is not allowed [names.dns]"


def test_what_is_not_supported_has_no_fail_info() -> None:
    problem = Problem(Reason.MALFORMED, "no")
    assert problems.faulty(CmcFault(None, problem, (4,), Status.NO_SUPPORT)).fail is None
    assert problems.faulty(CmcFault(None, problem)).fail is FailInfo.BAD_REQUEST
    assert problems.faulty(malformed("no", 5)).parts == (5,)
