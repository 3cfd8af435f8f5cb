"""What is gathered before the policy judges: tables, files, services, and counts of the record."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from policies.asked import read_request
from policies.document import DocumentErrors
from policies.profile import parse_profiles
from policies.profile_set import ProfileSet
from policies.request import NO_FACTS, Facts, Kind, Requester
from server.app.directory import Directory
from server.app.live_policies import LivePolicies
from server.app.lookups import (
    SIGNATURE,
    CsvSource,
    Gatherer,
    HttpSource,
    LdapSource,
    LookupFailed,
    Remembering,
    TableSource,
)
from server.app.material import load_material
from server.bench.process import free_ports
from server.config import load_config
from server.store import Store, StoreUnavailable
from server.store.certificates import list_certificates, renewed_from
from tests.fakes.database import empty_database
from tests.fakes.door import HERE, Door, ask, csr_for
from tests.fakes.issuer import NOW
from tests.fakes.policy import CEILINGS, ISSUER, MINIMAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import sqlalchemy as sa

    from policies.request import EnrollmentRequest


class Service:
    """A service over HTTP that answers as told and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: tuple[int, bytes] = (200, b'{"state": "active"}')
        self.wait = 0.0
        self.asked: list[tuple[bytes, str]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((await request.read(), request.headers[SIGNATURE]))
        await asyncio.sleep(self.wait)
        return web.Response(status=self.answer[0], body=self.answer[1], headers={"Location": "/elsewhere"})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_post("/lookup", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/lookup"
    yield made
    await runner.cleanup()


@pytest.fixture
async def http(service: Service) -> AsyncIterator[HttpSource]:
    source = HttpSource(service.url, b"secret", 0.5)
    yield source
    await source.close()


async def test_a_service_is_asked_with_a_signature(service: Service, http: HttpSource) -> None:
    service.answer = (200, b'{"state": "active", "floor": 3, "leased": true}')
    assert await http.find("pump-17") == (("state", "active"), ("floor", "3"), ("leased", "true"))
    ((body, signature),) = service.asked
    assert json.loads(body) == {"key": "pump-17"}
    assert signature == "sha256=" + hmac.new(b"secret", body, hashlib.sha256).hexdigest()


async def test_a_service_may_know_nothing(service: Service, http: HttpSource) -> None:
    service.answer = (404, b"")
    assert await http.find("pump-17") is None


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"{}"),
        (302, b"{}"),
        (200, b"active"),
        (200, b"[]"),
        (200, b'{"a": null}'),
        (200, b'{"a": 1.5}'),
        (200, b'{"a": "' + b"x" * 70_000 + b'"}'),
        (200, b"[" * 50_000),
        (200, b"\xff"),
    ],
)
async def test_any_other_answer_is_none(service: Service, http: HttpSource, answer: tuple[int, bytes]) -> None:
    service.answer = answer
    with pytest.raises(LookupFailed):
        await http.find("pump-17")


async def test_a_slow_or_absent_service_is_none(service: Service, http: HttpSource) -> None:
    service.wait = 5
    with pytest.raises(LookupFailed, match="does not answer"):
        await http.find("pump-17")
    absent = HttpSource("http://127.0.0.1:1/", b"secret", 0.5)
    with pytest.raises(LookupFailed, match="does not answer"):
        await absent.find("pump-17")
    await absent.close()


async def test_a_table_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "devices.csv"
    path.write_text('id,state,place\npump-17,active,"hall, north"\n\n')
    source = CsvSource(path)
    assert await source.find("pump-17") == (("state", "active"), ("place", "hall, north"))
    assert await source.find("pump-18") is None
    path.write_text("id,state\npump-17,stolen\n")
    os.utime(path, ns=(1, 1))
    assert await source.find("pump-17") == (("state", "stolen"),)
    for bad in ("id,state\npump-17\n", ""):
        path.write_text(bad)
        with pytest.raises(LookupFailed, match="can't be read"):
            await source.find("pump-17")
    path.unlink()
    with pytest.raises(LookupFailed, match="can't be read"):
        await source.find("pump-17")


async def test_answers_are_used_again_for_a_while(service: Service, http: HttpSource) -> None:
    now = 100.0
    source = Remembering("cmdb", http, 60, lambda: now)
    assert (await source.find("a"))[1] == 0
    now = 159.0
    assert await source.find("a") == ((("state", "active"),), 59)
    now = 160.0
    service.answer = (500, b"")
    with pytest.raises(LookupFailed):
        await source.find("a")
    assert len(service.asked) == 2


def live(**sections: object) -> LivePolicies:
    content = {"version": 1, "profiles": {"device": {**MINIMAL, **sections}}}
    profiles = ProfileSet(
        parse_profiles(json.dumps(content), "d.yaml"),
        ceilings=CEILINGS,
        issuers={"issuing": ISSUER},
        endpoints={HERE: ("device",)},
    )
    return LivePolicies(profiles, lambda: profiles, lambda: 0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = empty_database(tmp_path / "certwright.db")
    opened = await Store.open(url)
    yield opened
    await opened.close()


def gatherer(store: Store, **sections: object) -> Gatherer:
    table = Remembering("few", TableSource({"pump": {"state": "active"}}), 0, lambda: 0.0)
    return Gatherer(store, live(**sections), {"few": table})


async def facts(gather: Gatherer, request: EnrollmentRequest) -> Facts:
    return (await gather(request)).facts


async def test_nothing_is_gathered_that_nobody_wants(store: Store) -> None:
    assert (await facts(gatherer(store), ask())) is NO_FACTS
    assert (await facts(gatherer(store, quota={"active": 1}), replace(ask(), profile="other"))) is NO_FACTS


@pytest.mark.parametrize("key", ["requester", "CN"])
async def test_what_a_profile_wants_is_looked_up(store: Store, key: str) -> None:
    gather = gatherer(store, lookups={"device": {"source": "few", "key": key}})
    (answer,) = (await facts(gather, ask("pump"))).lookups
    assert (answer.name, answer.source, answer.values) == ("device", "few", (("state", "active"),))
    (answer,) = (await facts(gather, ask("other"))).lookups
    assert (answer.found, answer.error) == (False, "")


@pytest.mark.parametrize(
    "lookup", [{"source": "none"}, {"source": "few", "key": "dns"}, {"source": "few", "key": "serialNumber"}]
)
async def test_what_can_not_be_looked_up_is_an_error(store: Store, lookup: dict[str, Any]) -> None:
    (answer,) = (await facts(gatherer(store, lookups={"device": lookup}), ask())).lookups
    assert answer.error


async def test_a_source_that_goes_wrong_is_an_error(store: Store) -> None:
    class Broken(TableSource):
        async def find(self, key: str) -> None:
            raise RuntimeError("as told")

    sources = {"few": Remembering("few", Broken({}), 0, lambda: 0.0)}
    gather = Gatherer(store, live(lookups={"device": {"source": "few"}}), sources)
    (answer,) = (await facts(gather, ask())).lookups
    assert "as told" in answer.error


async def issue(store: Store, key: str) -> None:
    await Door(store).submit(ask("pump", key=key))


async def change(store: Store, statement: str) -> None:
    def work(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"UPDATE certificates SET {statement}")  # noqa: S608 - the test's own words

    await store.write(work)


async def test_certificates_are_counted_by_requester_and_profile(store: Store) -> None:
    gather = gatherer(store, quota={"active": 5, "per_requester": "5/1d", "per_profile": "5/1h"})
    for key in ("a", "b"):
        await issue(store, key)
    await change(store, "profile = 'device'")
    counted = await facts(gather, ask("pump", key="c"))
    assert (counted.active, counted.issued_to_requester, counted.issued_under_profile) == (2, 2, 2)
    again = await facts(gather, ask("pump", key="a"))
    assert (again.active, again.issued_to_requester) == (1, 1)
    other = await facts(gather, ask("valve"))
    assert (other.active, other.issued_to_requester, other.issued_under_profile) == (0, 0, 2)
    later = await facts(gather, ask("pump", key="d", now=NOW + timedelta(hours=2)))
    assert (later.active, later.issued_to_requester, later.issued_under_profile) == (2, 2, 0)
    ended = await facts(gather, ask("pump", key="d", now=NOW + timedelta(days=99)))
    assert (ended.active, ended.issued_to_requester) == (0, 0)


async def test_a_certificate_and_what_renewed_it_count_once(store: Store) -> None:
    gather = gatherer(store, quota={"active": 5})
    await issue(store, "a")
    await issue(store, "b")
    first, last = "(SELECT min(rowid) FROM certificates)", "(SELECT max(rowid) FROM certificates)"
    old = f"(SELECT serial FROM certificates WHERE rowid = {first})"  # noqa: S608 - the test's own words
    await change(store, f"requester = 'certificate:1', renews = {old} WHERE rowid = {last}")
    await change(store, "profile = 'device'")
    assert (await facts(gather, ask("pump", key="c"))).active == 1
    # the first alone is revoked: what renewed it still counts for the requester
    await change(store, f"revoked_at = issued_at WHERE rowid = {first}")
    assert (await facts(gather, ask("pump", key="c"))).active == 1


async def test_who_renews_with_a_certificate_is_who_got_the_first_of_the_line(store: Store) -> None:
    door, renewals = Door(store), []
    await door.submit(ask("pump"))
    for number in range(3):
        door.now += timedelta(seconds=1)
        held = (await store.read(list_certificates))[0]
        whose = Requester(f"certificate:{held.serial:x}", ())
        renewal = replace(ask("pump", key=f"r{number}"), kind=Kind.RENEW, renewed=renewed_from(held), requester=whose)
        renewals.append(renewal)
        await door.submit(renewal)
    gather = gatherer(store, lookups={"device": {"source": "few"}})
    for renewal in renewals:
        found = await facts(gather, renewal)
        assert (found.origin, found.lookups[0].values) == ("password:pump", (("state", "active"),))
    assert (await facts(gatherer(store, renewal={}), renewals[0])) is NO_FACTS
    by_name = gatherer(store, names={"dns": {"allowed": ["{requester}.test"]}})
    asked = await by_name(renewals[-1])
    assert read_request(asked).requester == "pump"


async def test_other_holders_of_the_key_are_found(store: Store) -> None:
    gather = gatherer(store, key={"allowed": ["ec:P-256"], "reuse": "same-client"})
    assert (await facts(gather, ask("pump"))).key_holders == ()
    await issue(store, "a")
    assert (await facts(gather, ask("pump", key="b"))).key_holders == ()
    thief = replace(ask("pump", key="b"), requester=Requester("password:thief", ()))
    assert (await facts(gather, thief)).key_holders == ("password:pump",)
    (held,) = await store.read(list_certificates)
    renewal = replace(thief, kind=Kind.RENEW, renewed=renewed_from(held))
    assert (await facts(gather, renewal)).key_holders == ()


async def test_what_can_not_be_counted_stays_unknown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def failing(_: object) -> None:
        raise StoreUnavailable("as told")

    monkeypatch.setattr(store, "read", failing)
    unshared = {"allowed": ["ec:P-256"], "reuse": "same-client"}
    gather = gatherer(store, quota={"active": 5, "per_profile": "1/1d"}, key=unshared)
    assert await facts(gather, ask()) == NO_FACTS


async def test_the_door_judges_by_what_was_gathered(store: Store) -> None:
    gather = gatherer(store, quota={"active": 1}, subject=MINIMAL["subject"], lookups={"device": {"source": "few"}})
    policies = gather._policies
    door = Door(store, decide=policies.decide, gather=gather)
    first = await door.submit(ask("pump", key="a"))
    again = await door.submit(ask("pump", key="a"))
    assert first == again
    second = await door.submit(ask("pump", key="b"))
    assert "as many valid certificates as it may" in str(second)
    stranger = await door.submit(ask("stranger"))
    assert "not among those known" in str(stranger)
    assert csr_for("pump").spki


def test_sources_that_can_not_be_read_are_told_at_start(folder: Path) -> None:
    path = folder / "server.yaml"
    sources = "{devices: {csv: none.csv}, cmdb: {http: 'https://x.example', secret: {file: no}}}"
    path.write_text(path.read_text() + f"\nlookups: {sources}\n")
    with pytest.raises(DocumentErrors) as caught:
        load_material(load_config(path))
    assert "none.csv can't be read" in str(caught.value)
    assert len(caught.value.problems) == 2


def test_a_directory_is_made_of_the_configuration(folder: Path) -> None:
    path = folder / "server.yaml"
    (folder / "word").write_text("word\n")
    ldap = "url: 'ldaps://x.example', base: dc=x, fields: [mail], user: cn=x, password: {file: word}"
    path.write_text(path.read_text() + f"\nlookups: {{people: {{ldap: {{{ldap}, trust: root.pem}}}}}}\n")
    source = load_material(load_config(path)).lookups["people"]._source
    assert isinstance(source, LdapSource)
    made = source._directory
    assert (made.url, made.attribute, made.user, made.password) == ("ldaps://x.example", "uid", "cn=x", b"word")
    assert made.tls is not None
    assert "word" not in repr(made)
    path.write_text(path.read_text().replace("trust: root.pem", "trust: word"))
    with pytest.raises(DocumentErrors, match="holds no PEM certificates"):
        load_material(load_config(path))


async def test_a_directory_that_does_not_answer_is_an_error() -> None:
    (port,) = free_ports(1)
    source = LdapSource(Directory(f"ldap://127.0.0.1:{port}", "dc=x", "uid", ("mail",)), 60)
    with pytest.raises(LookupFailed, match="Connect"):
        await source.find("a")
    await source.close()


def test_a_look_up_in_a_source_that_there_is_not_is_told(folder: Path) -> None:
    path, policy = folder / "server.yaml", folder / "policies" / "network-device.yaml"
    path.write_text(path.read_text() + "\nlookups: {devices: {table: {}}}\n")
    policy.write_text(policy.read_text().split("\ntests:")[0] + "    lookups: {device: {source: device}}\n")
    with pytest.raises(DocumentErrors, match=r'has no "device" under lookups; did you mean "devices"'):
        load_material(load_config(path))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}", "exactly one of"),
        ("{table: {}, csv: x}", "exactly one of"),
        ("{http: 'https://x.example'}", "needs secret"),
        ("{http: 'http://x.example', secret: {file: x}}", "only on this machine"),
        ("{ldap: {url: 'ldap://x.example', base: dc=x, fields: [mail]}}", "only on this machine"),
        ("{ldap: {url: 'https://x.example', base: dc=x, fields: [mail]}}", "url is written"),
        ("{ldap: {url: 'ldaps://x.example', base: dc=x, fields: [mail], start_tls: true}}", "from the first octet"),
        ("{ldap: {url: 'ldaps://x.example', base: dc=x, fields: [mail], user: cn=x}}", "go together"),
        ("{ldap: {url: 'ldaps://x.example', base: dc=x, fields: ['a b']}}", "no name of an attribute"),
        ("{ldap: {url: 'ldaps://x.example', base: dc=x, fields: []}}", "at least 1"),
    ],
)
def test_a_slip_in_a_source_is_told(folder: Path, source: str, message: str) -> None:
    path = folder / "server.yaml"
    path.write_text(path.read_text() + f"\nlookups: {{devices: {source}}}\n")
    with pytest.raises(DocumentErrors, match=message):
        load_config(path)
