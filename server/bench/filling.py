"""Certificates of other devices, put into a store before it is measured: large indexes cost more than small ones."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from server.ordered import SERIAL_RANDOM_BITS, ordered_id, ordered_serial_number
from server.store.bulk import BulkInsert
from server.store.tables import audit_events, certificates, requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

_AT_ONCE = 5000
_YEARS = timedelta(days=730)
"""Over how long the certificates were issued, and for how long each is good."""
_CSR_OCTETS, _PLAN_CHARACTERS, _CERTIFICATE_OCTETS, _ASKED_CHARACTERS = 283, 1038, 664, 283
"""As much as is on record for a device that enrolls by EST in a development deployment, with a P-256 key."""
_FAST = ("PRAGMA synchronous = OFF", "PRAGMA cache_size = -1000000")  # nobody misses it after a power cut

_insert_requests = BulkInsert(
    requests,
    *("id", "key", "state", "endpoint", "kind", "profile", "requester", "address", "csr"),
    *("received_at", "finished_at", "plan", "asked", "serial", "policy_digest"),
)
_insert_certificates = BulkInsert(
    certificates,
    *("serial", "issuer", "der", "fingerprint", "endpoint", "profile", "requester", "subject", "names"),
    *("not_before", "not_after", "issued_at", "request_id", "policy_digest", "spki"),
)
_insert_events = BulkInsert(audit_events, "at", "action", "actor", "request_id", "serial", "detail")


def fill(
    database: Path,
    count: int,
    *,
    now: datetime,
    random: Callable[[int], bytes],
    done: Callable[[int], object] = lambda _: None,
) -> None:
    """Put issued certificates into a store that nobody else has open, the last of them issued now.

    Args:
        database: the SQLite file, of this version's schema.
        count: how many.
        now: the time.
        random: gives so many random octets.
        done: called with how many more are there.

    Raises:
        sqlalchemy.exc.DBAPIError: the file can't be written.
    """
    engine = sa.create_engine(f"sqlite+pysqlite:///{database}", poolclass=sa.pool.StaticPool)
    try:
        with engine.connect() as connection:
            for setting in _FAST:
                connection.exec_driver_sql(setting)
        for first in range(0, count, _AT_ONCE):
            numbers = range(first, min(count, first + _AT_ONCE))
            rows = [_row(number, now - _YEARS * (1 - (number + 1) / count), random) for number in numbers]
            with engine.begin() as connection:
                _insert_requests(connection, rows)
                _insert_certificates(connection, rows)
                _insert_events(connection, rows)
            done(len(numbers))
    finally:
        engine.dispose()


def _row(number: int, at: datetime, random: Callable[[int], bytes]) -> dict[str, Any]:
    """Return the values of all three tables for one device; what they call the same is the same."""
    device, identifier = f"stored-{number}", ordered_id(at, random(5))
    return {
        "id": identifier,
        "request_id": identifier,
        "key": random(32),
        "state": "issued",
        "action": "issued",
        "actor": f"password:{device}",
        "requester": f"password:{device}",
        "address": "127.0.0.1",
        "endpoint": "est/default",
        "kind": "enroll",
        "profile": "iot-device",
        "policy_digest": "0" * 64,
        "issuer": "issuing",
        "csr": random(_CSR_OCTETS),
        "plan": " " * _PLAN_CHARACTERS,
        "asked": " " * _ASKED_CHARACTERS,
        "detail": "",
        "serial": ordered_serial_number(at, int.from_bytes(random(SERIAL_RANDOM_BITS // 8))),
        "der": random(_CERTIFICATE_OCTETS),
        "fingerprint": random(32),
        "spki": random(32),
        "subject": f"CN={device}",
        "names": f"dns:{device}.example",
        "at": at,
        "received_at": at,
        "finished_at": at,
        "issued_at": at,
        "not_before": at,
        "not_after": at + _YEARS,
    }
