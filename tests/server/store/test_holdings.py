from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from policies.request import Kind, Renewed
from server.store import certificates, holdings, tables
from tests.fakes.door import HERE, Door, ask
from tests.fakes.earlier import issued_earlier
from tests.fakes.issuer import NOW
from tests.fakes.query_plans import query_plans
from tests.fakes.record import issued

if TYPE_CHECKING:
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


OWN, THEIRS, GOOD, REVOKED = ask().requester.identity, "certificate:1", None, NOW
"""Who has asked for a certificate, and whether it is good."""


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ([], 0),
        ([(OWN, GOOD)], 1),
        ([(OWN, REVOKED)], 0),
        ([(THEIRS, GOOD)], 0),
        ([(OWN, GOOD), (OWN, GOOD)], 1),
        ([(OWN, GOOD), (THEIRS, GOOD), (THEIRS, GOOD)], 1),
        ([(OWN, REVOKED), (THEIRS, GOOD), (THEIRS, GOOD)], 1),
        ([(OWN, REVOKED), (THEIRS, REVOKED), (OWN, GOOD)], 1),
        ([(OWN, REVOKED), (THEIRS, REVOKED), (THEIRS, REVOKED)], 0),
        ([(THEIRS, GOOD), (OWN, GOOD), (THEIRS, GOOD)], 1),
        # A gap: who has the first still may use it, and who has the last did not come by it from a good one.
        ([(OWN, GOOD), (THEIRS, REVOKED), (THEIRS, GOOD)], 2),
    ],
)
async def test_certificates_that_renew_each_other_count_once_as_long_as_they_are_good(
    door: Door, store: Store, line: list[tuple[str, object]], number: int
) -> None:
    before = None
    for place, (whose, revoked_at) in enumerate(line):
        outcome = issued(await door.submit(ask(key=str(place))))
        values = {"requester": whose, "renews": before, "revoked_at": revoked_at}
        change = sa.update(tables.certificates).where(tables.certificates.c.request_id == outcome.request_id)
        await store.write(lambda c, change=change, values=values: c.execute(change.values(values)).rowcount)  # type: ignore[misc]
        found = await store.read(lambda c, one=outcome.request_id: certificates.find_by_request(c, one))  # type: ignore[misc]
        assert found is not None
        before = found.serial
    asked = ask(key="one more")
    assert await store.read(lambda c: holdings.count_active(c, asked, "scripted")) == number


def test_what_one_requester_got_lately_is_counted_without_a_look_at_what_all_others_got(url: str) -> None:
    plans = query_plans(url, lambda c: holdings.count_issued(c, ask(), "p", NOW, to_requester=True))
    assert "USING COVERING INDEX ix_certificates_requester" in plans
    assert "ix_certificates_profile" not in plans
