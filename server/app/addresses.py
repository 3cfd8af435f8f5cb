"""The addresses of the configured listeners, bound."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from policies.document import DocumentErrors, DocumentProblem
from server.config import UnavailableNow
from server.listener import bind

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from server.config import Config

LISTENERS = ("https", "proxied", "http", "admin")
IN_USE = "another program listens there; stop it or choose another port"


def bind_listeners(config: Config, processes: int = 1) -> Mapping[str, list[socket.socket]]:
    """Bind the configured addresses, for several processes if need be.

    Returns:
        For each listener as many sockets as there are processes.

    Raises:
        UnavailableNow: addresses that can't be had at the moment, all of them, each with the way out.
        DocumentErrors: the same, where one of them can't be had later either.
    """
    sockets: dict[str, list[socket.socket]] = {}
    problems: list[DocumentProblem] = []
    kind: type[DocumentErrors] = UnavailableNow
    for name in LISTENERS:
        settings = getattr(config.listeners, name)
        if settings is None:
            continue
        try:
            sockets[name] = bind(settings.address, settings.port, processes)
        except OSError as error:
            key, reason = _why_not(error)
            if error.errno == errno.EACCES:
                kind = DocumentErrors
            message = f"{name}: can't listen on {settings.address} port {settings.port}: {reason}"
            problems.append(config.problem(("listeners", name, key), message))
    if problems:
        for sock in (sock for each in sockets.values() for sock in each):
            sock.close()
        raise kind(problems)
    return sockets


def _why_not(error: OSError) -> tuple[str, str]:
    """Return which key of the listener is at fault, and why, with the way out."""
    match error.errno:
        case errno.EADDRINUSE:
            return "port", IN_USE
        case errno.EADDRNOTAVAIL:
            return "address", "this machine does not have that address"
        case errno.EACCES:
            return "port", "ports below 1024 need a privilege; choose a higher one or grant CAP_NET_BIND_SERVICE"
        case _:
            return "address", error.strerror or str(error)
