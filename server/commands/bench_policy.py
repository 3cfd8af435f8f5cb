"""``certwright bench policy``: what reading policy files and deciding by them costs."""

from __future__ import annotations

from importlib import resources
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from server.bench.measure import yardstick
from server.bench.policy import many, measure_deciding, measure_loading, question
from server.bench.report import YARDSTICK

LOADING, DECIDING = 1.0, 0.1
"""Seconds for five hundred profiles, and milliseconds for a decision without look-ups."""

_QUESTIONS = (
    ("a sensor by EST", "iot-device", {"endpoint": "est/default", "subject": "CN=sensor-17", "names": ["dns:s.test"]}),
    ("a router by SCEP", "network-device", {"endpoint": "scep/default", "key": "rsa:2048", "subject": "CN=gw1"}),
    ("a server by ACME", "tls-server", {"endpoint": "acme/default", "names": ["dns:www.example.com"]}),
    (
        "a device from the factory, with rules in CEL",
        "ldevid",
        {
            "endpoint": "est/onboarding",
            "evidence": ["certificate"],
            "certificate": {"subject": "serialNumber=SX-1"},
            "subject": "serialNumber=SX-1",
            "lookup": {"purchase": {"state": "stock"}},
        },
    ),
)


def policy(
    *,
    profiles: Annotated[int, typer.Option(min=14, help="How many profiles are read.")] = 500,
    count: Annotated[int, typer.Option(min=1, help="How many decisions are measured.")] = 5000,
) -> None:
    """Read many profiles, made of the shipped ones with all their tests, and decide by them; CPU time of each."""
    folder = resources.files("policies") / "profiles"
    texts = [
        entry.read_text(encoding="utf-8")
        for part in (folder, folder / "gallery")
        for entry in sorted(part.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".yaml")
    ]
    files = many(texts, profiles)
    measure_loading(many(texts, len(texts)))  # CEL and the like are loaded once
    alone = measure_loading({name: text.partition("\ntests:")[0] for name, text in files.items()})
    loading = measure_loading(files)
    names = {name.rpartition("-")[0]: name for name in loading.loaded.profiles}
    table = Table("figure", "CPU time", "budget")
    budget = f"{LOADING * profiles / 500:.2f} s"
    table.add_row(f"reading {alone.profiles} profiles", f"{alone.reading:.2f} s", budget)
    together = loading.reading + loading.testing
    table.add_row(f"the same with {loading.tests} tests inside them, read and run", f"{together:.2f} s", "")
    for words, name, given in _QUESTIONS:
        cost = measure_deciding(loading.loaded, question(names[name], **given), count) * 1000
        table.add_row(f"deciding on {words}", f"{cost:.3f} ms", f"{DECIDING:.3f} ms" if "CEL" not in words else "")
    table.add_row("a P-256 verification now", f"{yardstick():.3f} ms", f"{YARDSTICK:.3f} ms", style="dim")
    Console(soft_wrap=True).print(table)
