from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from policies.request import Kind, Renewed
from server.store import certificates, holdings
from tests.fakes.door import HERE, Door, ask
from tests.fakes.earlier import issued_earlier
from tests.fakes.issuer import NOW
from tests.fakes.record import issued

if TYPE_CHECKING:
    import pytest

    from server.store import Store


async def test_a_key_that_was_certified_with_a_name_that_is_refused_today_is_counted(
    door: Door, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask()
    old = await issued_earlier(store, request, monkeypatch)
    renewed = Renewed(old.serial_number, request.csr.subject, (), request.csr.spki, NOW, NOW, "scripted", HERE)
    outcome = issued(await door.submit(replace(ask(key="again"), kind=Kind.RENEW, renewed=renewed)))

    latest = await store.read(lambda connection: certificates.find_by_request(connection, outcome.request_id))

    assert latest is not None
    again = certificates.renewed_from(latest)
    assert await store.read(lambda connection: holdings.count_key_renewals(connection, again, 5)) == 1
