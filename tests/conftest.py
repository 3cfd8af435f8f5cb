"""What holds for every test: how hypothesis searches, and that a skipped test may count as a failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Generator

# The machine decides how long an example takes, so there is no deadline; what is found is printed to be repeated.
settings.register_profile("certwright", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", parent=settings.get_profile("certwright"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "certwright"))

NO_SKIPS = os.environ.get("CERTWRIGHT_NO_SKIPS") == "1"
"""Set by the build: there every foreign client is installed, so whatever skips is broken."""


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if NO_SKIPS and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CERTWRIGHT_NO_SKIPS=1 forbids: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name values that differ from run to run by their argument: processes must agree on the names of the tests."""
    match val:
        case bytes() if len(val) > 16:
            return argname
        case set() | frozenset():
            return "{" + ", ".join(sorted(map(str, val))) + "}"
        case _:
            return None
