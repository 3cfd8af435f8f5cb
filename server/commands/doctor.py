"""``certwright doctor``: what is wrong or soon will be, each with the way out."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.text import Text

from policies.document import DocumentErrors
from server.app.material import load_material
from server.clock import system_clock
from server.commands.accepted import check_accepted
from server.commands.attestation_roots import check_attestations
from server.commands.checks import (
    Diagnosis,
    Level,
    check_addresses,
    check_certificates,
    check_database,
    check_files,
    check_user,
)
from server.commands.manufacturers import check_manufacturers
from server.commands.places import usual
from server.commands.ports import check_ports
from server.commands.record import ConfigOption
from server.commands.sealing_keys import check_sealing_keys
from server.config import load_config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from server.clock import Clock
    from server.config import Config

_STYLES = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.ERROR: ("✗", "red")}


def doctor(
    config: ConfigOption = None,
) -> None:
    """Look at configuration, files, certificates, database and policy; exit status 1 when something must be done."""
    console = Console(soft_wrap=True, highlight=False)
    diagnoses = list(examine(usual(config), system_clock))
    for diagnosis in diagnoses:
        sign, style = _STYLES[diagnosis.level]
        console.print(Text.assemble((f"{sign} ", style), f"{diagnosis.subject}: {diagnosis.message}"))
        if diagnosis.way_out:
            console.print(Text(f"    {diagnosis.way_out}", style="dim"))
    errors = sum(diagnosis.level is Level.ERROR for diagnosis in diagnoses)
    warnings = sum(diagnosis.level is Level.WARNING for diagnosis in diagnoses)
    console.print(f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}")
    raise typer.Exit(1 if errors else 0)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def examine(path: Path, clock: Clock) -> Iterator[Diagnosis]:
    """Yield what there is to say about a deployment, as far as its configuration can be read."""
    try:
        config = load_config(path)
    except DocumentErrors as errors:
        yield from _problems("configuration", errors)
        return
    yield Diagnosis(Level.OK, "configuration", f"{path} is well-formed")
    yield from _material(config, clock)
    yield from chain(
        check_files(config),
        check_database(config),
        check_accepted(config),
        check_addresses(config),
        check_ports(config),
        check_user(),
    )


def _material(config: Config, clock: Clock) -> Iterator[Diagnosis]:
    try:
        material = load_material(config)
    except DocumentErrors as errors:
        yield from _problems("configuration", errors)
        return
    yield Diagnosis(Level.OK, "policy", f"{len(material.policies.profiles)} profiles, their own tests pass")
    yield from check_certificates(config, material, clock())
    yield from check_manufacturers(config, clock())
    yield from check_sealing_keys(config)
    yield from check_attestations(config, clock())


def _problems(subject: str, errors: DocumentErrors) -> Iterator[Diagnosis]:
    for problem in errors.problems:
        yield Diagnosis(Level.ERROR, subject, problem.message, f"correct it in {problem.location}")
