"""1.3: errors and subproblems (RFC 8555 section 6.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.acme.client import b64, make_csr

if TYPE_CHECKING:
    from tests.conformance.acme.client import Client, Issued
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks


@checks("ER-0")
def test_every_error_has_its_status(client: Client, name: str) -> None:
    order = client.order(name)
    assert client.finalize(order, make_csr(name)).refused("orderNotReady", 403)
    assert client.other().register(onlyReturnExisting=True).refused("accountDoesNotExist", 400)
    assert client.other().register(contact=["mailto:a@b.example,c@d.example"]).refused("invalidContact", 400)
    assert client.other().register(contact=["tel:+1"]).refused("unsupportedContact", 400)
    refused = {"identifiers": [{"type": "x-own", "value": "a"}]}
    assert client.post(client.url("newOrder"), refused).refused("unsupportedIdentifier", 400)
    assert client.post(client.url("newOrder"), {}).refused("malformed", 400)
    reason = client.post(client.url("revokeCert"), {"certificate": b64(client.issue(f"r.{name}").der), "reason": 7})
    assert reason.refused("badRevocationReason", 400)


@checks("ER-1")
def test_an_identifier_is_named_in_subproblems_only(target: Target, client: Client) -> None:
    answer = client.order(target.forbidden or "a_b.example", f"good.{target.domain}")
    assert answer.status >= 400
    assert "identifier" not in answer.json
    assert all("identifier" in each for each in answer.json.get("subproblems", ()))


@checks("ER-2")
def test_what_is_absent_is_absent(client: Client, issued: Issued, name: str) -> None:
    order = client.order(name)
    authorization = client.post(order.json["authorizations"][0])
    account = client.post(str(client.kid))
    problem = client.send(client.url("newOrder"), b"")
    for answer in (order, authorization, account, problem, client.post(issued.url)):
        assert all(value not in (None, "", []) for value in answer.json.values()), answer.json


@checks("ER-3")
def test_every_identifier_at_fault_gets_a_subproblem(target: Target, client: Client) -> None:
    bad = ("a_b.example", "x..example")
    answer = client.order(*bad, f"good.{target.domain}")
    assert answer.error in {"compound", "malformed", "rejectedIdentifier"}
    assert {each["identifier"]["value"] for each in answer.json.get("subproblems", ())} == set(bad)


@checks("ER-4")
def test_details_are_plain_text_and_json_is_compact(target: Target, client: Client) -> None:
    answer = client.order('evil"\x1b[31m\n.example')
    assert answer.json["detail"].isprintable()
    assert answer.json["detail"].isascii()
    assert b"\\/" not in client.http.request("GET", target.directory).body
    assert b'": ' not in answer.body


@checks("ER-5")
def test_the_last_error_stands_in_the_challenge(failed: tuple[Client, str]) -> None:
    client, url = failed
    order = client.post(url).json
    assert order["status"] == "invalid"
    authorization = client.post(order["authorizations"][0]).json
    assert authorization["status"] == "invalid"
    challenge = next(each for each in authorization["challenges"] if each["type"] == "http-01")
    assert challenge["status"] == "invalid"
    assert challenge["error"]["type"].startswith("urn:ietf:params:acme:error:")
