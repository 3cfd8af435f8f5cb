from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from server.bench.acme_account import Account, base64url
from server.bench.connection import Connection
from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class AcmeLike:
    """Hands out nonces, takes each once, and keeps what was signed."""

    def __init__(self) -> None:
        self.nonces = 0
        self.refuse_next = False
        self.requests: list[dict[str, Any]] = []
        self.app = web.Application()
        self.app.router.add_route("HEAD", "/nonce", self.nonce)
        self.app.router.add_route("HEAD", "/none", self.nothing)
        self.app.router.add_post("/{path}", self.take)

    def _fresh(self) -> dict[str, str]:
        self.nonces += 1
        return {"Replay-Nonce": f"nonce-{self.nonces}"}

    async def nonce(self, request: web.Request) -> web.Response:
        return web.Response(headers=self._fresh())

    async def nothing(self, request: web.Request) -> web.Response:
        return web.Response()

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        if self.refuse_next:
            self.refuse_next = False
            return web.Response(
                status=400, body=b'{"type":"urn:ietf:params:acme:error:badNonce"}', headers=self._fresh()
            )
        headers = self._fresh() | {"Location": str(request.url.with_path("/account/1"))}
        return web.Response(status=201, headers=headers)

    def protected(self) -> list[dict[str, Any]]:
        return [json.loads(unpadded(request["protected"])) for request in self.requests]


@pytest.fixture
def acme() -> AcmeLike:
    return AcmeLike()


@pytest.fixture
async def served(acme: AcmeLike) -> AsyncIterator[TestServer]:
    running = TestServer(acme.app)
    await running.start_server()
    yield running
    await running.close()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    made = Connection()
    yield made
    await made.close()


def url(served: TestServer, path: str) -> str:
    return str(served.make_url(path))


async def test_the_first_request_carries_the_key_and_later_ones_the_account(
    acme: AcmeLike, served: TestServer, connection: Connection
) -> None:
    account = Account(connection, url(served, "/nonce"))
    await account.register(url(served, "/account"))
    await account.post(url(served, "/order"), {"a": 1})
    first, second = acme.protected()
    assert first["jwk"]["kty"] == "EC"
    assert "kid" not in first
    assert second["kid"] == url(served, "/account/1")
    assert "jwk" not in second


async def test_a_nonce_of_a_reply_is_used_for_the_next_request(
    acme: AcmeLike, served: TestServer, connection: Connection
) -> None:
    account = Account(connection, url(served, "/nonce"))
    await account.post(url(served, "/a"), {})
    await account.post(url(served, "/b"), {})
    assert [each["nonce"] for each in acme.protected()] == ["nonce-1", "nonce-2"]


async def test_the_signature_covers_header_and_payload(
    acme: AcmeLike, served: TestServer, connection: Connection
) -> None:
    account = Account(connection, url(served, "/nonce"))
    await account.post(url(served, "/a"), {"csr": "x"})
    request, protected = acme.requests[0], acme.protected()[0]
    x, y = (int.from_bytes(unpadded(protected["jwk"][each]), "big") for each in ("x", "y"))
    raw = unpadded(request["signature"])
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    signed = f"{request['protected']}.{request['payload']}".encode()
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    assert unpadded(request["payload"]) == b'{"csr":"x"}'


async def test_post_as_get_has_an_empty_payload(acme: AcmeLike, served: TestServer, connection: Connection) -> None:
    await Account(connection, url(served, "/nonce")).post(url(served, "/a"), None)
    assert acme.requests[0]["payload"] == ""


async def test_a_refused_nonce_is_followed_by_one_more_attempt(
    acme: AcmeLike, served: TestServer, connection: Connection
) -> None:
    acme.refuse_next = True
    await Account(connection, url(served, "/nonce")).post(url(served, "/a"), {})
    assert [each["nonce"] for each in acme.protected()] == ["nonce-1", "nonce-2"]


async def test_a_server_without_nonces_is_a_failure(served: TestServer, connection: Connection) -> None:
    with pytest.raises(EnrollmentFailed, match="no nonce"):
        await Account(connection, url(served, "/none")).post(url(served, "/a"), {})


def test_the_thumbprint_is_that_of_a_sha256() -> None:
    assert len(unpadded(Account(None, "").thumbprint)) == 32  # type: ignore[arg-type]  # it asks nobody


def test_base64url_has_no_padding() -> None:
    assert base64url(b"\xff\xfe\xfd\xfc") == "__79_A"
