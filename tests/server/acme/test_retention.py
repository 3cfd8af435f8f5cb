"""Old orders go, with their authorizations and attempts; what can still be needed stays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from server.acme.records import limits
from server.acme.records.tables import authorizations, failures, orders
from server.acme.records.tables import limits as limits_table
from server.acme.service import Rate, RateLimits, Service
from server.config import AcmeEndpointConfig
from tests.server.acme.lab import QUICK, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Lab


async def kept(lab: Lab) -> list[str]:
    """The names of the orders that are there, and that no authorization is without its order."""

    def work(connection: sa.Connection) -> list[str]:
        alone = sa.select(authorizations.c.id).where(authorizations.c.order_id.not_in(sa.select(orders.c.id)))
        assert connection.execute(alone).first() is None
        return sorted(names[0][1] for names in connection.scalars(sa.select(orders.c.identifiers)))

    return await lab.store.read(work)


async def test_orders_go_when_they_or_their_certificates_expired_long_ago(lab: Lab) -> None:
    service = Service(lab.endpoint())
    client = await lab.client()
    await client.order("pending.localhost")
    await client.ready("ready.localhost")
    issued = await client.ready("issued.localhost")
    done = await client.finalize(issued, make_csr("issued.localhost"))
    lab.now[0] += timedelta(days=90)
    await client.order("young.localhost")
    assert await service.retention.forget() == 0
    lab.now[0] += timedelta(days=2)
    assert await service.retention.forget() == 2
    assert await kept(lab) == ["issued.localhost", "young.localhost"]
    assert (await client.post(done.body["certificate"])).status == 200
    lab.now[0] += timedelta(days=90)
    assert await service.retention.forget() == 2
    assert await kept(lab) == []
    assert (await client.post(issued.location)).status == 404


async def test_an_order_that_waits_for_its_certificate_stays(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("waits.localhost")
    lab.issuer.open.clear()
    waiting = asyncio.create_task(client.finalize(order, make_csr("waits.localhost")))
    await lab.issuer.asked.wait()
    lab.now[0] += timedelta(days=200)
    assert await Service(lab.endpoint()).retention.forget() == 0
    lab.issuer.open.set()
    assert (await waiting).body["status"] == "valid"


async def test_counts_that_say_nothing_any_more_go(lab: Lab) -> None:
    service = Service(lab.endpoint())
    client = await lab.client()
    account = str(client.kid).rpartition("/")[2]
    rates = RateLimits(orders_per_account=Rate(1, timedelta(hours=1)), pause_after=2)
    await lab.serve(lab.endpoint(limits=rates, timing=replace(QUICK, retries=())))
    for name in "abb":
        order = await client.order(f"{name}.localhost")
        (url,) = order.body["authorizations"]
        await client.post((await client.post(url)).body["challenges"][0]["url"], {})
        await client.until(url, "invalid")
        lab.now[0] += timedelta(hours=2)
    await client.order("c.localhost")
    lab.now[0] += timedelta(days=100)
    await service.retention.forget()
    rest = await lab.store.read(lambda c: c.execute(sa.select(limits_table)).all())
    (paused,) = await lab.store.read(lambda c: c.execute(sa.select(failures)).all())
    assert (rest, paused.account_id, paused.value) == ([], account, "b.localhost")
    assert len(await lab.store.read(lambda c: limits.list_failing(c, paused=True, limit=9))) == 1


async def test_it_is_looked_for_now_and_then(lab: Lab) -> None:
    client = await lab.client()
    await client.order("old.localhost")
    lab.now[0] += timedelta(days=100)
    await lab.serve(lab.endpoint(timing=replace(QUICK, forget=0.01)))
    for _ in range(500):
        if not await kept(lab):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the old order stays")


def test_less_than_a_month_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 30d"):
        AcmeEndpointConfig.model_validate({"profiles": ["a"], "keep_orders": "29d"})
    config = AcmeEndpointConfig.model_validate({"profiles": ["a"]})
    assert config.keep_orders == timedelta(days=90)


async def test_authorizations_without_an_order_go_too(lab: Lab) -> None:
    endpoint = lab.endpoint(pre_authorization=True)
    await lab.serve(endpoint)
    client = await lab.client()
    made = await client.post(client.url("/new-authz"), {"identifier": {"type": "dns", "value": "a.localhost"}})
    assert made.status == 201
    for days, status in ((90, 200), (2, 404)):
        lab.now[0] += timedelta(days=days)
        await Service(endpoint).retention.forget()
        assert (await client.post(made.location)).status == status
