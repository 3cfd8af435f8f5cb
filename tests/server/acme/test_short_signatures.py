"""ECDSA signatures without leading zeros, against RFC 7518 section 3.4: taken where the endpoint says so alone."""

from __future__ import annotations

import ssl
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

import aiohttp
import pytest

from server.config import AcmeEndpointConfig, load_config
from tests.fakes.acme import Signer, b64, json_bytes
from tests.fakes.running import running
from tests.server.acme.lab import ORIGIN, Client

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.acme.lab import Lab

KEY_CHANGE = f"{ORIGIN}/acme/key-change"


class Apples(Signer):
    """Signs until r or s begins with a zero octet, and leaves that out."""

    def sign_raw(self, protected: str, payload: str) -> dict[str, str]:
        while True:
            made = super().sign_raw(protected, payload)
            octets = urlsafe_b64decode(made["signature"] + "==")
            short = octets[:32].removeprefix(b"\0") + octets[32:].removeprefix(b"\0")
            if len(short) < 64:
                return {**made, "signature": b64(short)}


def rolled(client: Client, new: Signer) -> dict[str, str]:
    """The inner message of a keyChange."""
    payload = {"account": client.kid, "oldKey": client.signer.jwk}
    return new.sign(json_bytes(payload), jwk=new.jwk, url=KEY_CHANGE)


async def test_where_they_are_taken_apples_client_gets_on(lab: Lab) -> None:
    await lab.serve(lab.endpoint(short_signatures=True))
    client, new = await lab.client(signer=Apples()), Apples()
    assert (await client.post(client.kid or "")).status == 200
    assert (await client.post(KEY_CHANGE, rolled(client, new))).status == 200
    client.signer = new
    assert (await client.issue("apple.localhost")).serial_number


async def test_where_they_are_taken_the_others_are_too_and_forged_ones_are_not(lab: Lab) -> None:
    await lab.serve(lab.endpoint(short_signatures=True))
    client = await lab.client()
    assert (await client.post(client.kid or "")).status == 200
    for forger in (Signer(), Apples()):
        assert (await client.post(client.kid or "", signer=forger)).error == "malformed"
    client.kid = None
    assert (await client.post(client.url("/new-account"), {}, signer=Apples(), jwk=Signer().jwk)).error == "malformed"


async def test_elsewhere_they_are_malformed_with_jwk_with_kid_and_inside(lab: Lab) -> None:
    stranger = await Client(lab, Apples()).register()
    assert (stranger.status, stranger.error) == (400, "malformed")
    client = await lab.client()
    for _ in range(2):  # whether the account's key has been loaded before or not
        short = await client.post(client.kid or "", signer=Apples(client.signer.key))
        assert (short.status, short.error) == (400, "malformed")
        assert (await client.post(client.kid or "")).status == 200
    changed = await client.post(KEY_CHANGE, rolled(client, Apples()))
    assert (changed.status, changed.error) == (400, "malformed")


async def test_what_one_endpoint_takes_another_does_not(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("apple", short_signatures=True))
    signer = Apples()
    assert (await Client(lab, signer, prefix="/acme/apple").register()).status == 201
    assert (await Client(lab, signer).register()).error == "malformed"


def test_they_are_not_taken_unless_it_is_said() -> None:
    assert not AcmeEndpointConfig.model_validate({"profiles": ["a"]}).short_signatures
    for wrong in ("apple", None, 2):
        with pytest.raises(ValueError, match="short_signatures"):
            AcmeEndpointConfig.model_validate({"profiles": ["a"], "short_signatures": wrong})


@pytest.mark.parametrize(("said", "status"), [("", 400), ("    short_signatures: true\n", 201)])
async def test_the_server_takes_them_where_its_configuration_says_so(folder: Path, said: str, status: int) -> None:
    file, profiles, signer = folder / "server.yaml", "    profiles: [tls-server]\n", Apples()
    file.write_text(file.read_text().replace(profiles, profiles + said))
    config, context = load_config(file), ssl.create_default_context(cafile=folder / "root.pem")
    assert config.listeners.https is not None
    origin = config.listeners.https.origins()[0]
    async with running(config) as (_, ports), aiohttp.ClientSession(f"https://localhost:{ports['https']}") as session:
        async with session.head("/acme/new-nonce", ssl=context) as reply:
            nonce = reply.headers["Replay-Nonce"]
        message = signer.sign(b"{}", jwk=signer.jwk, nonce=nonce, url=f"{origin}/acme/new-account")
        jose = {"Content-Type": "application/jose+json"}
        async with session.post("/acme/new-account", data=json_bytes(message), headers=jose, ssl=context) as reply:
            assert reply.status == status
