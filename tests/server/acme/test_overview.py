"""What administrators see of orders: from the request to the certificate, or to what kept it away."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from server.acme.messages import OrderStatus
from server.acme.records.overview import OrderFilter, search_orders
from server.commands.order import Event, look_up
from tests.server.acme.lab import Client, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Lab


async def history(lab: Lab, order: Answer) -> tuple[dict[str, Any], list[Event]]:
    name, now = order.location.rpartition("/")[2], lab.now[0]
    found = await lab.store.read(lambda connection: look_up(connection, name, now))
    assert found is not None
    return found


async def fail(client: Client, order: Answer) -> None:
    """Answer the challenge of the first authorization though nothing is served, and wait for the end."""
    url = order.body["authorizations"][0]
    await client.post((await client.post(url)).body["challenges"][0]["url"], {})
    await client.until(url, "invalid")


async def test_an_issued_order_is_told_from_the_request_to_the_certificate(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("a.localhost")
    done = await client.finalize(order, make_csr("a.localhost"))
    assert done.body["status"] == "valid"
    fields, events = await history(lab, order)
    assert [each.what for each in events] == ["ordered", "http-01 valid", "finalized", "issued"]
    assert (fields["status"], fields["names"], fields["address"]) == ("valid", ["dns:a.localhost"], "127.0.0.1")
    assert fields["serial"] == events[-1].details[0].removeprefix("serial ")
    account = str(client.kid).rpartition("/")[2]
    assert [each.who for each in events[:2]] == [f"account:{account} from 127.0.0.1", "a.localhost"]
    trail = events[1].details
    assert trail[:2] == ("a.localhost: 127.0.0.1, ::1", f"127.0.0.1 port {lab.http01_port}: connected")
    assert "status 200" in trail[2]
    assert "control was shown" in trail[-1]


async def test_each_failed_attempt_is_told_with_what_was_found(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("a.localhost")
    await fail(client, order)
    fields, events = await history(lab, order)
    failures = [each for each in events if each.what == "http-01 failed"]
    assert len(failures) == 3
    assert "status 404" in failures[0].details[2]
    assert "unauthorized: a.localhost answered with status 404 instead of 200" in failures[0].details[-1]
    assert "status 404" in fields["error"]
    (refused,) = [each for each in events if each.what == "refused"]
    assert "bad-credentials" in refused.details[0]


async def test_what_policy_found_is_told_with_its_place(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready("a.localhost")
    assert (await client.finalize(order, make_csr("b.localhost"))).status == 400
    _, events = await history(lab, order)
    assert "the CSR's names are not exactly those of the order" in events[-1].details


async def test_what_nobody_answered_is_told_to_be_so(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("a.localhost")
    _, events = await history(lab, order)
    assert (events[-1].what, events[-1].details) == ("authorization pending", ("no challenge was answered",))
    lab.now[0] += timedelta(days=2)
    fields, events = await history(lab, order)
    assert (fields["status"], events[-1].what) == ("invalid", "authorization expired")
    assert await lab.store.read(lambda c: look_up(c, "unknown", lab.now[0])) is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, {"a", "b", "c"}),
        ({"statuses": (OrderStatus.PENDING,)}, {"b"}),
        ({"statuses": (OrderStatus.READY, OrderStatus.INVALID)}, {"a", "c"}),
        ({"text": "B.local"}, {"b"}),
        ({"text": "%"}, set()),
        ({"endpoint": "acme/default", "limit": 2}, {"b", "c"}),
        ({"endpoint": "acme/other"}, set()),
    ],
)
async def test_orders_are_found_by_state_name_and_endpoint(lab: Lab, wanted: Any, expected: set[str]) -> None:
    client = await lab.client()
    await client.ready("a.localhost")
    lab.now[0] += timedelta(seconds=1)
    await fail(client, await client.order("c.localhost"))
    lab.now[0] += timedelta(seconds=1)
    await client.order("b.localhost")
    found = await lab.store.read(lambda c: search_orders(c, OrderFilter(lab.now[0], **wanted)))
    assert {each.order.identifiers[0].value[0] for each in found} == expected
