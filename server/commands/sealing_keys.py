"""What ``certwright doctor`` looks at for ACME external accounts: whether what is sealed can be opened."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from policies.document import DocumentErrors
from server.app.acme import external_accounts
from server.app.secret_sources import Reader
from server.commands.checks import Diagnosis, Level
from server.credentials import Unsealable
from server.store.database import database_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from server.config import Config
    from server.credentials import Sealer


def check_sealing_keys(config: Config) -> Iterator[Diagnosis]:
    """Look whether the keys for ACME external accounts that are kept can be opened with the key of their endpoint."""
    for name, acme in config.endpoints.acme.items():
        if acme.external_accounts is None:
            continue
        subject = f"external accounts of {name}"
        try:
            external = external_accounts(name, config, Reader(config))
            sealed = _sealed_keys(config, str(name))
        except (DocumentErrors, ValueError, sqlite3.Error) as error:
            yield Diagnosis(
                Level.ERROR, subject, str(error), "put the sealing key back, or make one: openssl rand -hex 32"
            )
            continue
        lost = [kid for kid, octets in sealed if external is not None and not _opens(external.sealer, octets, kid)]
        if lost:
            message = f"{len(lost)} of {len(sealed)} keys were sealed with another sealing key: {', '.join(lost[:3])}"
            way_out = "put the old sealing key back, or revoke them and make new ones: certwright eab revoke, eab new"
            yield Diagnosis(Level.ERROR, subject, message, way_out)
        else:
            yield Diagnosis(
                Level.OK, subject, f"the sealing key is good, and opens the {len(sealed)} keys that are kept"
            )


def _sealed_keys(config: Config, endpoint: str) -> list[tuple[str, bytes]]:
    file = database_file(config.database_url)
    if not file.exists():
        return []
    query = (
        "SELECT id, sealed FROM credentials WHERE kind = 'acme-eab' AND endpoint = ? AND sealed IS NOT NULL "
        "AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)"
    )
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(query, (endpoint,)).fetchall()


def _opens(sealer: Sealer, sealed: bytes, kid: str) -> bool:
    try:
        sealer.open(sealed, kid)
    except Unsealable:
        return False
    return True
