"""Every resource against everybody who may not: nobody gets in, nothing changes, and nobody learns what there is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest_asyncio
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.acme import Signer, b64, json_bytes
from tests.server.acme.lab import Client, make_csr

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.server.acme.lab import Answer, Lab

CSR = b64(make_csr("a.localhost"))


@dataclass
class Scene:
    """An account with everything that an account can have, and others beside it."""

    lab: Lab
    owner: Client
    other: Client
    left: Client
    elsewhere: Client
    targets: dict[str, tuple[str, object]]

    async def state(self) -> list[Any]:
        """What the owner sees: nobody else may have changed it."""
        urls = ("account", "order", "authorization", "challenge", "certificate", "orders")
        return [(await self.owner.post(self.targets[name][0])).body for name in urls]


@pytest_asyncio.fixture
async def scene(lab: Lab) -> Scene:
    await lab.serve(lab.endpoint(), lab.endpoint("plant"))
    owner, other, left = [await lab.client() for _ in range(3)]
    elsewhere = await lab.client(prefix="/acme/plant")
    assert (await left.post(str(left.kid), {"status": "deactivated"})).status == 200
    issued = await owner.issue("done.localhost")
    (done,) = (await owner.post(f"{owner.kid}/orders")).body["orders"]
    ready = await owner.ready("a.localhost")
    waiting = (await owner.order("b.localhost")).body["authorizations"][0]
    challenge = (await owner.post(waiting)).body["challenges"][0]["url"]
    inner = Signer()
    key_change = owner.url("/key-change")
    moved = inner.sign(json_bytes({"account": owner.kid, "oldKey": owner.signer.jwk}), url=key_change, jwk=inner.jwk)
    certificate = {"certificate": b64(issued.public_bytes(Encoding.DER))}
    targets: dict[str, tuple[str, object]] = {
        "account": (str(owner.kid), b""),
        "contact": (str(owner.kid), {"contact": []}),
        "deactivation": (str(owner.kid), {"status": "deactivated"}),
        "orders": (f"{owner.kid}/orders", b""),
        "new order": (owner.url("/new-order"), {"identifiers": [{"type": "dns", "value": "x.localhost"}]}),
        "order": (ready.location, b""),
        "finalize": (ready.body["finalize"], {"csr": CSR}),
        "authorization": (waiting, b""),
        "giving back": (waiting, {"status": "deactivated"}),
        "challenge": (challenge, b""),
        "answer": (challenge, {}),
        "certificate": ((await owner.post(done)).body["certificate"], b""),
        "key change": (key_change, moved),
        "revocation": (owner.url("/revoke-cert"), certificate),
        "directory": (owner.url("/directory"), b""),
        "nonce": (owner.url("/new-nonce"), b""),
    }
    return Scene(lab, owner, other, left, elsewhere, targets)


async def unsigned(scene: Scene, url: str, payload: object) -> Answer:
    return await scene.lab.post_jws(url, payload if isinstance(payload, bytes) else json_bytes(payload))


async def another_signature(scene: Scene, url: str, payload: object) -> Answer:
    return await scene.owner.post(url, payload, signer=Signer())


async def another_account(scene: Scene, url: str, payload: object) -> Answer:
    return await scene.other.post(url, payload)


async def one_that_has_left(scene: Scene, url: str, payload: object) -> Answer:
    return await scene.left.post(url, payload)


async def another_directory(scene: Scene, url: str, payload: object) -> Answer:
    return await scene.elsewhere.post(url, payload, nonce=await scene.owner.nonce())


async def a_nonce_of_another_directory(scene: Scene, url: str, payload: object) -> Answer:
    return await scene.owner.post(url, payload, nonce=await scene.elsewhere.nonce())


async def a_key_instead_of_the_account(scene: Scene, url: str, payload: object) -> Answer:
    return await scene.owner.post(url, payload, kid=None, jwk=scene.owner.signer.jwk)


async def by_owner(scene: Scene, url: str, payload: object, said: str) -> Answer:
    octets = payload if isinstance(payload, bytes) else json_bytes(payload)
    header = {"url": said, "kid": scene.owner.kid, "nonce": await scene.owner.nonce()}
    return await scene.lab.post_jws(url, scene.owner.signer.sign(octets, **header))


async def a_message_for_another_url(scene: Scene, url: str, payload: object) -> Answer:
    return await by_owner(scene, url, payload, f"{url}/")


async def the_url_by_another_name(scene: Scene, url: str, payload: object) -> Answer:
    return await by_owner(scene, url, payload, url.replace("acme.test:8443", "evil.test"))


INTRUDERS: tuple[Callable[[Scene, str, object], Awaitable[Answer]], ...] = (
    *(unsigned, another_signature, another_account, one_that_has_left, another_directory),
    *(a_nonce_of_another_directory, a_key_instead_of_the_account, a_message_for_another_url),
    the_url_by_another_name,
)
OPEN_TO_ALL = {"new order", "directory", "nonce"}
"""What any account of the directory may have."""


async def test_nobody_but_the_owner_gets_in(scene: Scene) -> None:
    before = await scene.state()
    for intruder in INTRUDERS:
        for name, (url, payload) in scene.targets.items():
            if intruder is another_account and name in OPEN_TO_ALL:
                continue
            tried = (intruder.__name__, name)
            answer = await intruder(scene, url, payload)
            assert 400 <= answer.status < 500, (tried, answer.status, answer.body)
            assert answer.body["type"].startswith("urn:ietf:params:acme:error:"), tried
            assert answer.headers["Replay-Nonce"], tried
        assert await scene.state() == before, intruder.__name__


async def test_what_is_foreign_looks_like_what_is_not_there(scene: Scene) -> None:
    for name in ("order", "finalize", "authorization", "giving back", "challenge", "answer", "certificate"):
        url, payload = scene.targets[name]
        parts = url.split("/")
        place = next(index for index, part in enumerate(parts) if len(part) == 24)
        unknown = "/".join((*parts[:place], parts[place][::-1], *parts[place + 1 :]))
        foreign, none = [await scene.other.post(each, payload) for each in (url, unknown)]
        assert (foreign.status, foreign.body) == (none.status, none.body), name
        assert foreign.status == 404, name


PATHS = (
    *("/acme//directory", "/acme/directory;x", "/acme/directory%2f", "/ACME/directory", "/acme/Directory"),
    *("/acmex/directory", "/acme/order", "/acme/order//", "/acme/order/x%2ffinalize", "/acme/plant"),
    *("/acme/plantx/directory", "/acme/directoryx", "/acme/plant/directory/x", "/acme"),
)


async def test_only_exact_paths_lead_anywhere(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("plant"))
    for path in PATHS:
        answer = await lab.request("GET", path)
        assert answer.status in {404, 405}, (path, answer.body)
