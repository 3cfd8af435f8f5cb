"""newAuthz (RFC 8555 section 7.4.1), and domains that are validated instead of names below them (RFC 9444)."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from server.acme.challenges.caa import Caa
from server.acme.challenges.dns01 import Dns01
from server.acme.challenges.lookup import Lookup
from server.acme.records import tables
from server.acme.service import AcmeProfile, Proofs, Rate, RateLimits
from server.acme.service.endings import end_account
from server.acme.states import AccountEvent
from server.config import Nameserver
from tests.fakes.acme import b64
from tests.server.acme.lab import PROFILE_TEXT, Client, make_csr, make_lab, tear

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.dns_server import DnsServer, Zone
    from tests.server.acme.lab import Answer, Lab


def looking(server: DnsServer) -> Lookup:
    return Lookup((Nameserver("127.0.0.1", server.port),), 2)


@pytest_asyncio.fixture
async def site(tmp_path: Path, server: DnsServer) -> AsyncIterator[Lab]:
    text = PROFILE_TEXT.partition("\ntests:")[0].replace("wildcards: forbidden", "wildcards: allowed")
    made = await make_lab(tmp_path, text)
    await serve(made, server)
    yield made
    await tear(made)


async def serve(lab: Lab, server: DnsServer, **changes: Any) -> None:
    challenges = (*lab.endpoint().challenges, Dns01(looking(server)))
    settings = {"pre_authorization": True, "subdomains": True, **changes}
    await lab.serve(lab.endpoint(challenges=challenges, **settings))


async def ask(client: Client, value: str, type_: str = "dns", **members: Any) -> Answer:
    return await client.post(client.url("/new-authz"), {"identifier": {"type": type_, "value": value}, **members})


async def show(client: Client, url: str, zone: Zone | None = None) -> None:
    """Show control: by HTTP, by DNS when there is a zone."""
    found = (await client.post(url)).body
    wanted = "dns-01" if zone is not None else "http-01"
    challenge = next(each for each in found["challenges"] if each["type"] == wanted)
    authorization = f"{challenge['token']}.{client.signer.thumbprint}"
    client.lab.served[challenge["token"]] = authorization
    if zone is not None:
        texts = zone.setdefault(f"_acme-challenge.{found['identifier']['value']}.", [])
        assert isinstance(texts, list)
        texts.append(b64(sha256(authorization.encode()).digest()))
    await client.post(challenge["url"], {})
    assert (await client.until(url, "valid", "invalid")).body["status"] == "valid"


async def below(client: Client, *names: str, above: str = "a.test") -> Answer:
    identifiers = [{"type": "dns", "value": name, "ancestorDomain": above} for name in names]
    return await client.post(client.url("/new-order"), {"identifiers": identifiers})


async def test_the_directory_says_what_there_is(site: Lab, lab: Lab) -> None:
    offered = (await site.request("GET", "/acme/directory")).body
    assert offered["newAuthz"] == Client(site).url("/new-authz")
    assert offered["meta"]["subdomainAuthAllowed"] is True
    client = await lab.client()
    assert "newAuthz" not in (await lab.request("GET", "/acme/directory")).body
    assert (await ask(client, "a.localhost")).status == 404


async def test_an_order_relies_on_what_was_authorized_before(site: Lab) -> None:
    client, other = await site.client(), await site.client()
    made = await ask(client, "A.localhost")
    assert (made.status, made.body["status"], made.body["identifier"]["value"]) == (201, "pending", "a.localhost")
    await show(client, made.location)
    order = await client.order("a.localhost")
    assert (order.status, order.body["status"], order.body["authorizations"]) == (201, "ready", [made.location])
    assert order.body["expires"] == made.body["expires"]
    assert (await client.finalize(order, make_csr("a.localhost"))).body["status"] == "valid"
    partly = await client.order("b.localhost", "a.localhost")
    assert partly.body["status"] == "pending"
    assert partly.body["authorizations"][1] == made.location
    await show(client, partly.body["authorizations"][0])
    assert (await client.finalize(partly, make_csr("a.localhost", "b.localhost"))).body["status"] == "valid"
    assert made.location not in (await other.order("a.localhost")).body["authorizations"]


async def test_what_was_given_back_or_expired_is_not_relied_on(site: Lab) -> None:
    client = await site.client()
    made = await ask(client, "a.localhost")
    await show(client, made.location)
    orders = [await client.order("a.localhost"), await client.order("b.localhost", "a.localhost")]
    other = await client.order("b.localhost")
    assert (await client.post(made.location, {"status": "deactivated"})).body["status"] == "deactivated"
    for order in orders:
        assert (await client.post(order.location)).body["status"] == "invalid"
    assert (await client.finalize(orders[0], make_csr("a.localhost"))).error == "orderNotReady"
    assert (await client.post(other.location)).body["status"] == "pending"
    assert site.issuer.issued == []
    again = await ask(client, "a.localhost")
    await show(client, again.location)
    site.now[0] += timedelta(days=2)
    assert (await client.order("a.localhost")).body["status"] == "pending"


async def test_an_order_ends_with_the_first_of_its_authorizations(site: Lab) -> None:
    client = await site.client()
    made = await ask(client, "a.localhost")
    await show(client, made.location)
    site.now[0] += timedelta(hours=5)
    order = await client.order("b.localhost", "a.localhost")
    (later, sooner) = [(await client.post(each)).body["expires"] for each in order.body["authorizations"]]
    assert order.body["expires"] == sooner == made.body["expires"] < later


async def test_of_several_authorizations_for_a_name_the_one_that_is_good_for_longest_is_relied_on(site: Lab) -> None:
    client = await site.client()
    await show(client, (await ask(client, "a.localhost")).location)
    site.now[0] += timedelta(hours=23, minutes=59)
    again = await ask(client, "a.localhost")
    await show(client, again.location)
    order = await client.order("a.localhost")
    assert (order.body["authorizations"], order.body["expires"]) == ([again.location], again.body["expires"])
    site.now[0] += timedelta(minutes=2)
    assert (await client.finalize(order, make_csr("a.localhost"))).body["status"] == "valid"


async def test_a_deactivated_account_authorizes_nothing(site: Lab) -> None:
    client = await site.client()
    name, now = str(client.kid).rpartition("/")[2], site.now[0]
    await site.store.write(lambda c: end_account(c, name, AccountEvent.REVOKED, "admin:eve", now))
    refused = await ask(client, "a.localhost")
    assert (refused.status, refused.error) == (401, "unauthorized")


async def test_an_authorization_is_looked_at_again_when_its_order_is_finalized(site: Lab) -> None:
    client = await site.client()
    for name in ("a.localhost", "b.localhost"):
        await show(client, (await ask(client, name)).location)
    order = await client.order("a.localhost", "b.localhost")
    one = tables.authorizations.c.id == order.body["authorizations"][0].rpartition("/")[2]
    await site.store.write(lambda c: c.execute(tables.authorizations.update().where(one).values(status="revoked")))
    refused = await client.finalize(order, make_csr("a.localhost", "b.localhost"))
    assert (refused.status, refused.error) == (403, "unauthorized")
    lost = (await client.post(order.location)).body
    assert (lost["status"], lost["error"]) == ("invalid", refused.body)


async def test_an_authorization_that_failed_harms_no_order(site: Lab) -> None:
    client = await site.client()
    made = await ask(client, "a.localhost")
    order = await client.order("a.localhost")
    await client.post(made.body["challenges"][0]["url"], {})
    assert (await client.until(made.location, "invalid")).body["status"] == "invalid"
    assert (await client.post(order.location)).body["status"] == "pending"


@pytest.mark.parametrize(
    ("identifier", "members", "status", "error"),
    [
        ("dns:*.a.localhost", {}, 400, "malformed"),
        ("dns:bank.invalid", {}, 403, "rejectedIdentifier"),
        ("dns:a..b", {}, 400, "malformed"),
        ("email:x", {}, 400, "unsupportedIdentifier"),
        ("ip:192.0.2.1", {"subdomainAuthAllowed": True}, 400, "malformed"),
        ("dns:a.localhost", {"subdomainAuthAllowed": "yes"}, 400, "malformed"),
    ],
)
async def test_what_can_not_be_authorized_is_refused(
    site: Lab, identifier: str, members: dict[str, Any], status: int, error: str
) -> None:
    type_, _, value = identifier.partition(":")
    answer = await ask(await site.client(), value, type_, **members)
    assert (answer.status, answer.error) == (status, error)


async def test_a_request_without_identifier_is_malformed(site: Lab) -> None:
    client = await site.client()
    assert (await client.post(client.url("/new-authz"), {})).error == "malformed"


async def test_authorizations_count_as_orders(site: Lab, server: DnsServer) -> None:
    await serve(site, server, limits=RateLimits(orders_per_account=Rate(1, timedelta(hours=1))))
    client = await site.client()
    assert (await ask(client, "a.localhost")).status == 201
    assert (await ask(client, "b.localhost")).status == 429


async def test_one_domain_shown_by_dns_is_good_for_the_names_below_it(site: Lab, zone: Zone) -> None:
    client = await site.client()
    made = await ask(client, "a.test", subdomainAuthAllowed=True)
    assert made.body["subdomainAuthAllowed"] is True
    assert [each["type"] for each in made.body["challenges"]] == ["dns-01"]
    await show(client, made.location, zone)
    names = ("www.a.test", "x.y.a.test", "*.z.a.test", "a.test")
    order = await client.order(*names)
    assert (order.body["status"], order.body["authorizations"]) == ("ready", [made.location])
    assert (await client.finalize(order, make_csr(*names))).body["status"] == "valid"
    beside = await client.order("xa.test", "test.example")
    assert made.location not in beside.body["authorizations"]


async def test_an_order_can_name_the_domain_above(site: Lab, zone: Zone) -> None:
    client = await site.client()
    order = await below(client, "www.a.test", "mail.a.test")
    (url,) = order.body["authorizations"]
    shown = (await client.post(url)).body
    assert (shown["identifier"]["value"], shown["subdomainAuthAllowed"]) == ("a.test", True)
    assert [each["type"] for each in shown["challenges"]] == ["dns-01"]
    await show(client, url, zone)
    assert (await client.finalize(order, make_csr("www.a.test", "mail.a.test"))).body["status"] == "valid"


async def test_who_is_paused_for_a_domain_can_not_name_it_for_hosts_below(site: Lab, server: DnsServer) -> None:
    await serve(site, server, limits=RateLimits(pause_after=1, failures_per_name=Rate(1, timedelta(hours=1))))
    client = await site.client()
    (url,) = (await below(client, "www.a.test")).body["authorizations"]
    await client.post((await client.post(url)).body["challenges"][0]["url"], {})
    await client.until(url, "invalid")
    paused = await below(client, "mail.a.test", "mail.b.a.test")
    assert paused.status == 429
    assert [each["identifier"]["value"] for each in paused.body["subproblems"]] == ["mail.a.test", "mail.b.a.test"]
    assert (await client.order("mail.a.test")).status == 201
    await serve(site, server, limits=RateLimits(failures_per_name=Rate(1, timedelta(hours=1))))
    assert (await below(client, "mail.a.test")).status == 429


@pytest.mark.parametrize("above", ["b.test", "xa.test", "www.www.a.test", "", "*.a.test", 7, "10.0.0.1"])
async def test_only_a_domain_above_can_be_named(site: Lab, above: Any) -> None:
    answer = await below(await site.client(), "www.a.test", above=above)
    assert (answer.status, answer.error) == (400, "malformed")


async def test_where_subdomains_are_not_offered_each_name_is_validated_itself(site: Lab, server: DnsServer) -> None:
    await serve(site, server, subdomains=False)
    client = await site.client()
    order = await below(client, "www.a.test")
    shown = (await client.post(order.body["authorizations"][0])).body
    assert (shown["identifier"]["value"], "subdomainAuthAllowed" in shown) == ("www.a.test", False)
    refused = await ask(client, "a.test", subdomainAuthAllowed=True)
    assert (refused.status, refused.error) == (403, "unauthorized")


async def test_a_name_is_validated_itself_where_nothing_can_show_the_domain_above(site: Lab) -> None:
    await site.serve(site.endpoint(subdomains=True))
    client = await site.client()
    order = await below(client, "www.localhost", above="localhost")
    (url,) = order.body["authorizations"]
    made = (await client.post(url)).body
    assert made["identifier"]["value"] == "www.localhost"
    assert "subdomainAuthAllowed" not in made
    await show(client, url)
    assert (await client.finalize(order, make_csr("www.localhost"))).body["status"] == "valid"


async def test_caa_of_the_name_that_is_ordered_counts(site: Lab, zone: Zone, server: DnsServer) -> None:
    await serve(site, server, caa=Caa(looking(server), ("ca.test",), 2))
    client = await site.client()
    zone["a.test."] = ['CAA 0 issue ";"']
    zone["www.a.test."] = ['CAA 0 issue "ca.test; validationmethods=dns-01"', 'CAA 0 issuewild ";"']
    made = await ask(client, "a.test", subdomainAuthAllowed=True)
    await show(client, made.location, zone)
    good, bad, wild = [await client.order(name) for name in ("www.a.test", "b.a.test", "*.www.a.test")]
    assert (await client.finalize(good, make_csr("www.a.test"))).body["status"] == "valid"
    assert (await client.finalize(bad, make_csr("b.a.test"))).error == "caa"
    assert (await client.finalize(wild, make_csr("*.www.a.test"))).error == "caa"


async def test_the_domain_above_is_asked_for_caa_records_once_for_all_names_of_an_order(
    site: Lab, zone: Zone, server: DnsServer
) -> None:
    await serve(site, server, caa=Caa(looking(server), ("ca.test",), 2))
    client = await site.client()
    made = await ask(client, "a.test", subdomainAuthAllowed=True)
    await show(client, made.location, zone)
    names = ("x.a.test", "y.a.test", "*.y.a.test")
    for allowed, status in (("ca.test", 200), ("other.test", 403)):
        zone["a.test."] = [f'CAA 0 issue "{allowed}"']
        order = await client.order(*names)
        server.asked.clear()
        assert (await client.finalize(order, make_csr(*names))).status == status
        assert server.asked.count(("a.test.", "CAA")) == 1
    zone["a.test."] = ['CAA 0 issuewild ";"']
    order = await client.order(*names)
    assert (await client.finalize(order, make_csr(*names))).error == "caa"


async def test_what_was_shown_for_one_profile_does_not_count_for_one_with_other_proofs(
    site: Lab, server: DnsServer
) -> None:
    profiles = {"tls-server": AcmeProfile(""), "strict": AcmeProfile("")}
    await serve(site, server, profiles=profiles, by_profile={"strict": Proofs((Dns01(looking(server)),))})
    client = await site.client()
    made = await ask(client, "held.localhost")
    await show(client, made.location)
    await client.until(made.location, "valid")
    identifiers = [{"type": "dns", "value": "held.localhost"}]
    found = {}
    for profile in ("tls-server", "strict"):
        payload = {"identifiers": identifiers, "profile": profile}
        found[profile] = (await client.post(client.url("/new-order"), payload)).body
    assert (found["tls-server"]["status"], found["strict"]["status"]) == ("ready", "pending")
    (url,) = found["strict"]["authorizations"]
    assert [each["type"] for each in (await client.post(url)).body["challenges"]] == ["dns-01"]


async def test_what_was_shown_for_a_profile_that_is_gone_counts_for_no_other_one(site: Lab, server: DnsServer) -> None:
    lax = {"lax": Proofs(site.endpoint().challenges)}
    await serve(site, server, profiles={"lax": AcmeProfile(""), "tls-server": AcmeProfile("")}, by_profile=lax)
    client = await site.client()
    made = await ask(client, "held.localhost")
    await show(client, made.location)
    await client.until(made.location, "valid")
    await serve(site, server, profiles={"tls-server": AcmeProfile("")})
    assert (await client.order("held.localhost")).body["status"] == "pending"
