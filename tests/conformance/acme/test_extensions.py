"""1.8: what other documents add."""

from __future__ import annotations

import re
from base64 import b32encode
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.conformance.acme.client import NotOffered, b64, make_csr
from tests.fakes.attestation import Device, encoded

if TYPE_CHECKING:
    from tests.conformance.acme.client import Answer, Client, Issued
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks


@checks("ARI-1")
def test_renewal_information_is_there_for_everybody(client: Client, issued: Issued) -> None:
    answer = client.http.request("GET", f"{client.url('renewalInfo')}/{issued.certificate_id}")
    assert answer.status == 200
    assert answer.headers.get_content_type() == "application/json"
    window = {name: datetime.fromisoformat(text) for name, text in answer.json["suggestedWindow"].items()}
    assert window["start"] < window["end"] < issued.certificate.not_valid_after_utc
    assert window["start"] > issued.certificate.not_valid_before_utc
    assert 60 <= int(answer.headers["Retry-After"]) <= 86_400


@checks("ARI-2")
def test_renewal_information_is_for_exactly_the_identifiers_of_certificates(client: Client, issued: Issued) -> None:
    base, (key, serial) = client.url("renewalInfo"), issued.certificate_id.split(".")
    for wrong in (f"{key}.{serial[::-1]}", f"{serial}.{serial}", f"{key}=.{serial}", key, f"{key}.", f"{key}.AA.AA"):
        answer = client.http.request("GET", f"{base}/{wrong}")
        assert answer.status in {400, 404}, wrong
        assert answer.error == "malformed", wrong


@checks("ARI-3")
def test_an_order_replaces_a_certificate_once(client: Client, fresh: Client, name: str) -> None:
    done = client.issue(name)
    assert fresh.order(name, replaces=done.certificate_id).status in {400, 403, 404}
    assert client.order(f"other.{name}", replaces=done.certificate_id).status in {400, 403, 404}
    order = client.order(name, replaces=done.certificate_id)
    assert order.status == 201
    assert order.json["replaces"] == done.certificate_id
    client.authorize(order)
    client.finalize(order, make_csr(name))
    client.until(order.location, "valid")
    assert client.order(name, replaces=done.certificate_id).refused("alreadyReplaced", 409)


@checks("IP-1")
def test_an_address_is_validated_at_itself(client: Client) -> None:
    done = client.ready("127.0.0.1")
    for url in done.json["authorizations"]:
        authorization = client.post(url).json
        assert authorization["identifier"] == {"type": "ip", "value": "127.0.0.1"}
        assert "dns-01" not in {each["type"] for each in authorization["challenges"]}


@checks("IP-2")
def test_an_address_is_written_in_its_one_way(client: Client) -> None:
    for text in ("127.0.0.01", "::0001", "0:0:0:0:0:0:0:1", "127.1", "2001:DB8::1", "fe80::1%eth0", "10.0.0.0/8"):
        answer = client.post(client.url("newOrder"), {"identifiers": [{"type": "ip", "value": text}]})
        assert answer.error in {"malformed", "rejectedIdentifier"}, text


@checks("DP-1")
def test_dns_persist_01_names_its_issuers(client: Client, name: str) -> None:
    challenge = client.challenge(client.order(name).json["authorizations"][0], "dns-persist-01")
    assert "token" not in challenge
    domains = challenge["issuer-domain-names"]
    assert 1 <= len(domains) <= 10
    assert all(re.fullmatch(r"[a-z0-9.-]+", each) for each in domains)
    assert challenge.get("accounturi", client.kid) == client.kid


@checks("DP-2")
def test_dns_persist_01_takes_a_record_of_the_account(target: Target, client: Client, name: str) -> None:
    authorization = client.order(name).json["authorizations"][0]
    challenge = client.challenge(authorization, "dns-persist-01")
    if target.txt is None:
        raise NotOffered("nobody can set TXT records")
    issuer = challenge["issuer-domain-names"][0]
    target.txt(f"_validation-persist.{name}", [f"{issuer}; accounturi={client.kid}"])
    client.post(challenge["url"], {})
    assert client.until(authorization, "valid", "invalid").json["status"] == "valid"


@checks("DC-1")
def test_dns_account_01_looks_where_the_account_says(target: Target, client: Client, name: str) -> None:
    authorization = client.order(name).json["authorizations"][0]
    challenge = client.challenge(authorization, "dns-account-01")
    if target.txt is None:
        raise NotOffered("nobody can set TXT records")
    label = b32encode(sha256(str(client.kid).encode()).digest()[:10]).decode().lower()
    target.txt(f"_{label}._acme-challenge.{name}", [client.digest(challenge)])
    client.post(challenge["url"], {})
    assert client.until(authorization, "valid", "invalid").json["status"] == "valid"


@checks("SD-1")
def test_one_proof_for_a_zone_is_good_for_its_hosts(target: Target, fresh: Client, name: str) -> None:
    if not fresh.directory.get("meta", {}).get("subdomainAuthAllowed") or target.txt is None:
        raise NotOffered("no authorizations for subdomains")
    identifier = {"type": "dns", "value": name, "subdomainAuthAllowed": True}
    made = fresh.post(fresh.url("newAuthz"), {"identifier": identifier})
    assert made.status == 201
    assert made.json["subdomainAuthAllowed"] is True
    challenge = fresh.challenge(made.location, "dns-01")
    target.txt(f"_acme-challenge.{name}", [fresh.digest(challenge)])
    fresh.post(challenge["url"], {})
    assert fresh.until(made.location, "valid", "invalid").json["status"] == "valid"
    assert fresh.order(f"deep.host.{name}").json["status"] == "ready"
    assert fresh.order(f"not{name}").json["status"] == "pending"


@checks("SD-2")
def test_an_order_may_ask_for_the_domain_above(target: Target, fresh: Client, name: str) -> None:
    if not fresh.directory.get("meta", {}).get("subdomainAuthAllowed") or target.txt is None:
        raise NotOffered("no authorizations for subdomains")
    host = {"type": "dns", "value": f"www.{name}", "ancestorDomain": name}
    order = fresh.post(fresh.url("newOrder"), {"identifiers": [host]})
    assert order.status == 201
    authorization = fresh.post(order.json["authorizations"][0]).json
    assert authorization["identifier"] == {"type": "dns", "value": name}
    assert "http-01" not in {each["type"] for each in authorization["challenges"]}
    wrong = {**host, "ancestorDomain": f"other.{name}"}
    assert fresh.post(fresh.url("newOrder"), {"identifiers": [wrong]}).error == "malformed"


def device_order(client: Client) -> Answer:
    identifiers = [{"type": "permanent-identifier", "value": "serial-1"}]
    order = client.post(client.url("newOrder"), {"identifiers": identifiers})
    if order.error in {"unsupportedIdentifier", "rejectedIdentifier", "malformed"}:
        raise NotOffered("no devices")
    assert order.status == 201
    return order


@checks("AT-1")
def test_what_attests_nothing_is_a_bad_statement(client: Client) -> None:
    order = device_order(client)
    challenge = client.challenge(order.json["authorizations"][0], "device-attest-01")
    assert re.fullmatch(r"[A-Za-z0-9_-]{22,}", challenge["token"])
    assert client.post(challenge["url"], {"attObj": "AA"}).refused("badAttestationStatement", 400)
    assert client.post(challenge["url"]).json["status"] == "invalid"
    assert client.post(order.location).json["status"] == "invalid"


@checks("AT-2")
def test_an_attested_device_gets_a_certificate_for_its_key_only(target: Target, client: Client) -> None:
    if target.maker is None:
        raise NotOffered("no device that the server believes")
    order = device_order(client)
    challenge = client.challenge(order.json["authorizations"][0], "device-attest-01")
    text = f"{challenge['token']}.{client.key.thumbprint}"
    device = Device(target.maker, token=challenge["token"], key_authorization=text)
    answer = client.post(challenge["url"], {"attObj": b64(encoded("step", device.step()))})
    assert answer.json["status"] == "valid", answer.body
    assert client.finalize(order, make_csr(common_names=["serial-1"])).refused("badCSR")
    assert client.finalize(order, make_csr(key=device.key, common_names=["serial-1"])).status == 200
    done = client.until(order.location, "valid", "invalid").json
    certificate = x509.load_pem_x509_certificates(client.post(done["certificate"]).body)[0]
    assert certificate.public_key() == device.key.public_key()
