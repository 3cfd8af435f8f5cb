"""Who failed too often must wait."""

from __future__ import annotations

from server.credentials.attempts import Attempts


class _Seconds:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_failures_cost_nothing_and_then_the_wait_doubles_up_to_the_longest() -> None:
    attempts = Attempts(_Seconds(), free=3, longest=10)
    waits = []
    for _ in range(8):
        attempts.failed("who")
        waits.append(attempts.wait("who"))
    assert waits == [0, 0, 1, 2, 4, 8, 10, 10]
    assert attempts.wait("another") == 0


def test_the_wait_ends() -> None:
    seconds = _Seconds()
    attempts = Attempts(seconds, free=1)
    attempts.failed("who")
    seconds.now += 0.5
    assert attempts.wait("who") == 1
    seconds.now += 0.5
    assert attempts.wait("who") == 0


def test_success_forgets_the_failures() -> None:
    attempts = Attempts(_Seconds(), free=2)
    attempts.failed("who")
    attempts.succeeded("who")
    attempts.failed("who")
    assert attempts.wait("who") == 0


def test_the_least_recent_failures_are_forgotten_when_there_are_too_many() -> None:
    attempts = Attempts(_Seconds(), free=1, capacity=2)
    for who in ("first", "second", "first", "third"):
        attempts.failed(who)
    assert [attempts.wait(who) > 0 for who in ("first", "second", "third")] == [True, False, True]
