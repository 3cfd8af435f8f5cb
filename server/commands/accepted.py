"""What ``certwright doctor`` looks at where certificates of other endpoints are taken: whether there are any."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from policies.document import did_you_mean
from server.commands.checks import Diagnosis, Level
from server.store.database import database_file, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policies.request import EndpointName
    from server.config import Config

_SETTING = "certificates_from"


def check_accepted(config: Config) -> Iterator[Diagnosis]:
    """Look whether ``certificates_from`` names endpoints that there are, or were.

    One that is gone may well be named: its certificates live on and are renewed elsewhere. Only the record tells it
    from a slip, so that this is looked at here and not at start.
    """
    known = config.endpoints.all()
    for name, where, others in _settings(config):
        for other in others:
            if other in known:
                continue
            issued = _issued(config, other)
            if issued:
                yield Diagnosis(
                    Level.OK, str(name), f"{other} is not served any more; it issued {issued} certificates, taken here"
                )
            else:
                message = f"{_SETTING} names {other}, which is not configured and has issued nothing"
                near = did_you_mean(str(other), map(str, known.keys() - {name}))
                way_out = f"correct it in {config.locate('endpoints', str(name), *where)}"
                yield Diagnosis(Level.WARNING, str(name), message + near, way_out)


def _settings(config: Config) -> Iterator[tuple[EndpointName, tuple[str, ...], tuple[EndpointName, ...]]]:
    for name, est in config.endpoints.est.items():
        yield name, ("authenticate", _SETTING), est.authenticate.certificates_from
    for name, scep in config.endpoints.scep.items():
        yield name, (_SETTING,), scep.certificates_from


def _issued(config: Config, endpoint: EndpointName) -> int:
    """Return how many certificates the record has of an endpoint; 0 where it can't be read, which is told elsewhere."""
    query = "SELECT COUNT(*) FROM certificates WHERE endpoint = ?"
    try:
        with reading(database_file(config.database_url)) as connection:
            (found,) = connection.execute(query, (str(endpoint),)).fetchone()
    except sqlite3.Error:
        return 0
    return int(found)
