"""CAA against a DNS server: who may issue what for whom (RFC 8659, RFC 8657)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from server.acme.challenges.caa import Caa, CaaRecord, Issuance, caa
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.lookup import Lookup
from server.acme.records.overview import find_any_order
from server.acme.service import AcmeProfile, Proofs
from server.config import CaaConfig, Nameserver
from tests.server.acme.lab import QUICK, make_csr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fakes.dns_server import DnsServer, Zone
    from tests.server.acme.lab import Client, Lab

ACCOUNT = "https://acme.test/acme/account/1"
HOST = Issuance("www.a.test", wildcard=False, method="http-01", accounts=(ACCOUNT, "https://other.test/1"))
WILD = Issuance("a.test", wildcard=True, method="dns-01", accounts=(ACCOUNT,))
PROFILES = {"tls-server": AcmeProfile("the only one")}
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5


def judge(server: DnsServer, seconds: float = 2) -> Caa:
    return Caa(Lookup((Nameserver("127.0.0.1", server.port),), seconds), ("ca.test", "ca.example"), seconds)


async def verdict(server: DnsServer, asked: Issuance) -> tuple[str, bool]:
    """The error type of the refusal, empty for none, and whether it is final."""
    try:
        await judge(server).check(asked, [])
    except ValidationFailed as failed:
        return failed.error, failed.final
    return "", False


@pytest.mark.parametrize(
    ("records", "host", "wild"),
    [
        # nothing is said, or nothing about issuing
        ([], True, True),
        (['CAA 0 iodef "mailto:x@a.test"'], True, True),
        (['CAA 0 unknown "x"'], True, True),
        # the issuer
        (['CAA 0 issue "ca.test"'], True, True),
        (['CAA 0 issue "ca.example"'], True, True),
        (['CAA 0 issue "CA.Test"'], True, True),
        (['CAA 0 ISSUE "ca.test"'], True, True),
        (['CAA 128 issue "ca.test"'], True, True),
        (['CAA 0 issue "other.test"'], False, False),
        (['CAA 0 issue "xca.test"'], False, False),
        (['CAA 0 issue "ca.test.evil"'], False, False),
        (['CAA 0 issue ";"'], False, False),
        (['CAA 0 issue ""'], False, False),
        (['CAA 0 issue "%%%"'], False, False),
        (['CAA 0 issue "other.test"', 'CAA 0 issue "ca.test"'], True, True),
        (['CAA 0 issue ";"', 'CAA 0 issue "ca.test"'], True, True),
        # issuewild
        (['CAA 0 issuewild "ca.test"'], True, True),
        (['CAA 0 issuewild ";"'], True, False),
        (['CAA 0 issue "ca.test"', 'CAA 0 issuewild ";"'], True, False),
        (['CAA 0 issue ";"', 'CAA 0 issuewild "ca.test"'], False, True),
        (['CAA 0 issue "ca.test"', 'CAA 0 issuewild "other.test"'], True, False),
        (['CAA 0 issue "ca.test"', 'CAA 0 iodef "mailto:x@a.test"'], True, True),
        # critical properties
        (['CAA 128 unknown "x"', 'CAA 0 issue "ca.test"'], False, False),
        (['CAA 128 iodef "mailto:x@a.test"'], True, True),
        (['CAA 128 issuemail "other.test"'], True, True),
        (['CAA 1 unknown "x"'], True, True),
        # accounturi
        ([f'CAA 0 issue "ca.test; accounturi={ACCOUNT}"'], True, True),
        (['CAA 0 issue "ca.test; accounturi=https://other.test/1"'], True, False),
        ([f'CAA 0 issue "ca.test; accounturi={ACCOUNT}0"'], False, False),
        ([f'CAA 0 issue "ca.test; ACCOUNTURI={ACCOUNT}"'], True, True),
        ([f'CAA 0 issue "ca.test; accounturi={ACCOUNT}; accounturi={ACCOUNT}"'], False, False),
        (['CAA 0 issue "ca.test; accounturi="'], False, False),
        # validationmethods
        (['CAA 0 issue "ca.test; validationmethods=http-01"'], True, False),
        (['CAA 0 issue "ca.test; validationmethods=dns-01,http-01"'], True, True),
        (['CAA 0 issue "ca.test; validationmethods=tls-alpn-01"'], False, False),
        (['CAA 0 issue "ca.test; validationmethods="'], False, False),
        (['CAA 0 issue "ca.test; validationmethods=dns-01; validationmethods=http-01"'], False, False),
        ([f'CAA 0 issue "ca.test; accounturi={ACCOUNT}; validationmethods=dns-01"'], False, True),
        # parameters of others are theirs
        (['CAA 0 issue "ca.test; policy=ev"'], True, True),
        (['CAA 0 issue "ca.test; policy"'], False, False),
    ],
)
async def test_the_records_decide(zone: Zone, server: DnsServer, records: list[str], *, host: bool, wild: bool) -> None:
    zone["a.test."] = records
    assert await verdict(server, HOST) == (("", False) if host else ("caa", True))
    assert await verdict(server, WILD) == (("", False) if wild else ("caa", True))


async def test_the_nearest_records_count_and_the_tree_is_climbed_to_its_top(zone: Zone, server: DnsServer) -> None:
    zone["test."] = ['CAA 0 issue "other.test"']
    assert await verdict(server, HOST) == ("caa", True)
    zone["a.test."] = ['CAA 0 issue "ca.test"']
    assert await verdict(server, HOST) == ("", False)
    zone["www.a.test."] = ['CAA 0 issue ";"']
    assert await verdict(server, HOST) == ("caa", True)
    assert [name for name, kind in server.asked if kind == "CAA"][:3] == ["www.a.test.", "a.test.", "test."]


async def test_an_alias_leads_to_the_records_of_its_target_but_not_above_it(zone: Zone, server: DnsServer) -> None:
    zone.update({"www.a.test.": ["-> b.c.other."], "c.other.": ['CAA 0 issue ";"'], "b.c.other.": []})
    assert await verdict(server, HOST) == ("", False)
    zone["b.c.other."] = ['CAA 0 issue "other.test"']
    assert await verdict(server, HOST) == ("caa", True)


@pytest.mark.parametrize("code", [SERVFAIL, REFUSED])
@pytest.mark.parametrize("name", ["www.a.test.", "a.test.", "test."])
async def test_what_can_not_be_looked_up_forbids_for_now(zone: Zone, server: DnsServer, name: str, code: int) -> None:
    zone[name] = code
    with pytest.raises(ValidationFailed) as failed:
        await judge(server, 0.3).check(HOST, [])
    assert (failed.value.error, failed.value.final) == ("caa", False)


def test_without_identities_nothing_is_looked_at() -> None:
    assert caa(CaaConfig()) is None


@pytest_asyncio.fixture
async def careful(lab: Lab, server: DnsServer) -> Client:
    """A client of an endpoint that looks at CAA records."""
    await lab.serve(lab.endpoint(caa=judge(server)))
    return await lab.client()


async def test_the_directory_says_what_records_call_this_ca(lab: Lab, careful: Client) -> None:
    answer = await lab.request("GET", careful.url("/directory"))
    assert answer.body["meta"]["caaIdentities"] == ["ca.test", "ca.example"]


async def test_the_account_that_the_records_name_gets_a_certificate(careful: Client, zone: Zone) -> None:
    zone["localhost."] = [f'CAA 0 issue "ca.test; accounturi={careful.kid}; validationmethods=http-01"']
    await careful.issue("a.localhost")


async def test_a_forbidden_name_makes_authorization_and_order_invalid(careful: Client, zone: Zone) -> None:
    zone["localhost."] = ['CAA 0 issue "other.test"']
    order = await careful.order("a.localhost")
    (url,) = order.body["authorizations"]
    challenge = (await careful.post(url)).body["challenges"][0]
    careful.lab.served[challenge["token"]] = f"{challenge['token']}.{careful.signer.thumbprint}"
    await careful.post(challenge["url"], {})
    failed = (await careful.until(url, "invalid")).body["challenges"][0]
    assert failed["error"]["type"] == "urn:ietf:params:acme:error:caa"
    assert failed["error"]["status"] == 403
    assert (await careful.post(order.location)).body["status"] == "invalid"


async def test_what_was_looked_at_long_ago_is_looked_at_again(lab: Lab, careful: Client, zone: Zone) -> None:
    order = await careful.ready("a.localhost")
    lab.now[0] += timedelta(hours=7)
    zone["a.localhost."] = SERVFAIL
    younger = await careful.ready("b.localhost")
    lab.now[0] += timedelta(hours=2)
    csr = make_csr("a.localhost")
    unknown = await careful.finalize(order, csr)
    assert (unknown.status, unknown.error) == (403, "caa")
    assert (await careful.post(order.location)).body["status"] == "ready"
    zone["a.localhost."] = ['CAA 0 issue "other.test"']
    zone["b.localhost."] = ['CAA 0 issue "other.test"']
    forbidden = await careful.finalize(order, csr)
    assert (forbidden.status, forbidden.error) == (403, "caa")
    ended = (await careful.post(order.location)).body
    assert (ended["status"], ended["error"]["type"]) == ("invalid", "urn:ietf:params:acme:error:caa")
    assert (await careful.finalize(younger, make_csr("b.localhost"))).body["status"] == "valid"
    assert [row.problem.reason for row in await lab.refusals() if row.problem] == ["policy", "policy"]


class SilentCaa(Caa):
    """Looks names up for ever, or until it is told to end with a yes."""

    def __init__(self) -> None:
        super().__init__(Lookup((), 60), ("ca.test",), 60)
        self.asked, self.open = asyncio.Event(), asyncio.Event()

    async def check(
        self, asked: Issuance, trail: list[str], known: dict[str, Sequence[CaaRecord]] | None = None
    ) -> None:
        self.asked.set()
        await self.open.wait()


async def test_a_server_that_stops_does_not_wait_for_dns_and_the_next_start_goes_on(lab: Lab, careful: Client) -> None:
    order = await careful.ready("a.localhost")
    lab.now[0] += timedelta(hours=9)
    silent = SilentCaa()
    await lab.serve(lab.endpoint(caa=silent, timing=replace(QUICK, finalize=0.05)))
    waiting = asyncio.create_task(careful.finalize(order, make_csr("a.localhost")))
    await silent.asked.wait()
    assert (await waiting).body["status"] == "processing"
    await asyncio.wait_for(lab.serve(), 5)
    assert (await careful.until(order.location, "valid", "invalid")).body["status"] == "valid"
    assert len(lab.issuer.issued) == 1
    assert await lab.refusals() == []


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize("whole", [False, True], ids=["authorization", "account"])
async def test_what_is_given_back_while_dns_is_asked_gets_no_certificate(
    lab: Lab, careful: Client, *, whole: bool, restarted: bool
) -> None:
    order = await careful.ready("a.localhost")
    lab.now[0] += timedelta(hours=9)
    silent = SilentCaa()
    await lab.serve(lab.endpoint(caa=silent, timing=replace(QUICK, finalize=0.05)))
    assert (await careful.finalize(order, make_csr("a.localhost"))).body["status"] == "processing"
    url = str(careful.kid) if whole else order.body["authorizations"][0]
    assert (await careful.post(url, {"status": "deactivated"})).body["status"] == "deactivated"
    if restarted:
        await lab.serve()
    else:
        silent.open.set()
    key = order.location.rpartition("/")[2]
    async with asyncio.timeout(5):
        while (found := await lab.store.read(lambda c: find_any_order(c, key, lab.now[0]))) is not None:
            if found.order.status != "processing":
                break
            await asyncio.sleep(0.02)
    assert found is not None
    assert (found.order.status, (found.order.error or {})["type"]) == (
        "invalid",
        "urn:ietf:params:acme:error:unauthorized",
    )
    assert lab.issuer.issued == []


async def test_a_profile_can_be_without(lab: Lab, server: DnsServer, zone: Zone) -> None:
    zone["localhost."] = ['CAA 0 issue "other.test"']
    made = lab.endpoint(caa=judge(server))
    await lab.serve(replace(made, by_profile={"tls-server": Proofs(made.challenges)}, profiles=PROFILES))
    await (await lab.client()).issue("a.localhost")
