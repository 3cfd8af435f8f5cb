"""dns-account-01 and dns-persist-01 against a DNS server, and over HTTP."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from server.acme.challenges.dns_account01 import DnsAccount01, account_label
from server.acme.challenges.dns_persist01 import DnsPersist01
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.lookup import Lookup
from server.acme.challenges.question import Question
from server.config import Nameserver
from tests.fakes.acme import b64
from tests.fakes.issuer import NOW
from tests.server.acme.lab import make_csr

if TYPE_CHECKING:
    from server.acme.challenges import ChallengeType
    from tests.fakes.dns_server import DnsServer, Zone
    from tests.server.acme.lab import Lab

ACCOUNT, OTHER = "https://example.com/acme/acct/ExampleAccount", "https://other.test/acme/acct/1"
KEY = "token.thumbprint"
DIGEST = b64(sha256(KEY.encode()).digest())
LATER, EARLIER = int(NOW.timestamp()) + 1, int(NOW.timestamp()) - 1
PERSIST = "_validation-persist.a.test."


def looking(server: DnsServer) -> Lookup:
    return Lookup((Nameserver("127.0.0.1", server.port),), 2)


def by_account(server: DnsServer) -> DnsAccount01:
    return DnsAccount01(looking(server))


def persistent(server: DnsServer) -> DnsPersist01:
    return DnsPersist01(looking(server), ("ca.test", "ca.example"), NOW.timestamp)


async def verdict(type_: ChallengeType, *, wildcard: bool = False, accounts: tuple[str, ...] = (ACCOUNT, OTHER)) -> str:
    """The error type, empty when control was shown."""
    try:
        await type_.validate(Question("a.test", "token", KEY, wildcard, accounts))
    except ValidationFailed as failed:
        return failed.error
    return ""


def test_the_label_of_the_draft_is_computed() -> None:
    assert account_label(ACCOUNT) == "_ujmmovf2vn55tgye"


async def test_the_record_at_the_accounts_own_label_shows_control(zone: Zone, server: DnsServer) -> None:
    zone["_acme-challenge.a.test."] = [DIGEST]
    assert await verdict(by_account(server)) == "dns"
    zone["_ujmmovf2vn55tgye._acme-challenge.a.test."] = ["other", DIGEST]
    assert await verdict(by_account(server)) == ""
    assert await verdict(by_account(server), accounts=(OTHER,)) == "dns"
    zone[f"{account_label(OTHER)}._acme-challenge.a.test."] = ["other"]
    assert await verdict(by_account(server), accounts=(OTHER,)) == "unauthorized"
    assert await verdict(by_account(server), accounts=()) == "unauthorized"


@pytest.mark.parametrize(
    ("record", "host", "wild"),
    [
        (f'"ca.test; accounturi={ACCOUNT}"', True, False),
        (f'"CA.Example;accounturi={OTHER}"', True, False),
        (f'"ca.test;" " accounturi={ACCOUNT};" " policy=wildcard"', True, True),
        (f'"ca.test; policy=WILDCARD; accounturi={ACCOUNT}"', True, True),
        (f'"ca.test; policy=other; accounturi={ACCOUNT}"', True, False),
        (f'"ca.test; accounturi={ACCOUNT}; future=thing"', True, False),
        (f'"ca.test; accounturi={ACCOUNT}; persistUntil={LATER}"', True, False),
        (f'"ca.test; accounturi={ACCOUNT}; persistUntil={EARLIER}"', False, False),
        (f'"ca.test; accounturi={ACCOUNT}; persistUntil=soon"', False, False),
        (f'"ca.test; accounturi={ACCOUNT}; persistUntil=-1"', False, False),
        (f'"ca.test; accounturi={ACCOUNT}; persistUntil="', False, False),
        (f'"ca.test; accounturi={ACCOUNT}; persistUntil={LATER}; persistuntil={LATER}"', False, False),
        (f'"ca.test; accounturi={ACCOUNT}; policy=wildcard; policy=wildcard"', False, False),
        (f'"ca.test; accounturi={ACCOUNT}; accounturi={ACCOUNT}"', False, False),
        (f'"ca.test; accounturi={ACCOUNT.upper()}"', False, False),
        (f'"ca.test; accounturi={ACCOUNT}0"', False, False),
        ('"ca.test"', False, False),
        (f'"other.test; accounturi={ACCOUNT}; policy=wildcard"', False, False),
        (f'"ca.test accounturi={ACCOUNT}"', False, False),
        (f'"; accounturi={ACCOUNT}"', False, False),
        (DIGEST, False, False),
    ],
)
async def test_a_record_that_stays_decides(
    zone: Zone, server: DnsServer, record: str, *, host: bool, wild: bool
) -> None:
    zone[PERSIST] = ['"other.test; accounturi=x"', record]
    assert await verdict(persistent(server)) == ("" if host else "unauthorized")
    assert await verdict(persistent(server), wildcard=True) == ("" if wild else "unauthorized")


async def test_without_a_record_there_is_no_control(zone: Zone, server: DnsServer) -> None:
    assert await verdict(persistent(server)) == "dns"
    zone[PERSIST] = 2
    assert await verdict(persistent(server)) == "dns"


async def test_a_client_gets_a_certificate_by_a_record_that_stays(lab: Lab, zone: Zone, server: DnsServer) -> None:
    await lab.serve(lab.endpoint(challenges=(persistent(server), by_account(server)), issuer_names=("ca.test",)))
    client = await lab.client()
    zone["_validation-persist.a.localhost."] = [f'"ca.test; accounturi={client.kid}"']
    order = await client.order("a.localhost")
    (url,) = order.body["authorizations"]
    persist, account = (await client.post(url)).body["challenges"]
    assert (persist["accounturi"], persist["issuer-domain-names"]) == (client.kid, ["ca.test"])
    assert "token" not in persist
    assert "token" in account
    started = await client.post(persist["url"], {})
    assert started.body["accounturi"] == client.kid
    await client.until(url, "valid")
    assert (await client.finalize(order, make_csr("a.localhost"))).body["status"] == "valid"


async def test_a_record_that_stays_is_for_names_below_only_if_it_says_so(
    lab: Lab, zone: Zone, server: DnsServer
) -> None:
    settings: dict[str, Any] = {"issuer_names": ("ca.test",), "subdomains": True, "pre_authorization": True}
    await lab.serve(lab.endpoint(challenges=(persistent(server),), **settings))
    client = await lab.client()
    below = {"identifiers": [{"type": "dns", "value": "www.a.localhost", "ancestorDomain": "a.localhost"}]}
    for policy, status in (("", "invalid"), ("; policy=wildcard", "valid")):
        zone["_validation-persist.a.localhost."] = [f'"ca.test; accounturi={client.kid}{policy}"']
        (url,) = (await client.post(client.url("/new-order"), below)).body["authorizations"]
        await client.post((await client.post(url)).body["challenges"][0]["url"], {})
        assert (await client.until(url, "valid", "invalid")).body["status"] == status


async def test_a_record_that_stays_is_looked_up_for_each_order(lab: Lab, server: DnsServer) -> None:
    settings: dict[str, Any] = {"issuer_names": ("ca.test",), "subdomains": True, "pre_authorization": True}
    await lab.serve(lab.endpoint(challenges=(persistent(server),), **settings))
    client = await lab.client()
    for members in ({}, {"subdomainAuthAllowed": True}):
        identifier = {"type": "dns", "value": "a.localhost", **members}
        answer = await client.post(client.url("/new-authz"), {"identifier": identifier})
        assert (answer.status, answer.error) == (403, "rejectedIdentifier")
    await lab.serve(lab.endpoint(challenges=(persistent(server), by_account(server)), **settings))
    answer = await client.post(client.url("/new-authz"), {"identifier": {"type": "dns", "value": "a.localhost"}})
    assert [each["type"] for each in answer.body["challenges"]] == ["dns-account-01"]
