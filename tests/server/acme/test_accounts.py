"""Accounts: made, found, changed, deactivated, given another key (RFC 8555 section 7.3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from server.acme.records.tables import accounts, orders
from server.acme.service.endings import end_account
from server.acme.states import AccountEvent
from server.store.tables import audit_events
from tests.fakes.acme import Signer, b64, json_bytes
from tests.server.acme.lab import ORIGIN, Client, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Lab

KEY_CHANGE = f"{ORIGIN}/acme/key-change"


async def test_a_new_account_is_created_and_described(lab: Lab) -> None:
    answer = await Client(lab).register(contact=["mailto:pki@example.com"])
    assert answer.status == 201
    assert answer.location.startswith(f"{ORIGIN}/acme/account/")
    assert answer.body == {
        "status": "valid",
        "contact": ["mailto:pki@example.com"],
        "termsOfServiceAgreed": True,
        "orders": f"{answer.location}/orders",
    }


async def test_a_key_that_did_not_sign_makes_and_finds_no_account(lab: Lab) -> None:
    owner, thief = await lab.client(), Client(lab)
    for whose, status in ((owner.signer, 200), (Signer(), 201)):
        for payload in ({}, {"onlyReturnExisting": True}):
            answer = await thief.post(thief.url("/new-account"), payload, jwk=whose.jwk)
            assert (answer.status, answer.error) == (400, "malformed")
            assert "Location" not in answer.headers
        thief.signer, thief.kid = whose, None
        assert (await thief.register()).status == status
        thief.signer, thief.kid = Signer(), None


async def test_the_same_key_again_is_the_same_account_as_it_is(lab: Lab) -> None:
    client = Client(lab)
    first = await client.register(contact=["mailto:pki@example.com"])
    client.kid = None
    second = await client.register(contact=["mailto:other@example.com"], orders="https://evil.test/", status="revoked")
    assert (second.status, second.location, second.body) == (200, first.location, first.body)


@pytest.mark.parametrize(
    "asked",
    [{"contact": ["tel:+12"]}, {"contact": 7}, {"onlyReturnExisting": "yes"}, {"termsOfServiceAgreed": 1}, {}],
)
async def test_an_existing_account_is_returned_whatever_is_asked_for(lab: Lab, asked: dict[str, Any]) -> None:
    client = await lab.client()
    url, client.kid = str(client.kid), None
    answer = await client.post(client.url("/new-account"), asked)
    assert (answer.status, answer.location) == (200, url)
    for none in (b"", b"[]", b"{"):
        refused = await client.post(client.url("/new-account"), none)
        assert (refused.status, refused.error) == (400, "malformed")


async def test_two_requests_at_once_with_one_key_make_one_account(lab: Lab) -> None:
    client = Client(lab)
    url = client.url("/new-account")
    answers = await asyncio.gather(*(client.post(url, {}) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] * 7 + [201]
    assert len({answer.location for answer in answers}) == 1


async def test_only_an_existing_account_is_returned_when_that_is_asked_for(lab: Lab) -> None:
    client = Client(lab)
    nobody = await client.register(onlyReturnExisting=True)
    assert (nobody.status, nobody.error) == (400, "accountDoesNotExist")
    made = await client.register()
    client.kid = None
    found = await client.register(onlyReturnExisting=True)
    assert (found.status, found.location) == (200, made.location)
    assert "onlyReturnExisting" not in found.body


async def test_unknown_members_are_ignored_and_not_reflected(lab: Lab) -> None:
    answer = await Client(lab).register(externalAccountBinding={"protected": "x"}, unknown=[1])
    assert answer.status == 201
    assert set(answer.body) == {"status", "termsOfServiceAgreed", "orders"}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"contact": ["tel:+123"]}, "unsupportedContact"),
        ({"contact": ["https://example.com"]}, "unsupportedContact"),
        ({"contact": ["mailto:a@example.com,b@example.com"]}, "invalidContact"),
        ({"contact": ["mailto:a@example.com?subject=x"]}, "invalidContact"),
        ({"contact": ["mailto:nobody"]}, "invalidContact"),
        ({"contact": ["mailto:a@.."]}, "invalidContact"),
        ({"contact": ["mailto:a@-example.com"]}, "invalidContact"),
        ({"contact": ["mailto:a..b@example.com"]}, "invalidContact"),
        ({"contact": ["mailto:\ud800@example.com"]}, "malformed"),
        ({"contact": [f"mailto:a{n}@example.com" for n in range(11)]}, "invalidContact"),
        ({"contact": "mailto:a@example.com"}, "malformed"),
        ({"contact": [1]}, "malformed"),
        ({"contact": None}, "malformed"),
        ({"onlyReturnExisting": "yes"}, "malformed"),
        ({"termsOfServiceAgreed": 1}, "malformed"),
        ([], "malformed"),
        (b"", "malformed"),
        (b"{", "malformed"),
    ],
)
async def test_a_bad_new_account_is_refused(lab: Lab, payload: Any, error: str) -> None:
    client = Client(lab)
    answer = await client.post(client.url("/new-account"), payload)
    assert (answer.status, answer.error) == (400, error)


async def test_contacts_can_be_read_and_changed_and_nothing_else(lab: Lab) -> None:
    client = await lab.client()
    assert client.kid
    changed = await client.post(client.kid, {"contact": ["mailto:new@example.com"], "status": "valid", "orders": "x"})
    assert (changed.status, changed.location) == (200, client.kid)
    assert changed.body["contact"] == ["mailto:new@example.com"]
    assert (await client.post(client.kid)).body == changed.body
    assert (await client.post(client.kid, {"termsOfServiceAgreed": False})).body == changed.body
    assert "contact" not in (await client.post(client.kid, {"contact": []})).body


async def test_an_account_acts_on_itself_only(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    assert two.kid
    unknown = await one.post(f"{ORIGIN}/acme/account/unknown")
    for payload in (b"", {}, {"status": "deactivated"}, {"contact": ["mailto:a@example.com"]}):
        answer = await one.post(two.kid, payload)
        assert (answer.status, answer.error, answer.body) == (403, "unauthorized", unknown.body)
    assert (await two.post(two.kid)).body["status"] == "valid"


async def test_a_deactivated_account_can_do_nothing_any_more(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("gone.localhost")
    assert client.kid
    gone = await client.post(client.kid, {"status": "deactivated"})
    assert (gone.status, gone.body["status"]) == (200, "deactivated")
    for url, payload in (
        (client.kid, b""),
        (client.kid, {"contact": []}),
        (f"{client.kid}/orders", b""),
        (order.location, b""),
        (order.body["authorizations"][0], b""),
        (order.body["authorizations"][0], {"status": "deactivated"}),
        (order.body["finalize"], {"csr": "AAAA"}),
        (client.url("/new-order"), {"identifiers": [{"type": "dns", "value": "x.localhost"}]}),
        (client.url("/directory"), b""),
    ):
        answer = await client.post(url, payload)
        assert (answer.status, answer.error) == (401, "unauthorized"), url
    client.kid = None
    again = await client.register()
    assert (again.status, again.error) == (401, "unauthorized")
    assert (await client.register(onlyReturnExisting=True)).status == 401


async def test_the_record_says_that_an_order_is_invalid_because_its_account_has_ended(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("gone.localhost")
    await client.post(str(client.kid), {"status": "deactivated"})
    number = order.location.rpartition("/")[2]
    kept = await lab.store.read(lambda c: c.execute(orders.select().where(orders.c.id == number)).one())
    assert (kept.status, kept.error["detail"]) == ("invalid", "the account has ended")


async def test_deactivation_reaches_an_account_whose_key_another_process_has_cached(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("cached.localhost")
    assert client.kid
    ended = accounts.update().where(accounts.c.id == client.kid.rpartition("/")[2])
    await lab.store.write(lambda c: c.execute(ended.values(status="deactivated")))  # as that process does
    for url, payload in (
        (client.kid, b""),
        (client.kid, {"contact": []}),
        (f"{client.kid}/orders", b""),
        (order.location, b""),
        (order.body["authorizations"][0], b""),
        (order.body["finalize"], {"csr": b64(make_csr("cached.localhost"))}),
        (client.url("/new-order"), {"identifiers": [{"type": "dns", "value": "x.localhost"}]}),
        (client.url("/directory"), b""),
        (client.url("/new-nonce"), b""),
    ):
        answer = await client.post(url, payload)
        assert (answer.status, answer.error) == (401, "unauthorized"), url


async def test_orders_are_listed_newest_first_in_pages(lab: Lab) -> None:
    client = await lab.client()
    made = []
    for number in range(53):
        made.append((await client.order(f"n{number}.localhost")).location)
        if number % 2:
            lab.now[0] = lab.now[0].replace(microsecond=number)
    url = f"{client.kid}/orders"
    first = await client.post(url)
    assert len(first.body["orders"]) == 50
    link = next(value for value in first.headers.getall("Link") if 'rel="next"' in value)
    second = await client.post(link[1 : link.index(">")])
    assert len(second.body["orders"]) == 3
    assert 'rel="next"' not in " ".join(second.headers.getall("Link"))
    assert sorted(first.body["orders"] + second.body["orders"]) == sorted(made)
    assert (await client.post(f"{url}?cursor=unknown")).body["orders"] == []
    assert (await client.post(url, {})).status == 400


async def test_invalid_and_expired_orders_are_not_listed(lab: Lab) -> None:
    client = await lab.client()
    lost = await client.order("lost.localhost")
    await client.post(lost.body["authorizations"][0], {"status": "deactivated"})
    kept = await client.order("kept.localhost")
    url = f"{client.kid}/orders"
    assert (await client.post(url)).body == {"orders": [kept.location]}
    lab.now[0] += lab.endpoint().timing.order_lifetime
    assert (await client.post(url)).body == {"orders": []}


def inner(client: Client, new: Signer, **changes: Any) -> dict[str, str]:
    payload = {"account": client.kid, "oldKey": client.signer.jwk} | changes.pop("payload", {})
    header = {"jwk": new.jwk, "url": KEY_CHANGE} | changes
    return new.sign(json_bytes(payload), **header)


async def test_an_account_can_change_its_key(lab: Lab) -> None:
    client, new = await lab.client(), Signer()
    old = client.signer
    answer = await client.post(KEY_CHANGE, inner(client, new))
    assert (answer.status, answer.body["status"], answer.location) == (200, "valid", client.kid)
    refused = await client.post(client.kid or "", signer=old)
    assert refused.status in {400, 401}
    client.signer = new
    assert (await client.post(client.kid or "")).status == 200
    assert (await client.issue("rolled.localhost")).serial_number


async def test_another_process_learns_of_a_changed_key(lab: Lab) -> None:
    endpoint, label = lab.endpoint(), "again"
    await lab.serve(endpoint, lab.endpoint(label))
    client, new = await lab.client(), Signer()
    await client.post(client.kid or "")
    changed = await client.post(KEY_CHANGE, inner(client, new))
    assert changed.status == 200
    client.signer = new
    for _ in range(2):
        assert (await client.post(client.kid or "")).status == 200


async def test_a_new_key_that_has_an_account_is_a_conflict_that_names_it(lab: Lab) -> None:
    one, two = await lab.client(), await lab.client()
    answer = await one.post(KEY_CHANGE, inner(one, two.signer))
    assert (answer.status, answer.error, answer.location) == (409, "malformed", two.kid)
    same = await one.post(KEY_CHANGE, inner(one, one.signer))
    assert (same.status, same.location) == (409, one.kid)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "AAAA"},
        {"url": f"{ORIGIN}/acme/new-order"},
        {"jwk": None, "kid": "https://acme.test/acme/account/x"},
        {"alg": "HS256"},
        {"jwk": Signer().jwk},
        {"payload": {"account": f"{ORIGIN}/acme/account/other"}},
        {"payload": {"account": 1}},
        {"payload": {"oldKey": Signer().jwk}},
        {"payload": {"oldKey": {}}},
        {"payload": {"oldKey": None}},
    ],
)
async def test_a_bad_key_change_is_refused_and_changes_nothing(lab: Lab, changes: dict[str, Any]) -> None:
    client = await lab.client()
    answer = await client.post(KEY_CHANGE, inner(client, Signer(), **changes))
    assert answer.status == 400
    assert (await client.post(client.kid or "")).status == 200


async def test_the_inner_message_must_be_signed_with_the_new_key(lab: Lab) -> None:
    client, new = await lab.client(), Signer()
    forged = client.signer.sign(
        json_bytes({"account": client.kid, "oldKey": client.signer.jwk}), jwk=new.jwk, url=KEY_CHANGE
    )
    assert (await client.post(KEY_CHANGE, forged)).error == "malformed"
    unsigned = {**inner(client, new), "signature": b64(b"x" * 64)}
    assert (await client.post(KEY_CHANGE, unsigned)).error == "malformed"


async def test_a_new_account_must_agree_to_the_terms_where_there_are_some(lab: Lab) -> None:
    terms = "https://ca.test/terms"
    await lab.serve(lab.endpoint(terms_of_service=terms, website="https://ca.test/"))
    directory = (await lab.request("GET", "/acme/directory")).body
    assert (directory["meta"]["termsOfService"], directory["meta"]["website"]) == (terms, "https://ca.test/")
    client = Client(lab)
    for payload in ({"termsOfServiceAgreed": False}, {}):
        answer = await client.post(client.url("/new-account"), payload)
        assert (answer.status, answer.error) == (403, "userActionRequired")
        assert f'<{terms}>;rel="terms-of-service"' in answer.headers.getall("Link")
    assert (await client.register()).status == 201
    again: dict[str, Any] = {"kid": None, "jwk": client.signer.jwk}
    assert (await client.post(client.url("/new-account"), {"onlyReturnExisting": True}, **again)).status == 200


async def test_an_account_that_a_person_has_revoked_opens_nothing_and_is_not_made_again(lab: Lab) -> None:
    client = await lab.client()
    order, name = await client.ready("a.localhost"), str(client.kid).rpartition("/")[2]
    now = lab.now[0]
    await lab.store.write(lambda c: end_account(c, name, AccountEvent.REVOKED, "admin:eve", now))
    for answer in (
        await client.post(str(client.kid)),
        await client.order("b.localhost"),
        await client.finalize(order, make_csr("a.localhost")),
        await Client(lab, signer=client.signer).register(),
    ):
        assert (answer.status, answer.error) == (401, "unauthorized")


async def test_who_ended_an_account_is_on_record(lab: Lab) -> None:
    client = await lab.client()
    name = str(client.kid).rpartition("/")[2]
    await client.post(str(client.kid), {"status": "deactivated"})
    events = await lab.store.read(lambda c: c.execute(sa.select(audit_events.c.action, audit_events.c.actor)).all())
    assert ("account-ended", f"account:{name}") in [tuple(each) for each in events]
