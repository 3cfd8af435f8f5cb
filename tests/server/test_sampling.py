from __future__ import annotations

from itertools import count

import pytest
from structlog.testing import capture_logs

from ca.issuer import Permit
from ca.lint import Linter, LintFinding
from server.sampling import Sampling
from tests.fakes.issuer import make_issuer, make_plan

BAD = LintFinding("pkix.bad", "error", "certificate.x", "so")


@pytest.mark.parametrize(("pause", "looked_at"), [(0, 7), (3, 3), (100, 1)])
async def test_the_first_is_looked_at_and_then_one_after_each_pause(pause: float, looked_at: int) -> None:
    seen: list[bytes] = []

    def examine(certificate: bytes) -> tuple[LintFinding, ...]:
        seen.append(certificate)
        return ()

    seconds = count(100)
    sampling = Sampling(examine, lambda: float(next(seconds)), pause)
    for number in range(7):
        sampling.offer("device", bytes([number]))
        await sampling.drain()
    assert len(seen) == looked_at
    assert seen[0] == b"\0"


async def test_what_comes_while_one_is_looked_at_is_let_go() -> None:
    seen: list[bytes] = []

    def examine(certificate: bytes) -> tuple[LintFinding, ...]:
        seen.append(certificate)
        return ()

    sampling = Sampling(examine, pause=0)
    for number in range(5):
        sampling.offer("device", bytes([number]))
    await sampling.drain()
    assert seen == [b"\0"]


async def test_a_finding_is_an_alarm() -> None:
    with capture_logs() as events:
        sampling = Sampling(lambda _: (BAD,), pause=0)
        sampling.offer("device", b"\1\2")
        await sampling.drain()
    (alarm,) = events
    assert (alarm["event"], alarm["log_level"], alarm["profile"]) == ("lint_alarm", "error", "device")
    assert (alarm["findings"], alarm["certificate"]) == (["pkix.bad certificate.x so"], "0102")


async def test_a_linter_that_breaks_is_told_and_stops_nothing() -> None:
    def broken(_certificate: bytes) -> tuple[LintFinding, ...]:
        raise RuntimeError("broken")

    with capture_logs() as events:
        sampling = Sampling(broken, pause=0)
        sampling.offer("device", b"")
        await sampling.drain()
    assert [event["event"] for event in events] == ["lint_sample_failed"]


async def test_a_certificate_that_we_sign_is_clean_and_one_with_a_fault_is_not() -> None:
    linter, issuer = Linter(), make_issuer()
    plan = make_plan()
    octets = await issuer.issue(Permit("one", plan, 7), plan, 7)
    assert linter.examine(octets) == ()
    assert linter.examine(octets.replace(b"\x55\x1d\x25", b"\x55\x1d\x0f", 1))
    assert linter.examine(b"garbage")
