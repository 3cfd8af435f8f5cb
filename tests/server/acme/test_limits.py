"""Rate limits, and accounts that never succeed (RFC 8555 section 6.6)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from server.acme.messages import Identifier
from server.acme.records import limits, tables
from server.acme.service import AcmeProfile, Rate, RateLimits
from server.acme.service.limits import _site
from server.store.tables import metadata
from tests.fakes.issuer import NOW
from tests.server.acme.lab import Client, make_csr
from tests.server.acme.test_renewals import identifier, replacing

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Lab

TWO_AN_HOUR = Rate(2, timedelta(hours=1))
HALF = 1800


async def limited(lab: Lab, **rates: Any) -> None:
    await lab.serve(lab.endpoint(limits=RateLimits(**rates), profiles={"tls-server": AcmeProfile("the only one")}))


def refused(answer: Answer, *, within: int = HALF) -> None:
    assert (answer.status, answer.error) == (429, "rateLimited")
    assert 0 < int(answer.headers["Retry-After"]) <= within


async def fail(client: Client, name: str) -> None:
    order = await client.order(name)
    (url,) = order.body["authorizations"]
    await client.post((await client.post(url)).body["challenges"][0]["url"], {})
    await client.until(url, "invalid")


async def test_an_account_orders_so_often_and_again_when_the_time_has_come(lab: Lab) -> None:
    await limited(lab, orders_per_account=TWO_AN_HOUR)
    client, other = await lab.client(), await lab.client()
    assert [(await client.order(f"{name}.localhost")).status for name in "ab"] == [201, 201]
    refused(await client.order("c.localhost"))
    assert (await other.order("c.localhost")).status == 201
    lab.now[0] += timedelta(seconds=HALF)
    assert (await client.order("c.localhost")).status == 201
    refused(await client.order("d.localhost"))
    assert [row.problem.reason for row in await lab.refusals() if row.problem] == ["rate-limited"] * 2


async def test_what_was_counted_by_a_clock_that_has_gone_back_does_not_count(lab: Lab) -> None:
    await limited(lab, orders_per_account=TWO_AN_HOUR)
    client = await lab.client()
    for hours in (0, 12):
        lab.now[0] -= timedelta(hours=hours)
        assert [(await client.order(f"{name}.localhost")).status for name in "ab"] == [201, 201]
        refused(await client.order("c.localhost"))


async def test_a_name_is_ordered_so_often_by_whomever(lab: Lab) -> None:
    await limited(lab, orders_per_name=TWO_AN_HOUR)
    for _ in range(2):
        assert (await (await lab.client()).order("a.localhost", "b.localhost")).status == 201
    client = await lab.client()
    answer = await client.order("c.localhost", "a.localhost")
    refused(answer)
    assert "a.localhost" in answer.body["detail"]
    for _ in range(2):
        assert (await client.order("c.localhost")).status == 201, "what was refused did not count"


async def test_of_orders_that_come_together_no_more_are_taken_than_may_be(lab: Lab) -> None:
    await limited(lab, orders_per_account=TWO_AN_HOUR)
    client = await lab.client()
    answers = await asyncio.gather(*(client.order(f"{name}.localhost") for name in "abcde"))
    assert sorted(each.status for each in answers) == [201, 201, 429, 429, 429]


async def test_every_name_that_was_ordered_too_often_is_told(lab: Lab) -> None:
    await limited(lab, orders_per_name=TWO_AN_HOUR)
    client = await lab.client()
    for _ in range(2):
        assert (await client.order("a.localhost", "b.localhost")).status == 201
    answer = await client.order("a.localhost", "c.localhost", "b.localhost")
    refused(answer)
    assert answer.body["detail"] == "too many new orders for a.localhost, b.localhost: at most 2 in 3600 seconds"
    assert [each["identifier"]["value"] for each in answer.body["subproblems"]] == ["a.localhost", "b.localhost"]


async def test_who_orders_too_often_is_told_no_names(lab: Lab) -> None:
    await limited(lab, orders_per_account=TWO_AN_HOUR, orders_per_name=TWO_AN_HOUR)
    client = await lab.client()
    for _ in range(2):
        await client.order("a.localhost")
    answer = await client.order("a.localhost")
    refused(answer)
    assert answer.body["detail"] == "too many new orders: at most 2 in 3600 seconds"
    assert "subproblems" not in answer.body


async def test_an_address_makes_so_many_accounts_and_finds_those_it_has(lab: Lab) -> None:
    await limited(lab, accounts_per_address=TWO_AN_HOUR)
    first, _ = await lab.client(), await lab.client()
    refused(await Client(lab).register())
    assert (await Client(lab, signer=first.signer).register()).status == 200


async def test_an_address_orders_so_often(lab: Lab) -> None:
    await limited(lab, orders_per_address=TWO_AN_HOUR)
    for _ in range(2):
        assert (await (await lab.client()).order("a.localhost")).status == 201
    refused(await (await lab.client()).order("a.localhost"))


async def test_the_wait_is_until_all_limits_allow(lab: Lab) -> None:
    await limited(lab, orders_per_account=TWO_AN_HOUR, orders_per_name=Rate(2, timedelta(days=10)))
    client = await lab.client()
    for _ in range(2):
        await client.order("a.localhost")
    answer = await client.order("a.localhost")
    refused(answer, within=5 * 86400)
    assert int(answer.headers["Retry-After"]) > HALF


async def test_a_renewal_that_says_so_does_not_count(lab: Lab) -> None:
    await limited(lab, orders_per_account=Rate(1, timedelta(hours=1)), orders_per_name=Rate(1, timedelta(hours=1)))
    client = await lab.client()
    old = await client.issue("a.localhost")
    refused(await client.order("a.localhost"), within=3600)
    assert (await replacing(client, identifier(old), "a.localhost")).status == 201


async def test_a_renewal_is_no_way_to_order_other_names(lab: Lab) -> None:
    once = Rate(1, timedelta(hours=1))
    await limited(lab, orders_per_account=TWO_AN_HOUR, orders_per_name=once, failures_per_name=once, pause_after=2)
    client = await lab.client()
    old = identifier(await client.issue("a.localhost"))
    await fail(client, "bad.localhost")

    refused(await replacing(client, old, "a.localhost", "bad.localhost"), within=3600)
    refused(await replacing(client, old, "a.localhost", "new.localhost"))
    lab.now[0] += timedelta(hours=1)
    assert (await replacing(client, old, "a.localhost", "new.localhost")).status == 201


async def test_what_is_replaced_already_uses_nothing_up(lab: Lab) -> None:
    await limited(lab, orders_per_account=Rate(3, timedelta(hours=1)))
    client = await lab.client()
    old = identifier(await client.issue("a.localhost"))

    answers = [await replacing(client, old, "a.localhost", "b.localhost") for _ in range(4)]
    assert [each.status for each in answers] == [201, 409, 409, 409]
    assert (await client.order("c.localhost")).status == 201


async def test_an_order_that_is_one_too_many_leaves_what_it_would_replace_to_another(lab: Lab) -> None:
    await limited(lab, orders_per_name=Rate(1, timedelta(hours=1)))
    client = await lab.client()
    old = identifier(await client.issue("a.localhost"))
    assert (await client.order("b.localhost")).status == 201

    together = (replacing(client, old, "a.localhost", "b.localhost"), replacing(client, old, "a.localhost"))
    assert [each.status for each in await asyncio.gather(*together)] == [429, 201]


async def test_who_is_paused_for_a_name_can_not_renew_it_either(lab: Lab) -> None:
    await limited(lab, pause_after=1)
    client = await lab.client()
    old = await client.issue("a.localhost")
    await fail(client, "a.localhost")
    refused(await replacing(client, identifier(old), "a.localhost"), within=86400)


async def test_who_may_not_act_any_more_uses_nothing_up(lab: Lab) -> None:
    await limited(lab, orders_per_name=Rate(1, timedelta(hours=1)))
    client, other = await lab.client(), await lab.client()
    await client.post(str(client.kid))  # its key is known to this process now
    ended = tables.accounts.update().where(tables.accounts.c.id == str(client.kid).rpartition("/")[2])
    await lab.store.write(lambda c: c.execute(ended.values(status="deactivated")))
    assert (await client.order("a.localhost")).status == 401
    assert (await other.order("a.localhost")).status == 201


async def test_failing_for_a_name_is_limited_for_that_account_and_name(lab: Lab) -> None:
    await limited(lab, failures_per_name=TWO_AN_HOUR)
    client, other = await lab.client(), await lab.client()
    for _ in range(2):
        await fail(client, "a.localhost")
    refused(await client.order("b.localhost", "a.localhost"))
    assert (await client.order("b.localhost")).status == 201
    assert (await other.order("a.localhost")).status == 201
    lab.now[0] += timedelta(seconds=HALF)
    assert (await client.order("a.localhost")).status == 201


async def test_every_name_that_failed_too_often_is_told_and_the_wait_is_until_all_are_allowed(lab: Lab) -> None:
    await limited(lab, failures_per_name=TWO_AN_HOUR)
    client = await lab.client()
    for name in ("a.localhost", "a.localhost", "b.localhost", "b.localhost"):
        await fail(client, name)
        lab.now[0] += timedelta(minutes=5)
    answer = await client.order("a.localhost", "c.localhost", "b.localhost")
    refused(answer)
    assert int(answer.headers["Retry-After"]) == 1200
    assert [each["identifier"]["value"] for each in answer.body["subproblems"]] == ["a.localhost", "b.localhost"]
    assert "failed authorizations for a.localhost, b.localhost: at most 2" in answer.body["detail"]


async def test_a_refusal_for_many_names_calls_the_first_of_them(lab: Lab) -> None:
    await limited(lab, pause_after=1)
    client = await lab.client()
    names = [f"{letter}.localhost" for letter in "abcde"]
    for name in names:
        await fail(client, name)
    one, all_ = await client.order("a.localhost"), await client.order(*names)
    assert "show control over a.localhost: the operator" in one.body["detail"]
    assert "show control over a.localhost, b.localhost, c.localhost and 2 more: " in all_.body["detail"]
    assert [each["identifier"]["value"] for each in all_.body["subproblems"]] == names


@pytest.mark.parametrize("limits_", [{"orders_per_account": Rate(1, timedelta(hours=1))}, {"pause_after": 1}])
@pytest.mark.parametrize("page", ["https://ca.test/limits", ""])
async def test_a_refusal_leads_to_help_where_there_is_some(lab: Lab, limits_: dict[str, Any], page: str) -> None:
    await limited(lab, **limits_, help=page)
    client = await lab.client()
    await fail(client, "a.localhost")
    answer = await client.order("a.localhost")
    refused(answer, within=86400)
    assert [each for each in answer.headers.getall("Link") if "help" in each] == ([f'<{page}>;rel="help"'] * bool(page))


async def test_who_never_succeeds_is_paused_until_let_again(lab: Lab) -> None:
    await limited(lab, pause_after=2)
    client = await lab.client()
    account = str(client.kid).rpartition("/")[2]
    await fail(client, "a.localhost")
    await client.issue("a.localhost")
    await fail(client, "a.localhost")
    assert (await client.order("a.localhost")).status == 201, "failures count in a row"
    await fail(client, "a.localhost")
    lab.now[0] += timedelta(days=30)
    answer = await client.order("b.localhost", "a.localhost")
    refused(answer, within=86400)
    assert [each["identifier"]["value"] for each in answer.body["subproblems"]] == ["a.localhost"]
    assert (await client.order("b.localhost")).status == 201
    (one,) = await lab.store.read(lambda c: limits.list_failing(c, paused=True, limit=9))
    assert (one.account, one.identifier, one.failures) == (account, Identifier("dns", "a.localhost"), 2)
    event = {"at": NOW, "action": "unpaused", "actor": "admin:eve", "detail": ""}
    assert await lab.store.write(lambda c: limits.unpause(c, account, "b.localhost", event)) == 0
    assert await lab.store.write(lambda c: limits.unpause(c, account, "a.localhost", event)) == 1
    assert (await client.order("a.localhost")).status == 201


@pytest.mark.parametrize(
    ("address", "site"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2::3", "2001:db8:1::/48"), ("::ffff:192.0.2.1", "192.0.2.1")],
)
def test_addresses_of_one_site_are_one(address: str, site: str) -> None:
    assert _site(address) == site


@given(count=st.integers(1, 5), pauses=st.lists(st.integers(0, 2000), max_size=30))
def test_never_more_at_once_than_so_many_nor_more_often_in_the_long_run(count: int, pauses: list[int]) -> None:
    charge, now, allowed = limits.Charge("k", count, timedelta(hours=1)), NOW, []
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine, [tables.limits])
    with engine.begin() as connection:
        for pause in pauses:
            now += timedelta(seconds=pause)
            wait = limits.count(connection, (charge,), now)
            if wait is None:
                allowed.append(now)
            else:
                assert timedelta() < wait <= charge.period
                assert limits.wait_for(connection, (charge,), now + wait) is None
    engine.dispose()
    for first, last in combinations(range(len(allowed)), 2):
        shares = (allowed[last] - allowed[first]) / (charge.period / count)
        assert last - first + 1 <= count + shares


async def test_without_limits_nothing_is_counted(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("a.localhost")
    assert (await client.finalize(order, make_csr("a.localhost"))).status == 200
    await fail(client, "b.localhost")
    assert await lab.store.read(lambda c: limits.list_failing(c, paused=False, limit=9)) == ()
