"""SCEP over HTTP, with raw requests on a real socket: clients write request lines that no library would."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import pytest_asyncio
from aiohttp import web

from server.config import Limits
from server.http import create_app
from server.outcome import Reason
from server.scep.routes import mount
from tests.server.scep.device import csr, enrollment, envelope, read_reply, rsa_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.server.scep.lab import Lab

LIMIT = 30_000


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Client:
    port: int

    async def send(self, request: bytes) -> Response:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        return Response(int(lines[0].split()[1]), headers, body)

    async def get(self, target: str, method: str = "GET") -> Response:
        return await self.send(f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    async def post(self, target: str, body: bytes, *headers: str) -> Response:
        lines = (f"POST {target} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers)
        return await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def _ready() -> dict[str, str]:
    return {}


@pytest_asyncio.fixture
async def client(lab: Lab) -> AsyncIterator[Client]:
    app = create_app("http", Limits(body_bytes=LIMIT), _ready, lambda: "request")
    mount(app, {"default": lab.endpoint(), "other": lab.endpoint("other", ca_certificates="ca-only")})
    runner = web.AppRunner(app, max_line_size=65536, max_field_size=65536)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield Client(runner.addresses[0][1])
    await runner.cleanup()


CAPS = "?operation=GetCACaps"
DEFAULT_PATHS = [
    "/scep",
    "/scep/",
    "//scep",
    "/scep/default",
    "/scep//default//pkiclient.exe",
    "/scep/pkiclient.exe",
    "/scep/pkiclient.exe/anything/at/all",
    "/scep/default/anything/at/all",
    "/scep:8080/pkiclient.exe",
    "/cgi-bin/pkiclient.exe",
    "/cgi-bin/pkiclient.exe/default/x",
    "/certsrv/mscep/mscep.dll",
    "/certsrv/mscep/mscep.dll/pkiclient.exe",
    "/certsrv/mscep/",
]


@pytest.mark.parametrize("path", DEFAULT_PATHS)
async def test_every_path_that_clients_make_of_the_url_is_served(client: Client, path: str) -> None:
    response = await client.get(path + CAPS)
    assert response.status == 200
    assert b"POSTPKIOperation" in response.body


@pytest.mark.parametrize("path", ["/scep/other", "/scep/other/pkiclient.exe", "/cgi-bin/pkiclient.exe/other"])
async def test_a_label_names_its_endpoint(client: Client, path: str) -> None:
    response = await client.get(path + "?operation=GetCACert")
    assert response.headers["content-type"] == "application/x-x509-ca-cert"


@pytest.mark.parametrize("path", ["/scep/mistyped", "/scepter", "/scep-other", "/scep/mistyped/pkiclient.exe"])
async def test_a_mistyped_label_gets_no_other_endpoint(client: Client, path: str) -> None:
    assert (await client.get(path + CAPS)).status == 404


@pytest.mark.parametrize("message", ["", "&message=", "&message=0", "&message=CAIdentifier", "&message=default", "&x"])
async def test_the_ca_identifier_is_ignored(client: Client, message: str) -> None:
    caps = await client.get("/scep?operation=GetCACaps" + message)
    assert caps.headers["content-type"] == "text/plain"
    certificates = await client.get("/scep?operation=GetCACert" + message)
    assert certificates.headers["content-type"] == "application/x-x509-ca-ra-cert"


async def test_the_message_may_stand_before_the_operation(client: Client) -> None:
    assert (await client.get("/scep?message=x&operation=GetCACaps")).status == 200


async def test_operations_are_taken_in_any_case(client: Client) -> None:
    assert (await client.get("/scep?operation=getcacaps")).status == 200


@pytest.mark.parametrize("target", ["/scep", "/scep?operation=", "/scep?operation=GetNothing", "/scep?message=AAAA"])
async def test_an_unknown_operation_is_a_400(client: Client, target: str) -> None:
    response = await client.get(target)
    assert (response.status, response.headers["content-type"]) == (400, "text/plain")
    posted = await client.post("/scep?operation=GetNextCACert", b"")
    assert posted.status == 400


async def test_get_next_ca_cert_is_answered(client: Client) -> None:
    response = await client.get("/scep?operation=GetNextCACert&message=x")
    assert (response.status, response.headers["content-type"]) == (404, "text/plain")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
async def test_other_methods_are_a_405(client: Client, method: str) -> None:
    response = await client.get("/scep" + CAPS, method)
    assert (response.status, response.headers["allow"]) == (405, "GET,HEAD,POST")


async def test_a_head_request_issues_nothing(client: Client, lab: Lab) -> None:
    assert (await client.get("/scep" + CAPS, "HEAD")).status == 200
    encoded = quote(base64.b64encode(enrollment(lab.ra_der).encode()), safe="")
    assert (await client.get("/scep?operation=PKIOperation&message=" + encoded, "HEAD")).status == 405
    assert await lab.issued() == 0


@pytest.mark.parametrize("target", ["/scep?operation=PKIOperation", "/scep", "/scep?operation=", "/scep/pkiclient.exe"])
@pytest.mark.parametrize(
    "headers", [(), ("Content-Type: application/x-pki-message",), ("Content-Type: text/html",), ("Content-Type:",)]
)
async def test_a_posted_message_is_answered_whatever_its_content_type(
    client: Client, lab: Lab, target: str, headers: tuple[str, ...]
) -> None:
    response = await client.post(target, enrollment(lab.ra_der).encode(), *headers)
    assert (response.status, response.headers["content-type"]) == (200, "application/x-pki-message")
    assert response.headers["cache-control"] == "no-store"
    assert read_reply(response.body, rsa_key()).status == "0"


def wrapped(text: str, line_end: str) -> str:
    return line_end.join(text[i : i + 64] for i in range(0, len(text), 64))


FORMS: dict[str, Callable[[str], str]] = {
    "percent-encoded": lambda text: quote(text, safe=""),
    "raw": lambda text: text,
    "only padding encoded": lambda text: text.replace("=", "%3D"),
    "plus signs as spaces": lambda text: text.replace("+", "%20").replace("=", "%3D"),
    "line breaks": lambda text: quote(wrapped(text, "\n"), safe=""),
    "CRLF": lambda text: quote(wrapped(text, "\r\n"), safe=""),
    "URL-safe": lambda text: text.replace("+", "-").replace("/", "_"),
    "no padding": lambda text: text.rstrip("="),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("http", ["HTTP/1.1\r\nHost: x\r\nConnection: close", "HTTP/1.0"])
async def test_a_message_by_get_is_read_in_every_form_of_base64(client: Client, lab: Lab, form: str, http: str) -> None:
    message = base64.b64encode(enrollment(lab.ra_der).encode()).decode()
    assert "+" in message
    assert "/" in message
    target = f"/scep?operation=PKIOperation&message={FORMS[form](message)}"
    response = await client.send(f"GET {target} {http}\r\n\r\n".encode())
    assert response.status == 200
    assert read_reply(response.body, rsa_key()).status == "0"


async def test_a_failure_is_http_200(client: Client, lab: Lab) -> None:
    content = envelope(csr(rsa_key(), "device-1.test", "wrong"), lab.ra_der)
    response = await client.post("/scep", enrollment(lab.ra_der, content=content).encode())
    assert (response.status, response.headers["content-type"]) == (200, "application/x-pki-message")
    assert read_reply(response.body, rsa_key()).fail_info == "2"


@pytest.mark.parametrize("body", [b"", b"garbage", b"<html></html>"])
async def test_garbage_is_a_400_and_on_record(client: Client, lab: Lab, body: bytes) -> None:
    response = await client.post("/scep?operation=PKIOperation", body)
    assert (response.status, response.headers["content-type"]) == (400, "text/plain")
    (request,) = await lab.requests()
    assert (request.reason, request.address) == (Reason.MALFORMED, "127.0.0.1")


async def test_a_message_parameter_that_is_not_base64_is_a_400_and_on_record(client: Client, lab: Lab) -> None:
    for parameter in ("%%%", "~", ""):
        assert (await client.get(f"/scep?operation=PKIOperation&message={parameter}")).status == 400
    assert len(await lab.requests()) == 3


async def test_an_oversized_body_is_a_413_and_on_record(client: Client, lab: Lab) -> None:
    response = await client.post("/scep?operation=PKIOperation", bytes(LIMIT + 1))
    assert response.status == 413
    (request,) = await lab.requests()
    assert request.reason is Reason.TOO_LARGE


async def test_a_message_of_a_large_key_fits_into_a_request_line(client: Client, lab: Lab) -> None:
    names = [f"host-{n}.device-1.test" for n in range(200)]
    content = envelope(csr(rsa_key(), "device-1.test", "sesame", *names), lab.ra_der)
    message = quote(base64.b64encode(enrollment(lab.ra_der, content=content).encode()), safe="")
    assert len(message) > 8190
    assert (await client.get("/scep?operation=PKIOperation&message=" + message)).status == 200


async def test_a_temporary_refusal_carries_retry_after(client: Client, lab: Lab) -> None:
    content = envelope(csr(rsa_key(), "device-1.test", "wrong"), lab.ra_der)
    body = enrollment(lab.ra_der, content=content).encode()
    statuses = [(await client.post("/scep", body)).status for _ in range(11)]
    assert statuses[0] == 200
    limited = await client.post("/scep", body)
    assert limited.status == 429
    assert int(limited.headers["retry-after"]) > 0


def test_an_endpoint_is_needed() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mount(web.Application(), {})


async def test_the_only_endpoint_is_the_default_whatever_its_label(lab: Lab) -> None:
    app = create_app("http", Limits(), _ready, lambda: "request")
    mount(app, {"other": lab.endpoint("other")})
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    response = await Client(runner.addresses[0][1]).get("/scep" + CAPS)
    await runner.cleanup()
    assert response.status == 200


async def test_proxies_may_keep_what_is_public_for_a_while_and_nothing_else(lab: Lab, client: Client) -> None:
    """A PKIOperation by GET could be kept like any other GET (RFC 8894 section 4.1)."""
    for operation in ("GetCACaps", "GetCACert"):
        assert (await client.get(f"/scep?operation={operation}")).headers["cache-control"] == "max-age=300"
    message = quote(base64.b64encode(enrollment(lab.ra_der).encode()), safe="")
    reply = await client.get(f"/scep?operation=PKIOperation&message={message}")
    assert (reply.status, reply.headers["cache-control"]) == (200, "no-store")


async def test_who_expects_what_there_is_not_is_answered_like_anybody(client: Client) -> None:
    answer = await client.post(f"/scep{CAPS}", b"", "Expect: gold")
    assert (answer.status, answer.headers["server"]) == (200, "certwright")
