"""Who may do what: every resource, asked by everybody who may not (RFC 8555 sections 6.2, 7.3.6 and 10.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from server.acme.records.tables import accounts, authorizations, orders
from tests.fakes.acme import Signer, b64, json_bytes
from tests.server.acme.lab import Client, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Lab

RESOURCES: dict[str, object] = {
    "account": b"",
    "account, deactivated": {"status": "deactivated"},
    "account, contact": {"contact": ["mailto:thief@test"]},
    "orders": b"",
    "order": b"",
    "finalize": {"csr": b64(make_csr("a.localhost"))},
    "certificate": b"",
    "authorization": b"",
    "authorization, deactivated": {"status": "deactivated"},
    "challenge": b"",
    "challenge, answered": {},
    "new-order": {"identifiers": [{"type": "dns", "value": "b.localhost"}]},
    "new-authz": {"identifier": {"type": "dns", "value": "b.localhost"}},
    "key-change": {},
}
OWN = ("new-order", "new-authz", "key-change")
"""What everybody has for themselves."""


@pytest_asyncio.fixture
async def owner(lab: Lab) -> Client:
    await lab.serve(lab.endpoint(pre_authorization=True))
    return await lab.client()


async def target(client: Client, resource: str, order: Answer) -> str:
    kind, authorization = resource.partition(",")[0], str(order.body["authorizations"][0])
    places = {
        "account": str(client.kid),
        "orders": f"{client.kid}/orders",
        "order": order.location,
        "finalize": str(order.body["finalize"]),
        "certificate": order.location.replace("/order/", "/certificate/"),
        "authorization": authorization,
        "challenge": str((await client.post(authorization)).body["challenges"][0]["url"]),
    }
    return places.get(kind) or client.url(f"/{kind}")


async def state(lab: Lab) -> list[Any]:
    """Everything that a thief might have changed."""

    def work(connection: sa.Connection) -> list[Any]:
        found = [connection.execute(sa.select(table).order_by(table.c.id)).all() for table in (orders, authorizations)]
        mine = accounts.c
        return [*found, connection.execute(sa.select(mine.id, mine.status, mine.thumbprint, mine.contact)).all()]

    return await lab.store.read(work)


@pytest.mark.parametrize("resource", RESOURCES)
async def test_nobody_else_gets_anything_or_changes_anything(lab: Lab, owner: Client, resource: str) -> None:
    order = await owner.ready("a.localhost")
    thief, gone = await lab.client(), await lab.client()
    await gone.post(str(gone.kid), {"status": "deactivated"})
    url, payload = await target(owner, resource, order), RESOURCES[resource]
    octets = payload if isinstance(payload, bytes) else json_bytes(payload)
    before = await state(lab)
    answers = {
        "no message": await lab.post_jws(url, octets or b"{}"),
        "a message without signature": await lab.post_jws(url, {"protected": "e30", "payload": b64(octets)}),
        "the owner's account, another key": await thief.post(url, payload, kid=owner.kid),
        "the owner's key instead of the account": await Client(lab, signer=owner.signer).post(url, payload),
        "a key of nobody": await Client(lab, signer=Signer()).post(url, payload),
        "an account that is deactivated": await gone.post(url, payload),
    }
    if resource not in OWN:
        answers["another account"] = await thief.post(url, payload)
    for who, answer in answers.items():
        assert 400 <= answer.status < 500, (who, answer.body)
        assert answer.headers["Replay-Nonce"], who
    assert answers["an account that is deactivated"].status == 401
    assert await state(lab) == before
