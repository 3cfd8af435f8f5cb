"""1.2: GET, POST-as-GET, nonces, rate limits (RFC 8555 sections 6.3 to 6.6 and 7.2)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.conformance.acme.client import Http, NotOffered, to_json

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from tests.conformance.acme.client import Answer, Client, Issued
    from tests.conformance.acme.targets import Target

checks = pytest.mark.checks


@checks("PG-1")
def test_get_does_not_read_what_belongs_to_accounts(client: Client, issued: Issued) -> None:
    order = issued.order
    for url in (issued.url, order["authorizations"][0], order["certificate"], str(client.kid), client.url("newOrder")):
        answer = client.http.request("GET", url)
        assert answer.refused("malformed", 405), url
        assert "POST" in answer.headers["Allow"], url


@checks("PG-2")
def test_only_an_empty_payload_reads(client: Client, issued: Issued) -> None:
    members = {name: _sorted(value) for name, value in issued.order.items()}
    for payload in (b"", {}, {"status": "valid"}, b"null", b'""'):
        answer = client.post(issued.url, payload)
        same = {name: _sorted(value) for name, value in answer.json.items()} == members
        assert same or (payload != b"" and answer.error == "malformed"), payload


def _sorted(value: object) -> object:
    """A list in an order of its own: that of an array of an order means nothing."""
    return sorted(value, key=str) if isinstance(value, list) else value


@checks("PG-3")
def test_directory_and_nonce_are_read_by_get_and_by_post(target: Target, client: Client) -> None:
    assert client.post(target.directory).json == client.http.request("GET", target.directory).json
    answer = client.post(client.url("newNonce"))
    assert answer.status in {200, 204}
    assert answer.nonce


@checks("PG-4")
def test_reading_a_challenge_starts_nothing(client: Client, name: str) -> None:
    challenge = client.challenge(client.order(name).json["authorizations"][0])
    assert client.post(challenge["url"]).json["status"] == "pending"
    assert client.post(challenge["url"]).json["status"] == "pending"


@checks("PG-5")
def test_unknown_and_foreign_objects_can_not_be_told_apart(target: Target, client: Client, fresh: Client) -> None:
    assert client.http.request("HEAD", target.directory).status == 200
    order = fresh.order(f"foreign.{target.domain}")
    for url in (order.location, order.json["authorizations"][0], order.json["finalize"]):
        unknown = url.replace(identifier := _identifier(url), identifier[::-1])
        foreign, none = client.post(url, _csr(url)), client.post(unknown, _csr(url))
        assert foreign.status >= 400, url
        assert (foreign.status, foreign.body) == (none.status, none.body), url


def _identifier(url: str) -> str:
    """The part of a URL that tells one object from another."""
    return max(url.split("/")[3:], key=lambda part: (len(part) >= 16, len(part)))


def _csr(url: str) -> object:
    return {"csr": "AA"} if "final" in url else b""


@checks("NO-1")
def test_every_answer_to_a_signed_message_has_a_nonce_that_is_good(client: Client) -> None:
    url, order = str(client.kid), client.url("newOrder")
    sends: tuple[Callable[[], Answer], ...] = (
        lambda: client.post(url),
        lambda: client.send(url, client.jws(url, nonce="AAAA")),
        lambda: client.post(order, {"identifiers": []}),
    )
    for send in sends:
        nonce = send().nonce
        assert nonce
        assert client.send(url, client.jws(url, nonce=nonce)).status == 200


@checks("NO-2")
def test_a_missing_or_unknown_nonce_is_badnonce(client: Client) -> None:
    url = str(client.kid)
    used = client.nonce()
    assert client.send(url, client.jws(url, nonce=used)).status == 200
    for wrong in (None, used, "AAAAAAAAAAAAAAAAAAAAAA"):
        assert client.send(url, client.jws(url, nonce=wrong)).refused("badNonce"), wrong
    assert client.send(url, client.jws(url, nonce="not base64url!")).error in {"malformed", "badNonce"}


@checks("NO-3")
def test_a_nonce_is_good_once_even_for_many_at_once(client: Client, trust: ssl.SSLContext) -> None:
    url, nonce = str(client.kid), client.nonce()
    bodies = [to_json(client.jws(url, nonce=nonce)) for _ in range(50)]

    def send(some: list[bytes]) -> list[Answer]:
        own = Http(trust)
        try:
            return [own.request("POST", url, body, {"Content-Type": "application/jose+json"}) for body in some]
        finally:
            own.close()

    with ThreadPoolExecutor(10) as pool:
        answers = [each for some in pool.map(send, (bodies[i::10] for i in range(10))) for each in some]
    assert sorted(each.status for each in answers) == [200] + 49 * [400]
    assert {each.error for each in answers} == {"", "badNonce"}


@checks("NO-4")
def test_nonces_are_long_different_and_base64url(client: Client) -> None:
    nonces = {client.http.request("HEAD", client.url("newNonce")).nonce for _ in range(20)}
    assert len(nonces) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,}", nonce) for nonce in nonces)


@checks("NO-5")
def test_a_new_nonce_has_no_body_and_is_not_kept(client: Client) -> None:
    for method, status in (("HEAD", 200), ("GET", 204)):
        answer = client.http.request(method, client.url("newNonce"))
        assert (answer.status, answer.body) == (status, b"")
        assert "no-store" in answer.headers["Cache-Control"]


@checks("NO-6")
def test_what_is_malformed_uses_no_nonce_up(client: Client) -> None:
    url, nonce = str(client.kid), client.nonce()
    assert client.send(url, {**client.jws(url, nonce=nonce), "header": {}}).error == "malformed"
    assert client.send(url, client.jws(url, nonce=nonce)).status == 200


@checks("NO-7")
def test_nonces_may_be_kept_in_a_pool(client: Client) -> None:
    url = str(client.kid)
    pool = [client.http.request("HEAD", client.url("newNonce")).nonce for _ in range(30)]
    assert all(client.send(url, client.jws(url, nonce=nonce)).status == 200 for nonce in reversed(pool))


@checks("NO-8")
def test_a_nonce_is_good_on_another_connection_once(client: Client, trust: ssl.SSLContext) -> None:
    url = str(client.kid)
    for _ in range(8):
        one, other = Http(trust), Http(trust)
        nonce = one.request("HEAD", client.url("newNonce")).nonce
        body = to_json(client.jws(url, nonce=nonce))
        jose = {"Content-Type": "application/jose+json"}
        statuses = [each.request("POST", url, body, jose).status for each in (other, one)]
        one.close()
        other.close()
        assert statuses == [200, 400]


def limited(target: Target, stranger: Client) -> Client:
    """A client with an account where little is allowed."""
    if not target.limited:
        raise NotOffered("no limits, or none that a few requests meet")
    client = stranger.other(directory_url=target.limited)
    assert client.register().status == 201
    return client


@checks("RL-1")
def test_too_much_is_answered_with_when_to_come_again(target: Target, stranger: Client) -> None:
    client = limited(target, stranger)
    assert [client.order(f"l{number}.{target.domain}").status for number in range(3)] == [201, 201, 429]
    answer = client.order(f"l.{target.domain}")
    assert answer.refused("rateLimited", 429)
    assert re.fullmatch(r"[0-9]+", answer.headers["Retry-After"])


@checks("RL-2")
def test_limits_are_for_each_account(target: Target, stranger: Client) -> None:
    full = limited(target, stranger)
    while full.order(f"full.{target.domain}").status == 201:
        pass
    assert limited(target, stranger).order(f"full.{target.domain}").status == 201
