"""1.7: authorizations and challenges (RFC 8555 sections 7.5 and 8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.conformance.acme.client import NotOffered, make_csr
from tests.conformance.acme.responders import WELL_KNOWN, alpn_certificate, alpn_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.acme.client import Client, Issued
    from tests.conformance.acme.responders import Responder
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks


@checks("AZ-1")
def test_an_answer_to_a_challenge_is_the_challenge(client: Client, name: str) -> None:
    authorization = client.order(name).json["authorizations"][0]
    challenge = client.challenge(authorization)
    client.publish(challenge["token"], f"{challenge['token']}.{client.key.thumbprint}")
    answer = client.post(challenge["url"], {"keyAuthorization": "x", "resource": "challenge"})
    assert answer.status == 200
    assert answer.json["url"] == challenge["url"]
    assert answer.links("up") == [authorization]
    assert client.until(authorization, "valid", "invalid").json["status"] == "valid"


@checks("AZ-2")
def test_an_authorization_says_until_when_it_is_good(client: Client, issued: Issued) -> None:
    answer = client.post(issued.order["authorizations"][0])
    assert (answer.status, answer.json["status"]) == (200, "valid")
    assert re.match(r"\d{4}-\d\d-\d\dT", answer.json["expires"])
    (challenge,) = answer.json["challenges"]  # the one that was validated (section 7.1.4)
    assert challenge["status"] == "valid"
    assert re.match(r"\d{4}-\d\d-\d\dT", challenge["validated"])


@checks("AZ-3")
def test_an_authorization_can_be_given_back_by_its_owner(client: Client, fresh: Client, name: str) -> None:
    url = client.order(name).json["authorizations"][0]
    assert fresh.post(url, {"status": "deactivated"}).status in {401, 403, 404}
    answer = client.post(url, {"status": "deactivated"})
    assert (answer.status, answer.json["status"]) == (200, "deactivated")
    assert client.post(url).json["status"] == "deactivated"
    again = client.order(name)
    assert client.post(again.json["authorizations"][0]).json["status"] == "pending"


@checks("AZ-4")
def test_answering_what_is_decided_changes_nothing(client: Client, issued: Issued) -> None:
    authorization = issued.order["authorizations"][0]
    challenge = client.challenge(authorization)
    answer = client.post(challenge["url"], {})
    assert answer.status == 200
    assert answer.json["status"] == "valid"


@checks("CH-1")
def test_tokens_are_long_and_each_is_another(client: Client, name: str) -> None:
    order = client.order(name, f"www.{name}")
    found = [each for url in order.json["authorizations"] for each in client.post(url).json["challenges"]]
    tokens = [each["token"] for each in found if "token" in each]
    assert len(set(tokens)) == len(tokens)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,}", token) for token in tokens)


@checks("CH-2")
def test_a_failed_attempt_is_tried_again(client: Client, name: str) -> None:
    authorization = client.order(name).json["authorizations"][0]
    challenge = client.challenge(authorization)
    client.answer(challenge, "not there yet")
    while "error" not in (answer := client.post(challenge["url"])).json:
        client.until(challenge["url"], "processing", "invalid")
    assert answer.json["status"] == "processing"
    assert re.fullmatch("[0-9]+", answer.headers["Retry-After"])
    client.answer(challenge)
    assert client.until(authorization, "valid", "invalid").json["status"] == "valid"


@checks("H1-1")
def test_http_01_asks_for_the_token_and_follows_redirects(
    target: Target, client: Client, responder: Responder, name: str
) -> None:
    order = client.order(name, f"www.{name}")
    plain, moved = (client.challenge(url) for url in order.json["authorizations"])
    elsewhere = f"/elsewhere/{moved['token']}"
    text = f"{moved['token']}.{client.key.thumbprint}"
    responder.pages[elsewhere] = (200, "", f"{text}\r\n")
    where = f"http://{name}:{target.http01_port}{elsewhere}"
    responder.pages[WELL_KNOWN + moved["token"]] = (302, where, "")
    client.post(moved["url"], {})
    client.answer(plain)
    for url in order.json["authorizations"]:
        found = client.until(url, "valid", "invalid")
        assert found.json["status"] == "valid", found.body
    hosts = {host.partition(":")[0] for host, path in responder.asked if path.endswith(plain["token"])}
    assert hosts <= {name, f"www.{name}"}
    assert hosts


@checks("D1-1")
def test_dns_01_takes_any_record_and_follows_aliases(target: Target, client: Client, name: str) -> None:
    if target.txt is None:
        raise NotOffered("nobody can set TXT records")
    order = client.order(f"*.{name}", name)
    found = [client.challenge(url, "dns-01") for url in order.json["authorizations"]]
    target.txt(f"_acme-challenge.{name}", [f"-> alias.{name}."])
    target.txt(f"alias.{name}", ["an old record", *map(client.digest, found)])
    for challenge in found:
        client.post(challenge["url"], {})
    for url in order.json["authorizations"]:
        assert client.until(url, "valid", "invalid").json["status"] == "valid"
    assert client.finalize(order, make_csr(f"*.{name}", name)).status == 200


@checks("TA-1")
def test_tls_alpn_01_takes_exactly_the_certificate_of_the_token(
    target: Target, client: Client, name: str, folder: Path
) -> None:
    if not target.tls_port:
        raise NotOffered("nobody can answer tls-alpn-01")
    for names, status in (((), "valid"), ((name, f"www.{name}"), "invalid")):
        authorization = client.order(name).json["authorizations"][0]
        challenge = client.challenge(authorization, "tls-alpn-01")
        pem = alpn_certificate(name, f"{challenge['token']}.{client.key.thumbprint}", names=names)
        with alpn_server(target.tls_port, pem, folder) as asked:
            client.post(challenge["url"], {})
            while (answer := client.post(challenge["url"])).json["status"] not in {"valid", "invalid"}:
                if "error" in answer.json:
                    client.post(challenge["url"], {})
        assert answer.json["status"] == status, answer.json
        assert set(asked) == {name}
        client.post(authorization, {"status": "deactivated"})  # nothing to be used again


@checks("CA-1")
def test_caa_records_decide_and_the_ca_says_how_they_call_it(target: Target, client: Client, name: str) -> None:
    identities = client.directory.get("meta", {}).get("caaIdentities")
    if not identities or target.txt is None:
        raise NotOffered("CAA is not looked at, or nobody can set records")
    assert all(re.fullmatch(r"[a-z0-9.-]+", each) for each in identities)
    for host, record, status in (
        ("none", 'CAA 0 issue ";"', "invalid"),
        ("other", 'CAA 0 issue "other.example"', "invalid"),
        ("unknown", 'CAA 128 strange "x"', "invalid"),
        ("this", f'CAA 0 issue "{identities[0]}"', "valid"),
        ("method", f'CAA 0 issue "{identities[0]}; validationmethods=dns-01"', "invalid"),
    ):
        target.txt(f"{host}.{name}", [record])
        authorization = client.order(f"www.{host}.{name}").json["authorizations"][0]
        client.answer(client.challenge(authorization))
        found = client.until(authorization, "valid", "invalid").json
        assert found["status"] == status, record
        errors = [each["error"]["type"].rpartition(":")[2] for each in found["challenges"] if "error" in each]
        assert errors == ([] if status == "valid" else ["caa"]), record


@checks("SE-1")
def test_addresses_can_not_be_guessed_and_inner_networks_not_reached(client: Client, issued: Issued) -> None:
    for url in (issued.url, issued.order["authorizations"][0], issued.order["certificate"]):
        assert any(len(part) >= 16 for part in url.split("/")[3:]), url
    key = make_csr(issued.order["identifiers"][0]["value"], key=client.key.private)
    order = client.ready(issued.order["identifiers"][0]["value"])
    assert client.finalize(order, key).refused("badCSR")
