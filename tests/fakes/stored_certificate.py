"""A certificate of the record, of which nobody looks at more than the test says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from policies.request import EndpointName
from server.store.certificates import StoredCertificate

_THEN = datetime(2026, 1, 1, tzinfo=UTC)


def stored(serial: int, **fields: Any) -> StoredCertificate:
    """One for est/default that stands; `fields` say otherwise."""
    usual = {
        "issuer": "issuing",
        "der": b"",
        "fingerprint": b"",
        "endpoint": EndpointName.parse("est/default"),
        "profile": "iot-device",
        "requester": "password:pump",
        "subject": "CN=pump",
        "names": (),
        "not_before": _THEN,
        "not_after": _THEN,
        "issued_at": _THEN,
        "revoked_at": None,
        "revocation_reason": None,
        "request_id": f"request-{serial:x}",
        "renews": None,
    }
    return StoredCertificate(serial=serial, **{**usual, **fields})
