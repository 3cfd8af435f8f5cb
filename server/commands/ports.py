"""Whether the addresses of the listeners can be had, or who has them: a part of ``certwright doctor``."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from policies.document import DocumentErrors
from server.app.addresses import IN_USE, bind_listeners
from server.commands.checks import Diagnosis, Level
from server.http import SERVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policies.document import DocumentProblem
    from server.config import Config

_OF_ALL_INTERFACES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - nothing is bound here
_PATIENCE_SECONDS = 2
_MOST_OCTETS = 65536


def check_ports(config: Config) -> Iterator[Diagnosis]:
    """Look whether the addresses can be had, and when not, whether it is this installation's server that has them."""
    try:
        sockets = bind_listeners(config)
    except DocumentErrors as errors:
        taken = [problem for problem in errors.problems if problem.message.endswith(IN_USE)]
        if taken:
            yield from _taken(config, taken)
        others = (problem for problem in errors.problems if problem not in taken)
        yield from (_unavailable(problem, f"correct it in {problem.location}") for problem in others)
        return
    for each in sockets.values():
        each[0].close()
    yield Diagnosis(Level.OK, "listeners", "all addresses are free")


def _taken(config: Config, taken: list[DocumentProblem]) -> Iterator[Diagnosis]:
    by = _configuration_of_admin(config)
    if by is None and not _answers(config):
        yield from (_unavailable(problem, "stop the other program, or choose another port") for problem in taken)
    elif by is None:
        message = "a Certwright is running on these addresses, and it does not say which"
        way_out = "if it is another one, stop it or choose other ports; an admin listener would tell"
        yield Diagnosis(Level.WARNING, "listeners", message, way_out)
    elif by.resolve() == config.file.resolve():
        yield Diagnosis(Level.OK, "listeners", "Certwright is running on these addresses")
    else:
        yield from (_unavailable(problem, f"stop the Certwright of {by}, or choose another port") for problem in taken)


def _unavailable(problem: DocumentProblem, way_out: str) -> Diagnosis:
    return Diagnosis(Level.ERROR, "listeners", problem.message, way_out)


def _configuration_of_admin(config: Config) -> Path | None:
    """Return the configuration file that the server behind the admin listener's address names, None when none does."""
    admin = config.listeners.admin
    found = None if admin is None else _get(admin.address, admin.port, "/readyz")
    try:
        return None if found is None else Path(json.loads(found)["configuration"])
    except (ValueError, LookupError, TypeError):
        return None  # one of an earlier version


def _answers(config: Config) -> bool:
    """Tell whether what listens on the plain addresses is a server of this kind."""
    plain = (config.listeners.admin, config.listeners.http)
    return any(each is not None and _get(each.address, each.port, "/healthz") is not None for each in plain)


def _get(address: str, port: int, path: str) -> bytes | None:
    """Return what a Certwright at the address answers, None when there is none."""
    host = _OF_ALL_INTERFACES.get(address, address)
    with closing(http.client.HTTPConnection(host, port, timeout=_PATIENCE_SECONDS)) as connection:
        try:
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.read(_MOST_OCTETS) if reply.headers["Server"] == SERVER else None
        except (OSError, http.client.HTTPException):
            return None
