"""``certwright serve``: answer requests until told to stop."""

from __future__ import annotations

import os
import resource
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import sqlalchemy as sa
import structlog
import typer

from policies.document import DocumentErrors
from server import events
from server.app.addresses import bind_listeners
from server.app.material import load_material
from server.config import UnavailableNow, load_config
from server.deployment.hints import client_lines
from server.outlet import tell
from server.store import current_revision, upgrade
from server.store.database import database_file
from server.store.obstacles import obstacle
from server.workers import FAILED, MISCONFIGURED, Supervisor, serve_here

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from server.config import Config

_log = structlog.get_logger("server")
_LAST_STANDARD = 2
_OTHER_FILES = 256
"""What a process opens besides connections of its listeners: the database, files, connections to others."""
_FEW_FILES = "not enough file descriptors for limits.connections: raise LimitNOFILE (ulimit -n), or lower them"
_TEST_MODE = "DANGER: this endpoint is in test mode: it refuses good nonces and is slow on purpose"


def serve(
    config: Annotated[Path, typer.Option(help="The server's configuration.")] = Path("server.yaml"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many processes share the ports.")] = 1,
) -> None:
    """Answer requests until SIGINT or SIGTERM; requests in flight are finished first."""
    _occupy_standard_descriptors()
    try:
        status = _serve(load_config(config), workers)
    except DocumentErrors as errors:
        tell(str(errors), sys.stderr)
        status = FAILED if isinstance(errors, UnavailableNow) else MISCONFIGURED
    raise typer.Exit(status)


def _occupy_standard_descriptors() -> None:
    """Have those that were closed before the start lead nowhere: libuv aborts when a socket has such a number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:
        pass
    os.close(descriptor)


def _serve(config: Config, workers: int) -> int:
    events.configure(config.log)
    material = load_material(config)
    sockets = bind_listeners(config, workers)
    _make_room(config.limits.connections * len(sockets) + _OTHER_FILES)
    _make_tables(config)
    _warn(config)

    def ready() -> None:
        tell(_greeting(config, sockets), sys.stdout)

    try:
        if workers == 1:
            return serve_here(config, material, {name: each[0] for name, each in sockets.items()}, ready=ready)
        return Supervisor(config, material, sockets).run(ready)
    except Exception:  # noqa: BLE001 - the last resort of a process; an event waits for nobody who reads it
        _log.exception("the server fails")
        return FAILED


def _make_room(wanted: int) -> None:
    """Let this process and its workers have so many file descriptors each: most systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < wanted:
        _log.warning(_FEW_FILES, wanted=wanted, possible=possible)


def _make_tables(config: Config) -> None:
    """Make the tables of a new database; an old one is upgraded by a person, who makes a copy first."""
    try:
        if current_revision(config.database_url) is None:
            upgrade(config.database_url)
    except (sa.exc.SQLAlchemyError, OSError, ValueError) as error:
        file = database_file(config.database_url)
        seen, orig = obstacle(file), getattr(error, "orig", None)
        passes = seen is None and isinstance(orig, sqlite3.OperationalError)  # locked, disk full, I/O error
        problem = config.problem(("database",), f"{file} can't be opened: {seen or orig or error}")
        raise (UnavailableNow if passes else DocumentErrors)([problem]) from error


def _warn(config: Config) -> None:
    """Say at every start what is less safe than it could be."""
    for name, endpoint in config.endpoints.scep.items():
        for weakness in endpoint.weaknesses():
            _log.warning(weakness, endpoint=str(name))
    for est_name, est in config.endpoints.est.items():
        for weakness in est.weaknesses():
            _log.warning(weakness, endpoint=str(est_name))
    for acme_name, acme in config.endpoints.acme.items():
        if acme.danger_test_mode is not None:
            _log.warning(_TEST_MODE, endpoint=str(acme_name))


def _greeting(config: Config, sockets: Mapping[str, list[socket.socket]]) -> str:
    """Return where the server listens, and in a development deployment how to try it."""
    lines = ["Certwright serves:"]
    for name, each in sockets.items():
        address, port = each[0].getsockname()[:2]
        host = f"[{address}]" if ":" in address else address
        lines.append(f"  {name:<6} {'https' if name == 'https' else 'http'}://{host}:{port}")
    hints = client_lines(config, for_a_person=bool(sys.stdout) and sys.stdout.isatty())
    return "\n".join([*lines, *(["", hints] if hints else [])])
