"""What every request and response of ACME must be, over HTTP (RFC 8555 section 6)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from server.acme.routes import mount
from server.config.values import ACME_RESOURCES
from tests.fakes.acme import Signer, b64, json_bytes
from tests.server.acme.lab import ORIGIN, Client

if TYPE_CHECKING:
    from tests.server.acme.lab import Lab

RESOURCES = (
    "/new-account",
    "/new-order",
    "/revoke-cert",
    "/key-change",
    "/account/x",
    "/account/x/orders",
    "/order/x",
    "/order/x/finalize",
    "/authorization/x",
    "/challenge/x/http-01",
    "/certificate/x",
)


def check_common(answer: Any) -> None:
    """What every response carries."""
    assert len(answer.headers.getall("Replay-Nonce")) == 1
    assert answer.headers["Cache-Control"] == "no-store"
    assert f'<{ORIGIN}/acme/directory>;rel="index"' in answer.headers.getall("Link")


async def test_new_nonce_answers_head_with_200_and_get_with_204(lab: Lab) -> None:
    for method, status in (("HEAD", 200), ("GET", 204)):
        answer = await lab.request(method, "/acme/new-nonce")
        assert (answer.status, answer.body) == (status, b"")
        check_common(answer) if method == "GET" else None
        assert answer.headers["Cache-Control"] == "no-store"


async def test_directory_and_new_nonce_can_be_read_with_post_as_get(lab: Lab) -> None:
    client = await lab.client()
    directory = await client.post(client.url("/directory"))
    assert (directory.status, directory.body["newNonce"]) == (200, client.url("/new-nonce"))
    assert (await client.post(client.url("/new-nonce"))).status == 204


async def test_the_directory_has_no_index_link_and_may_be_asked_for_with_a_slash_or_its_label(lab: Lab) -> None:
    for path in ("/acme/directory", "/acme/directory/", "/acme/default/directory"):
        answer = await lab.request("GET", path)
        assert answer.status == 200
        assert "Link" not in answer.headers


async def test_the_directory_is_that_of_the_origin_that_was_asked(lab: Lab) -> None:
    other = await lab.request("GET", "/acme/directory", headers={"Host": "other.test"})
    assert other.body["newNonce"] == "https://other.test/acme/new-nonce"
    forged = await lab.request("GET", "/acme/directory", headers={"Host": "evil.test"})
    assert forged.body["newNonce"] == f"{ORIGIN}/acme/new-nonce"


@pytest.mark.parametrize("path", RESOURCES)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
async def test_other_methods_than_post_are_not_allowed(lab: Lab, path: str, method: str) -> None:
    answer = await lab.request(method, f"/acme{path}")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    check_common(answer)
    if method != "HEAD":
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Content-Language"] == "en"
        assert answer.error == "malformed"


async def test_the_directory_can_not_be_deleted(lab: Lab) -> None:
    answer = await lab.request("DELETE", "/acme/directory")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")


async def test_an_unknown_path_is_a_problem_too(lab: Lab) -> None:
    for path in ("/acme/nothing", "/acme/new-authz", "/acme/order", "/acme//directory", "/acme/Directory"):
        answer = await lab.request("GET", path)
        assert (answer.status, answer.error) == (404, "malformed")
        check_common(answer)


@pytest.mark.parametrize(
    "content_type", ["application/json", "text/plain", "", "application/jose", "multipart/form-data"]
)
async def test_another_content_type_is_refused(lab: Lab, content_type: str) -> None:
    answer = await lab.post_jws("/acme/new-account", {}, content_type)
    assert (answer.status, answer.error) == (415, "malformed")
    check_common(answer)


async def test_parameters_of_the_content_type_are_ignored(lab: Lab) -> None:
    client = Client(lab)
    url = client.url("/new-account")
    signed = client.signer.sign(b"{}", url=url, jwk=client.signer.jwk, nonce=await client.nonce())
    answer = await lab.post_jws(url, signed, "Application/JOSE+JSON; charset=utf-8")
    assert answer.status == 201


async def test_an_oversized_body_is_refused_and_found_later(lab: Lab) -> None:
    answer = await lab.post_jws("/acme/new-order", b"x" * 70_000)
    assert (answer.status, answer.error) == (413, "malformed")
    assert [(row.problem.reason, row.address) for row in await lab.refusals() if row.problem] == [
        ("too-large", "127.0.0.1")
    ]


async def test_garbage_is_refused_and_found_later(lab: Lab) -> None:
    answer = await lab.post_jws("/acme/new-order", b"garbage")
    assert (answer.status, answer.error) == (400, "malformed")
    check_common(answer)
    (row,) = await lab.refusals()
    assert row.problem
    assert (row.problem.reason, row.problem.message) == ("malformed", answer.body["detail"])


async def test_a_nonce_is_good_once_and_every_answer_brings_another(lab: Lab) -> None:
    client = await lab.client()
    nonce = await client.nonce()
    url = client.kid or ""
    assert (await client.post(url, nonce=nonce)).status == 200
    again = await client.post(url, nonce=nonce)
    assert (again.status, again.error) == (400, "badNonce")
    check_common(again)
    assert (await client.post(url, nonce=again.headers["Replay-Nonce"])).status == 200
    assert await lab.refusals() == []


async def test_fifty_posts_at_once_with_one_nonce_are_exactly_one_success(lab: Lab) -> None:
    client = await lab.client()
    nonce = await client.nonce()
    answers = await asyncio.gather(*(client.post(client.kid or "", nonce=nonce) for _ in range(50)))
    assert sorted(answer.status for answer in answers) == [200] + [400] * 49
    assert {answer.error for answer in answers if answer.status == 400} == {"badNonce"}


@pytest.mark.parametrize("nonce", [None, "", "AAAA", "A" * 43])
async def test_a_nonce_that_was_never_given_out_is_refused(lab: Lab, nonce: str | None) -> None:
    client = await lab.client()
    answer = await client.post(client.kid or "", nonce=nonce)
    assert (answer.status, answer.error) == (400, "badNonce")


async def test_a_nonce_of_another_endpoint_is_refused(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("other"))
    nonce = (await lab.request("GET", "/acme/other/new-nonce")).headers["Replay-Nonce"]
    client = Client(lab)
    assert (await client.post(client.url("/new-account"), {}, nonce=nonce)).error == "badNonce"


@pytest.mark.parametrize(
    "url",
    [
        f"{ORIGIN}/acme/new-account",
        f"{ORIGIN}/acme/new-order/",
        f"{ORIGIN}/acme/new-order?x=y",
        f"{ORIGIN}/ACME/new-order",
        "https://acme.test/acme/new-order",
        "http://acme.test:8443/acme/new-order",
        "https://evil.test/acme/new-order",
        "https://ACME.test:8443/acme/new-order",
        "/acme/new-order",
        "",
    ],
)
async def test_a_message_for_another_url_is_refused(lab: Lab, url: str) -> None:
    client = await lab.client()
    signed = client.signer.sign(b"{}", url=url, kid=client.kid, nonce=await client.nonce())
    answer = await lab.post_jws("/acme/new-order", signed)
    assert (answer.status, answer.error) == (403, "unauthorized")


async def test_the_query_is_part_of_the_url(lab: Lab) -> None:
    client = await lab.client()
    signed = client.signer.sign(b"", url=f"{client.kid}/orders", kid=client.kid, nonce=await client.nonce())
    assert (await lab.post_jws(f"{client.kid}/orders?cursor=x", signed)).error == "unauthorized"


@pytest.mark.parametrize(
    "wrong",
    [
        "{kid}x",
        "{id}",
        "https://evil.test/acme/account/{id}",
        "https://other.test/acme/account/{id}",
        f"{ORIGIN}/acme/other/account/{{id}}",
        "{kid}/",
        "{kid}?x",
        f"{ORIGIN}/acme/account//{{id}}",
        "",
        f"{ORIGIN}/acme/account/",
        f"{ORIGIN}/acme/account/\x00",
        f"{ORIGIN}/acme/account/\u00e4",
    ],
)
async def test_a_kid_that_is_not_wholly_an_account_url_is_nobody(lab: Lab, wrong: str) -> None:
    client = await lab.client()
    assert client.kid
    kid = wrong.format(kid=client.kid, id=client.kid.rpartition("/")[2])
    answer = await client.post(client.url("/new-order"), {"identifiers": []}, kid=kid)
    assert (answer.status, answer.error) == (400, "accountDoesNotExist")


async def test_an_account_of_another_endpoint_is_nobody_here(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("other"))
    there = await lab.client(prefix="/acme/other")
    here = Client(lab, signer=there.signer, kid=(there.kid or "").replace("/other", ""))
    assert (await here.order("x.localhost")).error == "accountDoesNotExist"
    assert (await there.issue("x.localhost")).serial_number
    here.kid = None
    assert (await here.register(onlyReturnExisting=True)).error == "accountDoesNotExist"


async def test_jwk_is_for_new_accounts_and_kid_for_everything_else(lab: Lab) -> None:
    client = await lab.client()
    for path in RESOURCES:
        by_key = path == "/new-account"
        identity = {"kid": client.kid, "jwk": None} if by_key else {"kid": None, "jwk": client.signer.jwk}
        if path == "/revoke-cert":
            continue
        answer = await client.post(client.url(path), {}, **identity)
        assert (answer.status, answer.error) == (400, "malformed"), path
        assert "kid" in answer.body["detail"]


async def test_the_signature_must_be_that_of_the_account(lab: Lab) -> None:
    client = await lab.client()
    answer = await client.post(client.kid or "", signer=Signer())
    assert (answer.status, answer.error) == (400, "malformed")
    refused = await client.post(client.kid or "", alg="ES384")
    assert (refused.error, refused.body["algorithms"]) == ("badSignatureAlgorithm", ["ES256"])
    assert (await client.post(client.kid or "")).status == 200


async def test_a_refusal_before_the_signature_uses_up_no_nonce(lab: Lab) -> None:
    client = await lab.client()
    nonce = await client.nonce()
    signed = client.signer.sign(b"", url="https://evil.test/", kid=client.kid, nonce=nonce)
    assert (await lab.post_jws(client.kid or "", signed)).status == 403
    assert (await client.post(client.kid or "", nonce=nonce)).status == 200


async def test_answers_are_compact_json_that_simple_clients_can_grep(lab: Lab) -> None:
    client = await lab.client()
    url = client.url("/new-order")
    signed = client.signer.sign(
        json_bytes({"identifiers": [{"type": "dns", "value": "a.localhost"}]}),
        url=url,
        kid=client.kid,
        nonce=await client.nonce(),
    )
    assert lab.server
    assert lab.session
    async with lab.session.post(
        lab.server.make_url("/acme/new-order"), json=signed, headers={"Content-Type": "application/jose+json"}
    ) as response:
        text = await response.text()
    assert text.startswith('{"status":"pending","expires":"2026-11-22T12:00:00Z","identifiers":[{"type":"dns"')
    assert "null" not in text
    assert "wildcard" not in text
    assert "\\/" not in text


def test_a_label_can_not_hide_a_resource(lab: Lab) -> None:
    for label in ACME_RESOURCES:
        with pytest.raises(ValueError, match=label):
            mount(web.Application(), {label: lab.endpoint(label)})


async def test_a_payload_that_is_not_what_the_resource_wants_is_malformed(lab: Lab) -> None:
    client = await lab.client()
    order = await client.order("payload.localhost")
    for url in (order.location, order.location.replace("/order/", "/certificate/")):
        answer = await client.post(url, {})
        assert (answer.status, answer.error) == (400, "malformed")
    for payload in (b"x", b"[]", b'{"a":1,"a":2}', b64(b"{}").encode()):
        challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
        assert (await client.post(challenge["url"], payload)).status == 400
    assert (await client.post(order.location)).body["status"] == "pending"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/new-order", "POST"),
        ("/order/x/finalize", "POST"),
        ("/certificate/x/1", "POST"),
        ("/directory", "GET, HEAD, POST"),
        ("/renewal-info/x", "GET, HEAD"),
    ],
)
async def test_a_browser_may_ask_before_it_sends(lab: Lab, path: str, methods: str) -> None:
    asking = {"Origin": "https://page.test", "Access-Control-Request-Method": "POST"}
    answer = await lab.request("OPTIONS", f"/acme{path}", headers=asking)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Access-Control-Allow-Methods"] == methods
    assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type"


@pytest.mark.parametrize("expectation", ["100-continue", "gold"])
@pytest.mark.parametrize("path", ["/acme/directory", "/acme/new-order", "/acme/nothing"])
async def test_who_expects_something_is_answered_like_anybody(lab: Lab, path: str, expectation: str) -> None:
    plain = await lab.request("POST", path, data=b"{}")
    expecting = await lab.request("POST", path, data=b"{}", headers={"Expect": expectation})
    assert (expecting.status, expecting.headers["Server"]) == (plain.status, "certwright")
