"""``certwright policy``: check policy files, run the tests inside them, explain what they would decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from ca.csr import MalformedCsr
from policies.decision import Denied
from policies.document import DocumentErrors, DocumentProblem
from policies.posture import Severity, concerns
from policies.profile import file_schema
from policies.profile_set import ProfileSet
from policies.request import EndpointName
from policies.trial import failed_tests
from server.clock import system_clock
from server.commands import record
from server.commands.explanation import print_explanation
from server.commands.history import audit, diff, explain_past
from server.commands.importing import import_profile
from server.commands.junit import junit_xml
from server.commands.question import UnanswerableQuestion, read_certificate, read_csr, request_for
from server.commands.record import ConfigOption
from server.commands.surroundings import Surroundings

_STYLES = {Severity.HIGH: "red", Severity.MEDIUM: "yellow", Severity.LOW: "dim"}

app = typer.Typer(no_args_is_help=True, help="Check, test, explain and compare policy files.")
app.command("import")(import_profile)
app.command()(diff)
app.command()(audit)

Paths = Annotated[
    list[Path] | None,
    typer.Argument(help="Policy files, or folders of them; without any, those that the configuration names."),
]


@app.command()
def check(
    paths: Paths = None,
    *,
    fail_on: Annotated[
        Severity | None, typer.Option(help="End with status 1 when there is a weak spot of this severity or above.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Read policy files and run their tests; print everything that is wrong, each with file, line and column.

    Then print the weak spots: what an attacker could do with these files.
    """
    console = Console(soft_wrap=True, highlight=False)
    try:
        surroundings = Surroundings.find(config)
        files = surroundings.files(paths or [])
        profiles = surroundings.profiles(files)
    except DocumentErrors as errors:
        record.turn_away(str(errors))
    failures = [problem for file in files for problem in failed_tests(file, surroundings.ceilings)]
    if failures:
        record.turn_away(str(DocumentErrors(failures)))
    for file in files:
        tests = f"{len(file.tests)} tests pass" if file.tests else "no tests inside"
        console.print(Text.assemble(("✓ ", "green" if file.tests else "yellow"), f"{file.file}: {tests}"))
        for profile in file.profiles:
            endpoints = ", ".join(map(str, profile.sections.endpoints))
            console.print(Text(f"    {profile.name}: for {endpoints}, signed by {profile.sections.issuer}"))
    console.print(f"{len(profiles.profiles)} profiles, digest {profiles.digest[:16]}")
    found = [concern for file in files for concern in concerns(file)]
    for concern in found:
        console.print(Text(str(concern), style=_STYLES[concern.severity]))
    order = list(Severity)
    if fail_on is not None and any(order.index(each.severity) <= order.index(fail_on) for each in found):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of policy files, by which editors complete and underline."""
    typer.echo(json.dumps(file_schema(), indent=2))


@app.command("test")
def run_tests(
    paths: Paths = None,
    *,
    junit: Annotated[Path | None, typer.Option(help="Write the outcomes there as well, as JUnit XML.")] = None,
    config: ConfigOption = None,
) -> None:
    """Run the tests inside policy files and print each with its outcome."""
    console = Console(soft_wrap=True, highlight=False)
    try:
        surroundings = Surroundings.find(config)
        files = surroundings.files(paths or [])
        surroundings.profiles(files)
    except DocumentErrors as errors:
        record.turn_away(str(errors))
    outcomes = [
        (file, {problem.location: problem for problem in failed_tests(file, surroundings.ceilings)}) for file in files
    ]
    for file, failed in outcomes:
        console.print(Text(file.file, style="bold"))
        for case, place in file.tests:
            _print_test(console, case.name, failed.get(place))
    failures, number = sum(len(failed) for _, failed in outcomes), sum(len(file.tests) for file in files)
    if junit is not None:
        _write(junit, junit_xml(outcomes))
    console.print(f"{number - failures} of {number} tests pass")
    raise typer.Exit(1 if failures else 0)


@app.command()
def explain(
    csr: Annotated[
        Path,
        typer.Argument(metavar="CSR|ID", help="A certification request, PEM or DER; or the ID of a past request."),
    ],
    *,
    endpoint: Annotated[str | None, typer.Option(help="Where it would come in, like est/default.")] = None,
    profile: Annotated[str | None, typer.Option(help="The profile asked for, else the endpoint's first.")] = None,
    requester: Annotated[str, typer.Option("--as", help="Who asks: the user or device name.")] = "somebody",
    evidence: Annotated[
        list[str] | None,
        typer.Option(help="How who asks has proven it: password, challenge, certificate, account. May be repeated."),
    ] = None,
    renews: Annotated[Path | None, typer.Option(help="The certificate to be renewed, PEM or DER.")] = None,
    config: ConfigOption = None,
) -> None:
    """Say what the policy would decide about a request, by which rules, and what the certificate would have.

    With the ID of a past request, the record says who asked for what. Nothing is issued and nothing recorded.
    Exit status 1 when the request would be denied.
    """
    try:
        surroundings = Surroundings.find(config)
        profiles: ProfileSet = surroundings.profiles(surroundings.files([]), selecting=True)
        if endpoint is None:
            if csr.exists():
                record.turn_away(f"where would {csr} come in? Write --endpoint, like est/default")
            raise typer.Exit(explain_past(str(csr), profiles, config))
        where = EndpointName.parse(endpoint)
        selected = profiles.select(where, profile, requester)
        request = request_for(
            read_csr(csr),
            where,
            requester=requester,
            evidence=evidence,
            renews=None if renews is None else read_certificate(renews),
            issued_under=selected.name if selected else "",
            profile=profile,
            now=system_clock(),
        )
    except (DocumentErrors, UnanswerableQuestion, MalformedCsr, ValueError) as error:
        record.turn_away(str(error))
    decision = profiles.decide(request)
    print_explanation(Console(soft_wrap=False, highlight=False), request, decision)
    raise typer.Exit(1 if isinstance(decision, Denied) else 0)


def _print_test(console: Console, name: str, problem: DocumentProblem | None) -> None:
    if problem is None:
        console.print(Text.assemble(("  ✓ ", "green"), name))
    else:
        console.print(Text.assemble(("  ✗ ", "red"), name))
        console.print(Text(f"      {problem}", style="red"))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        record.stop(f"{path}: can't be written: {error.strerror}")
