"""``certwright policy``: check policy files, run the tests inside them, explain what they would decide."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from ca.csr import MalformedCsr
from policies.decision import Denied
from policies.document import DocumentErrors, DocumentProblem
from policies.profile_set import ProfileSet
from policies.request import EndpointName
from policies.trial import failed_tests
from server.clock import system_clock
from server.commands.explanation import print_explanation
from server.commands.question import UnanswerableQuestion, read_certificate, read_csr, request_for
from server.commands.surroundings import Surroundings

app = typer.Typer(no_args_is_help=True, help="Check, test and explain policy files.")

Paths = Annotated[
    list[Path] | None,
    typer.Argument(help="Policy files, or folders of them; without any, those that the configuration names."),
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="The server's configuration; ./server.yaml or ./certs-dev/server.yaml when not given."
    ),
]


@app.command()
def check(paths: Paths = None, config: ConfigOption = None) -> None:
    """Read policy files and run their tests; print everything that is wrong, each with file, line and column."""
    console = Console(soft_wrap=True, highlight=False)
    try:
        surroundings = Surroundings.find(config)
        files = surroundings.files(paths or [])
        profiles = surroundings.profiles(files)
    except DocumentErrors as errors:
        _stop(str(errors))
    failures = [problem for file in files for problem in failed_tests(file, surroundings.ceilings)]
    if failures:
        _stop(str(DocumentErrors(failures)))
    for file in files:
        tests = f"{len(file.tests)} tests pass" if file.tests else "no tests inside"
        console.print(Text.assemble(("✓ ", "green" if file.tests else "yellow"), f"{file.file}: {tests}"))
        for profile in file.profiles:
            endpoints = ", ".join(map(str, profile.sections.endpoints))
            console.print(f"    {profile.name}: for {endpoints}, signed by {profile.sections.issuer}")
    console.print(f"{len(profiles.profiles)} profiles, digest {profiles.digest[:16]}")


@app.command("test")
def run_tests(paths: Paths = None, config: ConfigOption = None) -> None:
    """Run the tests inside policy files and print each with its outcome."""
    console = Console(soft_wrap=True, highlight=False)
    try:
        surroundings = Surroundings.find(config)
        files = surroundings.files(paths or [])
        surroundings.profiles(files)
    except DocumentErrors as errors:
        _stop(str(errors))
    failures = number = 0
    for file in files:
        console.print(Text(file.file, style="bold"))
        failed = {problem.location: problem for problem in failed_tests(file, surroundings.ceilings)}
        failures += len(failed)
        number += len(file.tests)
        for case, place in file.tests:
            _print_test(console, case.name, failed.get(place))
    console.print(f"{number - failures} of {number} tests pass")
    raise typer.Exit(1 if failures else 0)


@app.command()
def explain(
    csr: Annotated[Path, typer.Argument(help="A certification request, PEM or DER.")],
    *,
    endpoint: Annotated[str, typer.Option(help="Where it would come in, like est/default.")],
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

    Nothing is issued and nothing recorded. Exit status 1 when the request would be denied.
    """
    try:
        surroundings = Surroundings.find(config)
        profiles: ProfileSet = surroundings.profiles(surroundings.files([]), selecting=True)
        where = EndpointName.parse(endpoint)
        selected = profiles.select(where, profile)
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
        _stop(str(error))
    decision = profiles.decide(request)
    print_explanation(Console(soft_wrap=False, highlight=False), request, decision)
    raise typer.Exit(1 if isinstance(decision, Denied) else 0)


def _print_test(console: Console, name: str, problem: DocumentProblem | None) -> None:
    if problem is None:
        console.print(Text.assemble(("  ✓ ", "green"), name))
    else:
        console.print(Text.assemble(("  ✗ ", "red"), name))
        console.print(Text(f"      {problem}", style="red"))


def _stop(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(2)
