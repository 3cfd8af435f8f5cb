"""What ``certwright doctor`` looks at where secrets are sealed: whether they can be opened."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from policies.document import DocumentErrors
from server.app.acme import external_accounts
from server.app.cmc import shared_secrets
from server.app.secret_sources import Reader
from server.commands.checks import Diagnosis, Level
from server.credentials import Unsealable
from server.store.database import database_file, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from policies.request import EndpointName
    from server.config import Config
    from server.credentials import Sealer


def check_sealing_keys(config: Config) -> Iterator[Diagnosis]:
    """Look whether keys of ACME external accounts and shared secrets of fullcmc open with the key of their endpoint."""
    reader = Reader(config)
    for name, acme in config.endpoints.acme.items():
        if acme.external_accounts is not None:
            way_out = "put the old sealing key back, or revoke them and make new ones: certwright eab revoke, eab new"
            yield _check(
                config,
                f"external accounts of {name}",
                partial(_of_accounts, name, config, reader),
                _Sealed("acme-eab", str(name), "keys", way_out),
            )
    for name, est in config.endpoints.est.items():
        if est.fullcmc is not None and est.fullcmc.sealing_key is not None:
            way_out = "put the old sealing key back, or revoke them and make new ones: certwright credential new --cmc"
            yield _check(
                config,
                f"shared secrets of {name}",
                partial(shared_secrets, name, config, reader),
                _Sealed("cmc-secret", str(name), "secrets", way_out),
            )


def _of_accounts(name: EndpointName, config: Config, reader: Reader) -> Sealer | None:
    found = external_accounts(name, config, reader)
    return found.sealer if found is not None else None


class _Sealed(NamedTuple):
    """What is sealed: its kind and endpoint in the record, what people call it, and the way out when it is lost."""

    kind: str
    endpoint: str
    word: str
    way_out: str


def _check(config: Config, subject: str, sealer: Callable[[], Sealer | None], what: _Sealed) -> Diagnosis:
    try:
        found = sealer()
        sealed = _kept(config, what)
    except (DocumentErrors, ValueError, sqlite3.Error) as error:
        return Diagnosis(
            Level.ERROR, subject, str(error), "put the sealing key back, or make one: openssl rand -hex 32"
        )
    lost = [identifier for identifier, octets in sealed if found is not None and not _opens(found, octets, identifier)]
    if lost:
        of = f"{len(lost)} of {len(sealed)} {what.word}"
        message = f"{of} were sealed with another sealing key: {', '.join(lost[:3])}"
        return Diagnosis(Level.ERROR, subject, message, what.way_out)
    return Diagnosis(
        Level.OK, subject, f"the sealing key is good, and opens the {len(sealed)} {what.word} that are kept"
    )


def _kept(config: Config, what: _Sealed) -> list[tuple[str, bytes]]:
    file = database_file(config.database_url)
    if not file.exists():
        return []
    query = (
        "SELECT id, sealed FROM credentials WHERE kind = ? AND endpoint = ? AND sealed IS NOT NULL "
        "AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)"
    )
    with reading(file) as connection:
        return connection.execute(query, (what.kind, what.endpoint)).fetchall()


def _opens(sealer: Sealer, sealed: bytes, kid: str) -> bool:
    try:
        sealer.open(sealed, kid)
    except Unsealable:
        return False
    return True
