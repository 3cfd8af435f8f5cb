from __future__ import annotations

import io
import platform

import pytest
from rich.console import Console

from server.bench.load import Load
from server.bench.measure import Cost, Measurement
from server.bench.report import BUDGETS, report


def printed(measurement: Measurement, title: str = "SCEP PKCSReq", stored: int = 0) -> str:
    out = io.StringIO()
    Console(file=out, width=100, color_system="truecolor", force_terminal=True).print(
        report(title, measurement, concurrency=8, stored=stored)
    )
    return out.getvalue()


LOAD = Load((b"", b""), (0.010, 0.020), (), 0.5)


def test_rate_latencies_cost_and_budget_stand_side_by_side() -> None:
    text = printed(Measurement(LOAD, Cost(1.234, 80 * 2**20, 0.123)))
    for expected in ("2, 8 at once", "4 /s", "20.0 ms", "1.23 ms", "2.0 ms", "80 MiB", "0.123 ms", "0.080 ms"):
        assert expected in text


def test_what_was_in_the_store_is_told_where_it_was_filled() -> None:
    measurement = Measurement(LOAD, None)
    assert "1,000,000" in next(line for line in printed(measurement, stored=10**6).splitlines() if "stored" in line)
    assert "stored" not in printed(measurement)


def test_a_cost_is_also_told_for_the_machine_that_the_budgets_were_written_for() -> None:
    text = printed(Measurement(LOAD, Cost(3.0, 0, 0.160)))
    line = next(line for line in text.splitlines() if "at that speed" in line)
    assert "1.50 ms" in line
    assert "2.0 ms" in line


@pytest.mark.parametrize(("milliseconds", "color"), [(1.0, "[32m"), (2.0, "[32m"), (2.1, "[31m")])
def test_a_cost_over_budget_is_red(milliseconds: float, color: str) -> None:
    line = next(
        line for line in printed(Measurement(LOAD, Cost(milliseconds, 0, 0.08))).splitlines() if "server CPU" in line
    )
    assert color in line


def test_a_cost_says_by_which_python() -> None:
    line = next(line for line in printed(Measurement(LOAD, Cost(1.0, 0, 0.08))).splitlines() if "Python" in line)
    assert f"{platform.python_version()} of {platform.python_build()[1]}" in line


def test_failures_are_red() -> None:
    line = next(
        line for line in printed(Measurement(Load((None,), (), ("no",), 1.0), None)).splitlines() if "failures" in line
    )
    assert "[31m" in line


def test_a_server_elsewhere_has_no_line_of_cost() -> None:
    assert "server CPU" not in printed(Measurement(LOAD, None))


@pytest.mark.parametrize("title", BUDGETS)
def test_every_title_has_a_budget(title: str) -> None:
    assert f"{BUDGETS[title]:.1f} ms" in printed(Measurement(LOAD, Cost(0.1, 0, 0.08)), title)
