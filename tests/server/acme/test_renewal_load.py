"""How renewal windows keep out of each other's way: a batch, quiet times, and what is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from server.acme.codec.certificate_id import decode_certificate_id
from server.acme.service import AcmeProfile
from server.acme.service.renewal_load import SLOTS, place
from server.store.tables import certificates, requests
from tests.server.acme.test_renewals import identifier, info

if TYPE_CHECKING:
    from cryptography import x509

    from tests.server.acme.lab import Lab

DAY = timedelta(days=1)
PART = 32 * DAY
SLOT = PART / (2 * SLOTS)
BATCH = 160

fractions = st.floats(min_value=0, max_value=1, exclude_max=True)
loads: st.SearchStrategy[list[int]] = st.one_of(
    st.just([]), st.lists(st.integers(min_value=0, max_value=100_000), min_size=SLOTS, max_size=SLOTS)
)


@given(fractions, fractions, loads)
def test_a_place_is_one_of_the_slots_and_the_order_stays(one: float, other: float, load: list[int]) -> None:
    first, second = place(min(one, other), load), place(max(one, other), load)
    assert 0 <= first <= second <= SLOTS
    assert place(min(one, other), load) == first


def test_in_quiet_times_windows_begin_in_the_first_half_of_the_slots() -> None:
    for load in ([], [0] * SLOTS, [19, *[0] * (SLOTS - 1)], [1000] * SLOTS, [1000, 5000, *[0] * (SLOTS - 2)]):
        places = [place(step / 1000, load) for step in range(1000)]
        assert max(places) < SLOTS / 2
        assert Counter(map(int, places)) == dict.fromkeys(range(SLOTS // 2), 1000 // (SLOTS // 2))


def test_a_crowd_goes_where_few_others_come() -> None:
    load = [1000, 0, 0, 300, 0, 0, 0, 0]
    found = Counter(int(place(step / 6000, load)) for step in range(6000))
    assert found[0] <= 6
    assert found[3] <= 20
    assert all(abs(found[slot] - 1000) < 20 for slot in (1, 2, 4, 5, 6, 7))


async def copied(lab: Lab, serials: range, later: timedelta = timedelta()) -> None:
    """Put certificates on record that are like the only one there is, and end so much later."""

    def work(connection: sa.Connection) -> None:
        request, one = (connection.execute(sa.select(table)).first() for table in (requests, certificates))
        assert request is not None
        assert one is not None
        for serial in serials:
            name = f"copy-{serial}"
            like = {**request._mapping, "number": None, "id": name, "key": name.encode(), "serial": serial}
            connection.execute(sa.insert(requests).values(like))
            own = {"serial": serial, "request_id": name, "fingerprint": sha256(name.encode()).digest()}
            dates = {"not_before": one.not_before + later, "not_after": one.not_after + later}
            connection.execute(sa.insert(certificates).values({**one._mapping, **own, **dates}))

    await lab.store.write(work)


async def begins(lab: Lab, certificate: x509.Certificate, serial: int) -> datetime:
    like = replace(decode_certificate_id(identifier(certificate)), serial=serial)
    answer = await info(lab, str(like))
    assert answer.status == 200
    return datetime.fromisoformat(answer.body["suggestedWindow"]["start"])


async def test_a_batch_that_was_issued_together_is_not_renewed_together(lab: Lab) -> None:
    await lab.serve(lab.endpoint(profiles={"tls-server": AcmeProfile("servers", PART)}))
    certificate = await (await lab.client()).issue("a.localhost")
    alone = await begins(lab, certificate, certificate.serial_number)
    first = certificate.not_valid_after_utc - PART
    assert first <= alone < first + PART / 4
    await copied(lab, range(1, BATCH))
    await copied(lab, range(10_000, 10_000 + BATCH // 4), 3 * SLOT)
    assert await begins(lab, certificate, certificate.serial_number) == alone  # counted less than a minute ago
    lab.now[0] += timedelta(minutes=1)
    found = [await begins(lab, certificate, serial) for serial in range(1, BATCH)]
    of_slot = Counter((each - first) // SLOT for each in found)
    assert of_slot.keys() <= set(range(SLOTS))
    assert of_slot[0] + of_slot[3] < BATCH / 20
    assert all(BATCH / 12 < of_slot[slot] < BATCH / 4 for slot in (1, 2, 4, 5, 6, 7))
    assert found[:5] == [await begins(lab, certificate, serial) for serial in range(1, 6)]
    others = [await begins(lab, certificate, serial) for serial in range(10_000, 10_000 + BATCH // 4)]
    assert sum((each - first) // SLOT <= 3 for each in others) < BATCH / 80


async def test_certificates_of_other_endpoints_are_not_counted(lab: Lab) -> None:
    profiles = {"tls-server": AcmeProfile("servers", PART)}
    await lab.serve(lab.endpoint(profiles=profiles), lab.endpoint("plant", profiles=profiles))
    certificate = await (await lab.client()).issue("a.localhost")
    await copied(lab, range(1, 60))
    theirs = sa.update(certificates).where(certificates.c.serial != certificate.serial_number)
    await lab.store.write(lambda c: c.execute(theirs.values(endpoint="acme/plant")).rowcount)
    begin = await begins(lab, certificate, certificate.serial_number)
    assert begin < certificate.not_valid_after_utc - PART * 3 / 4


async def test_what_ends_in_the_same_days_is_counted_by_an_index(lab: Lab) -> None:
    query = "EXPLAIN QUERY PLAN SELECT count(*) FROM certificates WHERE endpoint = 'x' AND not_after >= 'a'"
    plan = await lab.store.read(lambda c: str(c.exec_driver_sql(query).all()))
    assert "USING COVERING INDEX ix_certificates_endpoint" in plan
