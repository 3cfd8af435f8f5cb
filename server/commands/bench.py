"""``certwright bench``: enroll under load and say what it costs."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from server.bench.acme import AcmeClient
from server.bench.est import EstClient
from server.bench.est_renewal import EstRenewalClient
from server.bench.filling import fill
from server.bench.load import EnrollmentFailed
from server.bench.measure import measure
from server.bench.process import ServerFailed, ServerProcess, free_ports
from server.bench.refusals import FAULTS, FaultyClient, measure_refusals, refusal_table
from server.bench.report import report
from server.bench.scep import ScepClient
from server.clock import system_clock
from server.commands.bench_policy import policy
from server.commands.bench_sign import sign
from server.commands.record import stop
from server.config import load_config
from server.deployment.folder import Deployment, Ports, Secrets
from server.deployment.making import create
from server.store.database import database_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.bench.load import Enroller

app = typer.Typer(
    help="Enroll under load and say what it costs: by default a server of its own, started in a temporary folder.",
    no_args_is_help=True,
)

app.command()(sign)
app.command()(policy)

Count = Annotated[int, typer.Option(min=1, help="How many enrollments are measured.")]
Concurrency = Annotated[int, typer.Option(min=1, help="How many are under way at any moment.")]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes of the server that is started.")]
Stored = Annotated[
    int, typer.Option(min=0, help="Certificates of other devices that are in the store before; not with --url.")
]
Url = Annotated[str | None, typer.Option(help="A running server instead; needs --deployment.")]
Folder = Annotated[
    Path | None,
    typer.Option("--deployment", help="With --url: a folder with that server's root.pem and credentials.json."),
]


@dataclass(frozen=True, slots=True)
class _Target:
    """Where requests go and with what; `server` is None for one that runs elsewhere, of whose store nothing is said."""

    url: str | None
    root: Path
    secrets: Secrets
    ports: Ports
    server: ServerProcess | None
    stored: int = 0


@app.command()
def est(
    *,
    count: Count = 2000,
    concurrency: Concurrency = 32,
    workers: Workers = 1,
    stored: Stored = 0,
    new_connections: Annotated[
        bool, typer.Option("--new-connections", help="A TLS connection for each enrollment.")
    ] = False,
    certificates: Annotated[
        bool, typer.Option("--certificates", help="Devices that renew with their TLS certificates.")
    ] = False,
    url: Url = None,
    folder: Folder = None,
) -> None:
    """EST simpleenroll with a password, or simplereenroll with certificates; --url ends in /.well-known/est."""
    operation = "simplereenroll with certificates" if certificates else "simpleenroll"
    title = f"EST {operation}, {'a new TLS connection each' if new_connections else 'connections kept alive'}"
    kind = EstRenewalClient if certificates else EstClient
    with _target(url, folder, workers, stored) as target:
        base = target.url or f"https://localhost:{target.ports.https}/.well-known/est"
        secrets = target.secrets
        client = kind(base, target.root, secrets.est_username, secrets.est_password, new_connections=new_connections)
        _measure(title, client, target, count, concurrency)


@app.command()
def scep(
    *,
    count: Count = 2000,
    concurrency: Concurrency = 32,
    workers: Workers = 1,
    stored: Stored = 0,
    refusals: Annotated[
        bool, typer.Option("--refusals", help="Time refusals instead that must not differ; --count each.")
    ] = False,
    url: Url = None,
    folder: Folder = None,
) -> None:
    """SCEP PKCSReq with a challenge password; --url ends in /scep."""
    with _target(url, folder, workers, stored) as target:
        base = target.url or f"http://127.0.0.1:{target.ports.http}/scep"
        if refusals:
            _refusals(FaultyClient(base, target.secrets.scep_challenge, clock=system_clock), count)
            return
        client = ScepClient(base, target.secrets.scep_challenge, clock=system_clock)
        _measure("SCEP PKCSReq", client, target, count, concurrency)


@app.command()
def acme(
    *,
    count: Count = 2000,
    concurrency: Concurrency = 32,
    workers: Workers = 1,
    stored: Stored = 0,
    url: Url = None,
    folder: Folder = None,
    http01_port: Annotated[int, typer.Option(help="With --url: where that server looks for http-01 answers.")] = 5002,
) -> None:
    """ACME from newOrder to the certificate with http-01; --url is the directory's."""
    with _target(url, folder, workers, stored, http01_port) as target:
        directory = target.url or f"https://localhost:{target.ports.https}/acme/directory"
        client = AcmeClient(directory, target.root, http01_port=target.ports.http01)
        _measure("ACME newOrder to certificate, http-01", client, target, count, concurrency)


@contextmanager
def _target(
    url: str | None, folder: Path | None, workers: int, stored: int, http01_port: int = 5002
) -> Iterator[_Target]:
    if url:
        if folder is None:
            raise typer.BadParameter("--url needs --deployment")
        if stored:
            raise typer.BadParameter("--stored is for the server that is started, not for the one at --url")
        try:
            secrets = Secrets.from_json((folder / "credentials.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise typer.BadParameter(
                f"--deployment has no good credentials.json: {error}; give the folder that certwright init made"
            ) from error
        yield _Target(url, folder / "root.pem", secrets, Ports(http01=http01_port), None)
        return
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certwright-bench-")))
        ports = Ports(*free_ports(4))
        deployment = create(temporary / "deployment", ports=ports, clock=system_clock)
        if stored:
            _fill(deployment, stored)
        server = ServerProcess(deployment.config, ready_port=ports.http, workers=workers)
        stack.callback(server.stop)
        yield _Target(None, deployment.root_pem, deployment.secrets, ports, server.wait_ready(), stored)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _fill(deployment: Deployment, stored: int) -> None:
    with _progress(Console()) as progress:
        task = progress.add_task("filling the store", total=stored)
        fill(
            database_file(load_config(deployment.config).database_url),
            stored,
            now=system_clock(),
            random=os.urandom,
            done=lambda count: progress.advance(task, count),
        )


def _refusals(client: FaultyClient, count: int) -> None:
    console = Console()
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("being refused", total=count * len(FAULTS))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(measure_refusals(client, count, lambda: progress.advance(task)))
        except EnrollmentFailed as error:
            stop(f"no figures: {error}")
    console.print(refusal_table(found))


def _measure(title: str, client: Enroller[Any], target: _Target, count: int, concurrency: int) -> None:
    console = Console()
    with _progress(console) as progress:
        preparing = progress.add_task("making requests", total=count)
        enrolling = progress.add_task("enrolling", total=count)
        work = measure(
            client,
            count=count,
            concurrency=concurrency,
            server=target.server,
            prepared=lambda: progress.advance(preparing),
            done=lambda: progress.advance(enrolling),
        )
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                measurement = runner.run(work)
        except (EnrollmentFailed, ServerFailed) as error:
            stop(f"no figures: {error}")
    console.print(report(title, measurement, concurrency=concurrency, stored=target.stored))
    if measurement.load.failures:
        console.print("first failure:", measurement.load.failures[0], markup=False)
        raise typer.Exit(1)
