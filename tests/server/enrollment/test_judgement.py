from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ca.lint import LintFinding
from policies.decision import Approved, Decision
from server.outcome import Reason
from tests.fakes.door import Door, FlakyStore, ask
from tests.fakes.record import asked, issued, problem, stored
from tests.fakes.scripted_policy import ScriptedPolicy

if TYPE_CHECKING:
    from policies.request import EnrollmentRequest


async def test_an_error_of_the_policy_is_a_no(store: FlakyStore) -> None:
    def broken(request: EnrollmentRequest) -> Any:
        raise ZeroDivisionError

    outcome = await Door(store, decide=broken).submit(ask())
    assert problem(outcome).reason is Reason.INTERNAL
    assert "ZeroDivisionError" not in problem(outcome).message
    assert "ZeroDivisionError" in ((await asked(store))[0].detail or "")


async def test_an_issuer_that_is_not_configured_is_internal(store: FlakyStore) -> None:
    assert problem(await Door(store, issuers={}).submit(ask())).reason is Reason.INTERNAL


async def test_what_lint_finds_is_not_signed(store: FlakyStore) -> None:
    class Strict:
        def lint(self, *_: object, full: bool) -> tuple[LintFinding, ...]:
            return (LintFinding("pkix.bad", "error", "certificate", "much too bad"),)

    door = Door(store, linter=Strict())
    outcome = await door.submit(ask())
    assert problem(outcome).reason is Reason.POLICY
    (request,) = await asked(store)
    assert "pkix.bad" in request.findings[0].value
    assert door.issuer.issued == []


@pytest.mark.parametrize("wanted", [True, False])
async def test_a_profile_that_wants_every_certificate_linted_has_it(store: FlakyStore, *, wanted: bool) -> None:
    asked_for: list[bool] = []

    class Listening:
        def lint(self, *_: object, full: bool) -> tuple[LintFinding, ...]:
            asked_for.append(full)
            return ()

    scripted = ScriptedPolicy()

    def decide(request: EnrollmentRequest) -> Decision:
        decision = scripted.decide(request)
        assert isinstance(decision, Approved)
        return decision._replace(full_lint=wanted)

    issued(await Door(store, linter=Listening(), decide=decide).submit(ask()))
    assert asked_for == [wanted]


async def test_a_certificate_has_the_digest_of_its_policy(store: FlakyStore) -> None:
    await Door(store).submit(ask())
    (certificate,) = await stored(store)
    assert certificate.policy_digest == "0" * 64
