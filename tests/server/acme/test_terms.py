"""Terms of service that change under accounts (RFC 8555 section 7.3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.acme.records import accounts
from server.audit import Action, AuditEvent
from tests.server.acme.lab import Client

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Lab

OLD, NEW, HOW = "https://ca.test/terms/1", "https://ca.test/terms/2", "https://ca.test/how-to-agree"


async def serve(lab: Lab, terms: str, changed: str = HOW) -> None:
    await lab.serve(lab.endpoint(terms_of_service=terms, changed_terms=changed, pre_authorization=True))


async def authorization(client: Client) -> Answer:
    return await client.post(client.url("/new-authz"), {"identifier": {"type": "dns", "value": "a.localhost"}})


def is_told(answer: Answer) -> bool:
    told = (answer.status, answer.error, answer.body["instance"]) == (403, "userActionRequired", HOW)
    return told and f'<{NEW}>;rel="terms-of-service"' in answer.headers.getall("Link")


async def test_an_account_that_agreed_to_older_terms_can_not_order_before_it_agrees(lab: Lab) -> None:
    await serve(lab, OLD)
    client = await lab.client()
    begun = await client.ready("a.localhost")
    await serve(lab, NEW)
    assert is_told(await client.order("a.localhost"))
    assert is_told(await authorization(client))
    assert (await client.post(str(client.kid))).body["status"] == "valid"
    assert (await client.post(begun.location)).body["status"] == "ready"  # what was begun can be ended
    account = str(client.kid).rpartition("/")[2]
    event = AuditEvent(lab.now[0], Action.TERMS_AGREED, "admin:eve").row()
    await lab.store.write(lambda connection: accounts.agree(connection, account, NEW, event))
    assert (await client.order("a.localhost")).status == 201
    assert (await authorization(client)).status == 201


async def test_a_new_account_agrees_to_the_terms_that_there_are(lab: Lab) -> None:
    await serve(lab, NEW)
    client = await lab.client()
    assert (await client.order("a.localhost")).status == 201


async def test_accounts_that_agreed_to_nothing_known_are_asked_too(lab: Lab) -> None:
    client = Client(lab)
    await client.register(termsOfServiceAgreed=False)
    other = await lab.client()  # there were no terms to agree to
    await serve(lab, NEW)
    assert is_told(await client.order("a.localhost"))
    assert is_told(await other.order("a.localhost"))


async def test_accounts_go_on_where_nothing_says_how_to_agree(lab: Lab) -> None:
    await serve(lab, OLD, "")
    client = await lab.client()
    await serve(lab, NEW, "")
    assert (await client.order("a.localhost")).status == 201
    await serve(lab, "", HOW)
    assert (await client.order("a.localhost")).status == 201
