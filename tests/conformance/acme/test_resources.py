"""1.4: the objects (RFC 8555 section 7.1)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.conformance.acme.client import NotOffered, make_csr

if TYPE_CHECKING:
    from tests.conformance.acme.client import Client, Issued
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"


@checks("DI-1")
def test_the_directory_has_what_works(target: Target, client: Client) -> None:
    answer = client.http.request("GET", target.directory)
    assert answer.status == 200
    assert answer.headers.get_content_type() == "application/json"
    needed = {"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"}
    assert needed <= answer.json.keys()
    for name in needed - {"newNonce"} | ({"newAuthz"} & answer.json.keys()):
        assert client.post(answer.json[name], {}).status not in {404, 405, 501}, name


@checks("DI-2")
def test_the_directory_says_what_is_needed_and_offered(client: Client) -> None:
    meta = client.directory.get("meta", {})
    assert isinstance(meta.get("profiles", {}), dict)
    for name, type_ in (
        ("termsOfService", str),
        ("website", str),
        ("caaIdentities", list),
        ("externalAccountRequired", bool),
    ):
        assert isinstance(meta.get(name, type_()), type_), name


@checks("AC-1")
def test_an_account_has_its_state_and_its_orders(fresh: Client) -> None:
    account = fresh.post(str(fresh.kid)).json
    assert account["status"] == "valid"
    assert account["orders"].startswith("https://")
    assert "externalAccountBinding" not in account


@checks("OL-1")
def test_orders_are_listed_in_pages(fresh: Client, target: Target) -> None:
    list_url = fresh.post(str(fresh.kid)).json["orders"]
    made = {fresh.order(f"o{number}.{target.domain}").location for number in range(6)}
    found: set[str] = set()
    pages = [list_url]
    while pages:
        answer = fresh.post(pages.pop())
        assert answer.status == 200
        found |= set(answer.json["orders"])
        pages = answer.links("next")
    assert found == made


@checks("OR-1")
def test_an_order_has_its_members_and_they_do_not_change(client: Client, issued: Issued, name: str) -> None:
    order = client.order(name)
    assert order.json["status"] == "pending"
    assert re.fullmatch(TIME, order.json["expires"])
    assert order.json["identifiers"] == [{"type": "dns", "value": name}]
    assert len(order.json["authorizations"]) == 1
    assert order.json["finalize"].startswith("https://")
    assert "certificate" not in order.json
    valid = client.post(issued.url).json
    assert re.fullmatch(TIME, valid["expires"])
    assert valid["certificate"].startswith("https://")


@checks("OR-2")
def test_a_wildcard_is_told_in_its_authorization_and_nowhere_else(client: Client, name: str) -> None:
    order = client.order(f"*.{name}", name)
    if order.error == "rejectedIdentifier":
        raise NotOffered("no wildcards")
    assert order.status == 201, order.body
    values = [each["value"] for each in order.json["identifiers"]]
    assert sorted(values) == [f"*.{name}", name]
    found = [client.post(url).json for url in order.json["authorizations"]]
    assert [each["identifier"]["value"] for each in found] == [name, name]
    assert sorted(str(each.get("wildcard", "absent")) for each in found) == ["True", "absent"]


@checks("OR-3")
def test_names_are_normalised_or_refused(target: Target, client: Client, name: str) -> None:
    order = client.order(name.upper(), name)
    assert [each["value"] for each in order.json["identifiers"]] == [name]
    for bad in (
        *(f"{name}.", "127.0.0.1.", f"a_b.{target.domain}", f"*.*.{target.domain}", f"a.*.{target.domain}"),
        *(f"xn--a-.{target.domain}", f"xn--\u00e4.{target.domain}", f"{'a' * 64}.{target.domain}", "a..b", ""),
    ):
        answer = client.post(client.url("newOrder"), {"identifiers": [{"type": "dns", "value": bad}]})
        assert answer.status == 400, bad
        assert answer.error in {"malformed", "rejectedIdentifier"}, bad
    address = client.post(client.url("newOrder"), {"identifiers": [{"type": "dns", "value": "127.0.0.1"}]})
    assert address.status == 400


@checks("OR-4")
def test_an_order_lists_every_authorization_it_relies_on(client: Client, issued: Issued) -> None:
    names = {each["value"] for each in issued.order["identifiers"]}
    found = [client.post(url).json for url in issued.order["authorizations"]]
    assert {each["identifier"]["value"] for each in found} == names
    assert {each["status"] for each in found} == {"valid"}


@checks("ST-1")
def test_an_order_goes_from_pending_by_ready_to_valid(client: Client, name: str) -> None:
    order = client.order(name)
    assert client.post(order.location).json["status"] == "pending"
    client.authorize(order)
    # whoever sees the last authorization valid finalizes at once: the order must be ready then
    assert client.post(order.location).json["status"] == "ready"
    assert client.finalize(order, make_csr(name)).json["status"] in {"processing", "valid"}
    assert client.until(order.location, "valid").json["certificate"]


@checks("ST-2")
def test_an_authorization_that_is_given_back_ends_its_open_order_and_no_issued_one(client: Client, name: str) -> None:
    open_ = client.ready(name)
    client.post(open_.json["authorizations"][0], {"status": "deactivated"})
    assert client.post(open_.location).json["status"] == "invalid"
    done = client.issue(f"www.{name}")
    client.post(done.order["authorizations"][0], {"status": "deactivated"})
    assert client.post(done.url).json["status"] == "valid"


@checks("PR-1")
def test_profiles_can_be_chosen(client: Client, name: str) -> None:
    offered = client.directory.get("meta", {}).get("profiles")
    if not offered:
        raise NotOffered("no profiles")
    for profile in offered:
        assert client.order(f"{profile}.{name}", profile=profile).json["profile"] == profile
    assert client.order(name, profile="no such profile").refused("invalidProfile", 400)
    assert client.order(name).json.get("profile", next(iter(offered))) in offered
