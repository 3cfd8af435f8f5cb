"""Certificates of an earlier version, which took names that are refused today."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography import x509

from ca import names
from tests.fakes.door import Door
from tests.fakes.record import issued

if TYPE_CHECKING:
    import pytest

    from policies.request import EnrollmentRequest
    from server.store import Store

REFUSED_TODAY = names.Uri("http://*.plant.example/pump")


async def issued_earlier(store: Store, request: EnrollmentRequest, monkeypatch: pytest.MonkeyPatch) -> x509.Certificate:
    """Issue a certificate with a URI that can't be read today."""
    door = Door(store, amend=lambda plan, _: replace(plan, names=(REFUSED_TODAY,)))
    with monkeypatch.context() as earlier:
        earlier.setattr(names, "uri", names.Uri)
        return x509.load_der_x509_certificate(issued(await door.submit(request)).certificate)
