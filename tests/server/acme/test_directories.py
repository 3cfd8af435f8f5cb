"""Several directories in one server: what belongs to one is nothing in another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding

from server.acme.nonces import open_nonces
from server.acme.service import AcmeProfile
from tests.fakes.acme import Signer, b64, json_bytes, new_key
from tests.server.acme.lab import ORIGIN, Client, make_csr
from tests.server.acme.test_renewals import identifier

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Lab

PLANT = "/acme/plant"


@pytest_asyncio.fixture
async def both(lab: Lab) -> Lab:
    """``acme/default`` and ``acme/plant``, which make their nonces with one key, as in a real server."""
    nonces = open_nonces(None, lambda: int(lab.now[0].timestamp()))
    profiles = {"tls-server": AcmeProfile("the only one")}
    await lab.serve(
        lab.endpoint(nonces=nonces, profiles=profiles, pre_authorization=True),
        lab.endpoint("plant", nonces=nonces, profiles=profiles, pre_authorization=True),
    )
    return lab


def moved(url: str) -> str:
    """The URL of the same object in the other directory."""
    return url.replace(f"{ORIGIN}/acme/", f"{ORIGIN}{PLANT}/")


async def twins(lab: Lab) -> tuple[Client, Client]:
    """One key with an account in each directory."""
    signer = Signer()
    return await lab.client(signer=signer), await lab.client(signer=signer, prefix=PLANT)


async def test_a_key_has_an_account_in_each_directory(both: Lab) -> None:
    here, there = await twins(both)
    assert here.kid
    assert there.kid
    assert here.kid.rpartition("/")[2] != there.kid.rpartition("/")[2]
    assert there.kid.startswith(f"{ORIGIN}{PLANT}/account/")
    stranger = await both.client()
    asked = Client(both, signer=stranger.signer, prefix=PLANT)
    missing = await asked.post(asked.url("/new-account"), {"onlyReturnExisting": True})
    assert (missing.status, missing.error) == (400, "accountDoesNotExist")


async def test_an_account_of_one_directory_is_none_in_the_other(both: Lab) -> None:
    here, there = await twins(both)
    for kid in (here.kid, moved(str(here.kid))):
        answer = await there.post(there.url("/new-order"), {"identifiers": []}, kid=kid)
        assert (answer.status, answer.error) == (400, "accountDoesNotExist")
    assert (await here.post(here.url("/new-order"), b"", kid=there.kid)).error == "accountDoesNotExist"


async def test_a_nonce_of_one_directory_is_none_in_the_other(both: Lab) -> None:
    here, there = await twins(both)
    answer = await there.post(str(there.kid), nonce=await here.nonce())
    assert (answer.status, answer.error) == (400, "badNonce")
    assert (await there.post(str(there.kid), nonce=await there.nonce())).status == 200


async def test_a_message_for_one_directory_is_none_for_the_other(both: Lab) -> None:
    here, there = await twins(both)
    url = here.url("/new-order")
    message = there.signer.sign(b"", url=url, kid=there.kid, nonce=await there.nonce())
    answer = await both.post_jws(moved(url), message)
    assert (answer.status, answer.error) == (403, "unauthorized")


async def test_objects_of_one_directory_are_not_found_in_the_other(both: Lab) -> None:
    here, there = await twins(both)
    order = await here.ready("a.localhost")
    authorization = order.body["authorizations"][0]
    challenge = (await here.post(authorization)).body["challenges"][0]["url"]
    csr = {"csr": b64(make_csr("a.localhost"))}
    done = await here.post(order.body["finalize"], csr)
    targets: list[tuple[str, Any]] = [
        (order.location, b""),
        (order.body["finalize"], csr),
        (done.body["certificate"], b""),
        (authorization, b""),
        (authorization, {"status": "deactivated"}),
        (challenge, b""),
        (challenge, {}),
    ]
    for url, payload in targets:
        answer = await there.post(moved(url), payload)
        assert (answer.status, answer.error) == (404, "malformed"), url
    account = await there.post(moved(str(here.kid)))
    assert (account.status, account.error) == (403, "unauthorized")
    assert (await here.post(authorization)).body["status"] == "valid"


async def test_certificates_of_one_directory_are_not_those_of_the_other(both: Lab) -> None:
    here, there = await twins(both)
    key = new_key()
    certificate = await here.issue("a.localhost", key=key)
    text = b64(certificate.public_bytes(Encoding.DER))
    refused: list[Answer] = [
        await there.post(there.url("/revoke-cert"), {"certificate": text}),
        await Client(both, signer=Signer(key), prefix=PLANT).post(there.url("/revoke-cert"), {"certificate": text}),
        await both.request("GET", there.url(f"/renewal-info/{identifier(certificate)}")),
        await there.post(
            there.url("/new-order"),
            {"identifiers": [{"type": "dns", "value": "a.localhost"}], "replaces": identifier(certificate)},
        ),
    ]
    assert [(each.status, each.error) for each in refused] == [(404, "malformed")] * 4
    assert (await both.request("GET", here.url(f"/renewal-info/{identifier(certificate)}"))).status == 200
    assert (await here.post(here.url("/revoke-cert"), {"certificate": text})).status == 200


async def test_what_was_authorized_in_one_directory_is_not_in_the_other(both: Lab) -> None:
    here, there = await twins(both)
    made = await here.post(here.url("/new-authz"), {"identifier": {"type": "dns", "value": "a.localhost"}})
    challenge = made.body["challenges"][0]
    both.served[challenge["token"]] = f"{challenge['token']}.{here.signer.thumbprint}"
    await here.post(challenge["url"], {})
    await here.until(made.location, "valid")
    assert (await here.order("a.localhost")).body["status"] == "ready"
    assert (await there.order("a.localhost")).body["status"] == "pending"


async def test_a_new_key_and_an_end_in_one_directory_leave_the_other_alone(both: Lab) -> None:
    here, there = await twins(both)
    new = Signer()
    url = here.url("/key-change")
    inner = new.sign(json_bytes({"account": here.kid, "oldKey": here.signer.jwk}), url=url, jwk=new.jwk)
    assert (await here.post(url, inner)).status == 200
    assert (await there.post(str(there.kid))).status == 200
    assert (await here.post(str(here.kid))).error == "malformed"
    here.signer = new
    assert (await here.post(str(here.kid), {"status": "deactivated"})).body["status"] == "deactivated"
    assert (await there.post(str(there.kid))).body["status"] == "valid"
