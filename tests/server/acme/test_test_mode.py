"""Test mode: an endpoint refuses more and answers later, and gives nothing that it would not give elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from server.acme.nonces import open_nonces
from server.acme.service.test_mode import RefusingNonces, TestMode, hardened
from tests.server.acme.lab import Client, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Lab

KNOWN = {"newNonce", "newAccount", "newOrder", "newAuthz", "revokeCert", "keyChange", "renewalInfo", "meta"}


def mode(refuse_nonces: int = 0, slow_validation: float = 0.05, draws: list[int] | None = None) -> TestMode:
    """A test mode whose draws are the highest number there is, and are noted."""

    def draw(limit: int) -> int:
        (draws if draws is not None else []).append(limit)
        return limit - 1

    return TestMode(refuse_nonces, odd_directory=True, slow_validation=slow_validation, slow_finalize=True, draw=draw)


@pytest.mark.parametrize(("share", "answers"), [(0, [True] * 4), (100, [False, True, False, True])])
def test_of_good_nonces_some_are_refused_but_never_two_in_a_row(share: int, answers: list[bool]) -> None:
    nonces = RefusingNonces(open_nonces(None, lambda: 1), mode(share))
    assert [nonces.redeem(nonces.issue("a"), "a") for _ in range(4)] == answers


def test_a_refused_nonce_is_used_up_and_a_bad_one_stays_bad() -> None:
    nonces = RefusingNonces(open_nonces(None, lambda: 1), mode(100))
    nonce = nonces.issue("a")
    assert [nonces.redeem(nonce, "a") for _ in range(3)] == [False, False, False]
    assert not nonces.redeem(bytes(3), "a")
    assert not nonces.redeem(nonces.issue("b"), "a")


async def test_the_directory_has_what_nobody_knows(lab: Lab) -> None:
    await lab.serve(hardened(lab.endpoint(), mode()))
    found = (await lab.request("GET", "/acme/directory")).body
    (odd,) = found.keys() - KNOWN
    assert found[odd].startswith("https://")


async def test_everything_takes_longer_and_comes_to_the_same(lab: Lab) -> None:
    draws: list[int] = []
    await lab.serve(hardened(lab.endpoint(), mode(draws=draws)))
    client = await lab.client()
    order = await client.ready("a.localhost")
    assert 51 in draws  # milliseconds, one more than the longest pause
    done = await client.finalize(order, make_csr("a.localhost"))
    assert done.body["status"] == "processing"
    assert done.headers["Retry-After"]
    assert (await client.until(order.location, "valid")).body["certificate"]


async def test_a_refused_nonce_is_answered_with_one_that_is_good(lab: Lab) -> None:
    await lab.serve(hardened(lab.endpoint(), mode(100)))
    client = Client(lab)
    refused = await client.register()
    assert refused.error == "badNonce"
    answer = await client.post(client.url("/new-account"), {}, nonce=refused.headers["Replay-Nonce"])
    assert answer.status == 201


async def test_a_wrong_proof_is_as_wrong_as_elsewhere(lab: Lab) -> None:
    await lab.serve(hardened(lab.endpoint(), mode()))
    client = await lab.client()
    order = await client.order("a.localhost")
    challenge = (await client.post(order.body["authorizations"][0])).body["challenges"][0]
    lab.served[challenge["token"]] = "something else"
    await client.post(challenge["url"], {})
    assert (await client.until(order.location, "invalid")).body["error"]
    assert (await client.finalize(order, make_csr("a.localhost"))).error == "orderNotReady"


async def test_no_authorization_is_used_again(lab: Lab) -> None:
    for mode_, status in ((None, "ready"), (mode(), "pending")):
        endpoint = lab.endpoint(pre_authorization=True)
        await lab.serve(endpoint if mode_ is None else hardened(endpoint, mode_))
        client = await lab.client()
        identifier = {"type": "dns", "value": "a.localhost"}
        made = await client.post(client.url("/new-authz"), {"identifier": identifier})
        challenge = made.body["challenges"][0]
        lab.served[challenge["token"]] = f"{challenge['token']}.{client.signer.thumbprint}"
        await client.post(challenge["url"], {})
        await client.until(made.location, "valid")
        assert (await client.order("a.localhost")).body["status"] == status
