"""1.1: transport and JWS (RFC 8555 sections 5 and 6.1, 6.2)."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.conformance.acme.client import JOSE, Key, b64, to_json

if TYPE_CHECKING:
    from tests.conformance.acme.client import Client, Http
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks


@checks("TR-1")
def test_the_server_is_reached_by_https_with_tls_1_2_or_later(target: Target, client: Client) -> None:
    host = urlsplit(target.directory)
    context = ssl.create_default_context(cafile=target.trust)
    connection = http.client.HTTPSConnection(host.netloc, context=context, timeout=30)
    connection.request("GET", host.path)
    assert isinstance(connection.sock, ssl.SSLSocket)
    assert connection.sock.version() in {"TLSv1.2", "TLSv1.3"}
    connection.close()
    urls = [url for url in client.directory.values() if isinstance(url, str) and "://" in url]
    assert all(url.startswith("https://") for url in urls)


@checks("TR-2")
def test_a_body_that_is_not_utf_8_is_malformed(client: Client) -> None:
    body = to_json(client.jws(client.url("newOrder"), {})).replace(b'"payload":"', b'"payload":"\xff')
    assert client.send(client.url("newOrder"), body).error == "malformed"
    protected = b64(to_json({"alg": "ES256"})[:-1] + b',"url":"\xff\xfe"}')
    assert client.send(client.url("newOrder"), client.key.sign_text(protected, "")).error == "malformed"


@checks("TR-3")
def test_browsers_may_read_answers(target: Target, client: Client) -> None:
    answer = client.http.request("GET", target.directory)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    nonce = client.http.request("HEAD", client.url("newNonce"))
    assert nonce.headers["Access-Control-Allow-Origin"] == "*"


@checks("TR-4")
def test_base64url_with_padding_or_other_letters_is_malformed(client: Client) -> None:
    url = client.url("newOrder")
    good = client.jws(url, {"identifiers": [{"type": "dns", "value": "a.example"}]})
    for member, text in (
        ("signature", good["signature"] + "=="),
        ("payload", good["payload"] + "="),
        ("protected", good["protected"] + "="),
        ("payload", good["payload"] + "\n"),
        ("signature", "+/" + good["signature"][2:]),
    ):
        assert client.send(url, {**good, member: text}).refused("malformed"), member


@checks("TR-5")
def test_a_request_without_user_agent_is_answered(target: Target) -> None:
    host = urlsplit(target.directory)
    context = ssl.create_default_context(cafile=target.trust)
    connection = http.client.HTTPSConnection(host.netloc, context=context, timeout=30)
    connection.request("GET", host.path)
    answer = connection.getresponse()
    status = answer.status
    answer.read()
    connection.close()
    assert status == 200


@checks("TR-6")
def test_a_body_without_measure_is_refused(client: Client) -> None:
    url = client.url("newOrder")
    answer = client.send(url, client.jws(url, {"identifiers": [{"type": "dns", "value": "a" * 60_000}]}))
    assert answer.status in {400, 413}
    for body in (
        b'{"protected":"","protected":"","payload":"","signature":""}',
        b'{"protected":NaN,"payload":"","signature":""}',
        b"[" * 30_000,
    ):
        assert client.send(url, body).refused("malformed"), body[:20]


@checks("TR-7")
def test_the_content_type_must_be_that_of_jose(client: Client) -> None:
    url = client.url("newOrder")
    for type_ in ("application/json", "application/jose", "text/plain"):
        assert client.send(url, client.jws(url), content_type=type_).refused("malformed", 415), type_
    assert client.send(url, client.jws(url), content_type=f"{JOSE}; charset=utf-8").status != 415


@checks("TR-8")
def test_every_resource_but_the_directory_leads_to_the_directory(target: Target, client: Client) -> None:
    assert not client.http.request("GET", target.directory).links("index")
    order = client.url("newOrder")
    for answer in (
        client.http.request("HEAD", client.url("newNonce")),
        client.post(str(client.kid)),
        client.send(order, b"{}"),
        client.http.request("GET", order),
    ):
        assert answer.links("index") == [target.directory]


@checks("TR-9")
def test_problems_are_problem_documents(client: Client) -> None:
    answer = client.send(client.url("newOrder"), b"{}")
    assert answer.headers.get_content_type() == "application/problem+json"
    assert answer.json["type"].startswith("urn:ietf:params:acme:error:")
    assert answer.json["status"] == answer.status
    assert answer.json["detail"]
    assert answer.headers["Content-Language"]


REGISTERED = {
    "accountDoesNotExist",
    "alreadyReplaced",
    "alreadyRevoked",
    "badCSR",
    "badNonce",
    "badPublicKey",
    "badRevocationReason",
    "badSignatureAlgorithm",
    "caa",
    "compound",
    "connection",
    "dns",
    "externalAccountRequired",
    "incorrectResponse",
    "invalidContact",
    "invalidProfile",
    "malformed",
    "orderNotReady",
    "rateLimited",
    "rejectedIdentifier",
    "serverInternal",
    "tls",
    "unauthorized",
    "unsupportedContact",
    "unsupportedIdentifier",
    "userActionRequired",
    "badAttestationStatement",
}


@checks("TR-10")
def test_no_error_type_is_invented(client: Client) -> None:
    order = client.url("newOrder")
    found = {
        client.send(order, b"").error,
        client.post(order, {"identifiers": [{"type": "x-own", "value": "a"}]}).error,
        client.post(order, {"identifiers": [{"type": "dns", "value": "a b"}]}).error,
        client.post(client.url("revokeCert"), {"certificate": b64(b"none")}).error,
        client.other().register(contact=["tel:+1"]).error,
        client.other().register(contact=["mailto:a@b.example?subject=x"]).error,
    }
    assert found - {""} <= REGISTERED


@checks("JW-1")
def test_the_jws_has_exactly_three_members(client: Client) -> None:
    url = client.url("newOrder")
    good = client.jws(url)
    general = {"payload": good["payload"], "signatures": [{k: good[k] for k in ("protected", "signature")}]}
    compact = to_json(f"{good['protected']}.{good['payload']}.{good['signature']}")
    for body in (general, compact, {**good, "header": {"kid": client.kid}}, {**good, "signatures": []}):
        assert client.send(url, body).refused("malformed"), body
    for member in good:
        assert client.send(url, {**good, member: 1}).refused("malformed"), member


@checks("JW-2")
def test_there_are_no_critical_parameters_and_no_detached_payload(client: Client) -> None:
    url = client.url("newOrder")
    assert client.send(url, client.jws(url, b64=False, crit=["b64"])).refused("malformed")
    assert client.send(url, client.jws(url, crit=["exp"], exp=1)).refused("malformed")
    detached = {name: text for name, text in client.jws(url).items() if name != "payload"}
    assert client.send(url, detached).refused("malformed")


@checks("JW-3")
def test_only_signatures_are_taken_and_the_algorithms_are_named(client: Client) -> None:
    url = client.url("newOrder")
    for alg in ("none", "HS256", "ES256K", "RS1"):
        answer = client.send(url, client.jws(url, alg=alg))
        assert answer.refused("badSignatureAlgorithm"), alg
        assert "ES256" in answer.json.get("algorithms", ()), alg
    for private in (
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ):
        assert client.other(Key(private)).register().status == 201, Key(private).alg


@checks("JW-4")
def test_a_key_must_be_good_and_fit_the_algorithm(client: Client) -> None:
    url = client.url("newAccount")

    def refused(jwk: dict[str, Any], signer: Key, **header: Any) -> bool:
        return client.send(url, replace_key(client, signer).jws(url, {}, jwk=jwk, kid=None, **header)).error in {
            "badPublicKey",
            "badSignatureAlgorithm",
            "malformed",
        }

    own = Key()
    assert refused({**own.jwk, "d": b64(bytes(32))}, own)
    assert refused({**own.jwk, "x": b64(b"\x01" * 32)}, own)
    assert refused({**own.jwk, "y": b64(b"\x01" * 31)}, own)
    assert refused(own.jwk, own, alg="ES384")
    weak = Key(rsa.generate_private_key(65537, 1024))  # noqa: S505 - that is the point
    assert client.other(weak).register().refused("badPublicKey")
    assert refused({"kty": "RSA", "n": weak.jwk["n"] * 17, "e": "AQAB"}, weak)
    assert refused({"kty": "RSA", "n": Key(rsa.generate_private_key(65537, 2048)).jwk["n"], "e": "AQ"}, weak)
    assert refused({"kty": "oct", "k": b64(bytes(32))}, own)


def replace_key(client: Client, key: Key) -> Client:
    """The client, but signing with another key."""
    return replace(client, key=key)


@checks("JW-5")
def test_there_is_exactly_one_of_jwk_and_kid_and_each_where_it_belongs(client: Client) -> None:
    order, account = client.url("newOrder"), client.url("newAccount")
    assert client.send(order, client.jws(order, jwk=client.key.jwk)).refused("malformed")
    assert client.send(order, client.jws(order, kid=None)).refused("malformed")
    assert client.send(order, client.jws(order, kid=None, jwk=client.key.jwk)).refused("malformed")
    assert client.send(account, client.jws(account, {})).refused("malformed")


@checks("JW-6")
def test_kid_is_the_whole_url_of_the_account(client: Client) -> None:
    url, kid = client.url("newOrder"), str(client.kid)
    last = kid.rpartition("/")[2]
    parts = urlsplit(kid)
    for wrong in (last, f"https://elsewhere.example{parts.path}", f"{kid}/", f"{parts.scheme}://{parts.netloc}/{last}"):
        answer = client.send(url, client.jws(url, {}, kid=wrong))
        assert answer.error in {"accountDoesNotExist", "malformed", "unauthorized"}, wrong


@checks("JW-7")
def test_a_message_for_another_url_is_unauthorized(client: Client) -> None:
    url = client.url("newOrder")
    for wrong in (client.url("newAccount"), f"{url}/", f"{url}?a", url.replace("https:", "http:"), "newOrder"):
        assert client.send(url, client.jws(wrong, {})).refused("unauthorized", 401, 403), wrong


@checks("JW-8")
def test_headers_of_a_request_do_not_decide_its_url(client: Client) -> None:
    url = client.url("newOrder")
    elsewhere = url.replace(urlsplit(url).netloc, "elsewhere.example")
    forwarded = {"X-Forwarded-Host": "elsewhere.example", "X-Forwarded-Proto": "https"}
    for headers in ({"Host": "elsewhere.example"}, forwarded, {"Forwarded": "host=elsewhere.example"}):
        answer = client.send(url, client.jws(elsewhere, {"identifiers": []}), **headers)
        assert answer.error in {"unauthorized", "malformed"}, headers
        assert "identifiers" not in json.dumps(answer.json)


@checks("JW-9")
def test_nothing_happens_before_the_signature_is_verified(http: Http, client: Client) -> None:
    url = str(client.kid)
    bad = client.jws(url, {"status": "deactivated"})
    assert client.send(url, {**bad, "signature": b64(bytes(64))}).error
    assert client.send(url, {**bad, "signature": bad["signature"][:-6]}).error
    assert client.send(url, replace(client, key=Key()).jws(url, {"status": "deactivated"})).error
    assert client.post(url).json["status"] == "valid"


@checks("JW-10")
def test_a_deactivated_account_is_refused_by_kid_and_by_key(fresh: Client) -> None:
    assert fresh.post(str(fresh.kid), {"status": "deactivated"}).status == 200
    assert fresh.order("a.example").refused("unauthorized", 401)
    again = fresh.other(fresh.key).register()
    assert again.refused("unauthorized", 401, 403)


@checks("JW-11")
def test_a_nonce_in_a_header_of_the_request_is_ignored(client: Client) -> None:
    url = str(client.kid)
    assert client.send(url, client.jws(url), **{"Replay-Nonce": client.nonce()}).status == 200


@checks("JW-12")
def test_a_key_is_the_same_however_it_is_written(fresh: Client) -> None:
    url, jwk = fresh.url("newAccount"), fresh.key.jwk
    turned = dict(reversed(jwk.items())) | {"use": "sig", "kid": "x"}
    answer = fresh.post(url, {"onlyReturnExisting": True}, jwk=turned, kid=None)
    assert (answer.status, answer.location) == (200, fresh.kid)
