"""The figures of a run beside what they should be."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from server.bench.measure import Measurement

BUDGETS = {
    "EST simpleenroll, connections kept alive": 0.8,
    "EST simpleenroll, a new TLS connection each": 1.6,
    "EST simplereenroll with certificates, connections kept alive": 0.8,
    "EST simplereenroll with certificates, a new TLS connection each": 1.6,
    "SCEP PKCSReq": 2.0,
    "ACME newOrder to certificate, http-01": 3.0,
}
"""CPU milliseconds of the server for one enrollment, with everything on disk before the reply."""

YARDSTICK = 0.08
"""CPU milliseconds of one P-256 verification on the machine that the budgets were written for."""


def report(title: str, measurement: Measurement, *, concurrency: int, stored: int = 0) -> Table:
    """Return the table that is printed.

    Args:
        title: what was measured, one of `BUDGETS`.
        measurement: the figures.
        concurrency: how many enrollments were under way at any moment.
        stored: how many certificates were put into the store for it.
    """
    load, cost = measurement.load, measurement.cost
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("measured", justify="right")
    table.add_column("budget", justify="right")
    table.add_row("enrollments", f"{len(load.latencies)}, {concurrency} at once", "")
    if stored:
        table.add_row("stored before", f"{stored:,}", "")
    table.add_row("failures", str(len(load.failures)), "0", style="red" if load.failures else None)
    table.add_row("rate", f"{load.rate:.0f} /s", "")
    for part in (0.5, 0.95, 0.99):
        table.add_row(f"p{part * 100:.0f}", f"{load.percentile(part) * 1000:.1f} ms", "")
    if cost:
        within = cost.cpu_milliseconds <= BUDGETS[title]
        cpu, budget = f"{cost.cpu_milliseconds:.2f} ms", f"{BUDGETS[title]:.1f} ms"
        table.add_row("server CPU for each", cpu, budget, style="green" if within else "red")
        table.add_row("a P-256 verification meanwhile", f"{cost.yardstick:.3f} ms", f"{YARDSTICK:.3f} ms", style="dim")
        scaled = cost.cpu_milliseconds * YARDSTICK / cost.yardstick
        table.add_row("server CPU at that speed", f"{scaled:.2f} ms", budget, style="dim")
        table.add_row("server peak memory", f"{cost.peak_memory / 2**20:.0f} MiB", "")
        # How the interpreter was built makes a tenth and more; of two with one number, the build tells which it was.
        table.add_row("Python", f"{platform.python_version()} of {platform.python_build()[1]}", "", style="dim")
    return table
