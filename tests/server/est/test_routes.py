"""Paths, methods and header fields, on a real socket; what is behind them is on a script."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from aiohttp import encode_basic_auth
from aiohttp.test_utils import TestClient, TestServer
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from structlog.testing import capture_logs

from server.config import Authenticate, EstEndpointConfig, Limits
from server.est.routes import EstEndpoint, mount
from server.http import create_app
from server.outcome import Issued, Pending, Problem, Reason, Refused
from tests.fakes.est import ScriptedCredentials, ScriptedEnrollment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from datetime import datetime

    from aiohttp import web
    from cryptography import x509

    from server.outcome import Outcome

    MakeClient = Callable[..., Awaitable[TestClient[web.Request, web.Application]]]

AUTH = {"Authorization": encode_basic_auth("pump", "secret")}
PKCS10 = {**AUTH, "Content-Type": "application/pkcs10"}
ENROLL = "/.well-known/est/simpleenroll"
CACERTS = "/.well-known/est/cacerts"


async def ready() -> Mapping[str, str]:
    return {}


@pytest.fixture
async def make_client(certificate: x509.Certificate, now: datetime) -> AsyncIterator[MakeClient]:
    """Return a function that serves EST with this outcome and gives a client."""
    clients = []

    async def make(
        outcome: Outcome | None = None,
        *,
        labels: tuple[str, ...] = ("default", "plant"),
        layout: Literal["auto", "wrapped", "single"] = "auto",
        passwords: bool = True,
    ) -> TestClient[web.Request, web.Application]:
        app = create_app("https", Limits(body_bytes=2000), ready, map(str, count()).__next__)
        outcome = outcome or Issued(certificate.public_bytes(Encoding.DER), (certificate,), "request-1")
        config = EstEndpointConfig(
            profiles=("iot-device",),
            authenticate=Authenticate(passwords=Path("passwords") if passwords else None, certificates=True),
            base64_layout=layout,
        )
        none = Problem(Reason.CERTIFICATE_REJECTED, "none")
        door, credentials = ScriptedEnrollment(outcome), ScriptedCredentials(none)
        # each label has a chain of another length, to be told apart
        chains = [partial(tuple, [certificate] * length) for length in (1, 2)]
        endpoints = zip(labels, chains, strict=True)
        mount(app, {lab: EstEndpoint(lab, config, door, credentials, chain, lambda: now) for lab, chain in endpoints})
        client = TestClient(TestServer(app))
        clients.append(client)
        await client.start_server()
        return client

    yield make
    for client in clients:
        await client.close()


def certificates(body: bytes) -> list[x509.Certificate]:
    return pkcs7.load_der_pkcs7_certificates(b64decode(body))


# --- paths and methods -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "chain"),
    [
        ("/.well-known/est/cacerts", 1),
        ("/.well-known/est/cacerts/", 1),
        ("/.well-known/est/cacerts?a=b", 1),
        ("/.well-known/est/default/cacerts", 1),
        ("/.well-known/est/plant/cacerts", 2),
        ("/.well-known/est/plant/cacerts/", 2),
        ("/.well-known/est/%70lant/c%61certs", 2),
    ],
)
async def test_the_service_is_there_with_and_without_a_label(make_client: MakeClient, path: str, chain: int) -> None:
    client = await make_client()
    response = await client.get(path)

    assert response.status == 200
    assert len(certificates(await response.read())) == chain


async def test_without_an_endpoint_called_default_the_first_is_the_one_without_a_label(make_client: MakeClient) -> None:
    client = await make_client(labels=("plant", "lab"))

    assert len(certificates(await (await client.get(CACERTS)).read())) == 1


async def test_the_endpoint_called_default_is_the_one_without_a_label_wherever_it_stands(
    make_client: MakeClient,
) -> None:
    client = await make_client(labels=("plant", "default"))

    assert len(certificates(await (await client.get(CACERTS)).read())) == 2


@pytest.mark.parametrize(
    "path", ["fullcmc", "serverkeygen", "", "other/cacerts", "/cacerts", "plant/line/cacerts", "CACERTS"]
)
async def test_what_is_not_served_is_a_404_with_a_text(make_client: MakeClient, path: str) -> None:
    client = await make_client()
    response = await client.post(f"/.well-known/est/{path}")

    assert response.status == 404
    assert response.content_type == "text/plain"
    assert "no such EST operation" in await response.text()


@pytest.mark.parametrize(
    ("method", "path", "allow"), [("POST", CACERTS, "GET, HEAD"), ("GET", ENROLL, "POST"), ("DELETE", ENROLL, "POST")]
)
async def test_a_wrong_method_is_a_405_that_names_the_right_ones(
    make_client: MakeClient, method: str, path: str, allow: str
) -> None:
    client = await make_client()
    response = await client.request(method, path)

    assert response.status == 405
    assert response.headers["Allow"] == allow


@pytest.mark.parametrize("path", ["fullcmc", "serverkeygen", "eecerts"])
async def test_what_is_switched_off_is_not_there_by_any_method(make_client: MakeClient, path: str) -> None:
    client = await make_client()
    assert {(await client.request(method, f"/.well-known/est/{path}")).status for method in ("GET", "POST", "PUT")} == {
        404
    }


@pytest.mark.parametrize("expectation", ["100-continue", "100-Continue", "gold"])
async def test_who_expects_something_is_answered_like_anybody(
    make_client: MakeClient, csr_der: bytes, expectation: str
) -> None:
    client = await make_client()
    with capture_logs() as events:
        response = await client.post(ENROLL, data=b64encode(csr_der), headers={**PKCS10, "Expect": expectation})
    assert (response.status, response.headers["Server"]) == (200, "certwright")
    assert [event["status"] for event in events if event["event"] == "request"] == [200]


async def test_head_of_cacerts_has_the_length_and_no_body(make_client: MakeClient) -> None:
    client = await make_client()
    response = await client.head(CACERTS)

    assert response.status == 200
    assert int(response.headers["Content-Length"]) > 100
    assert await response.read() == b""


# --- what goes out -----------------------------------------------------------------------------------------------


async def test_an_issued_certificate_comes_alone_with_exact_fields(
    make_client: MakeClient, csr_der: bytes, certificate: x509.Certificate
) -> None:
    client = await make_client()
    response = await client.post(ENROLL, data=b64encode(csr_der), headers=PKCS10)
    body = await response.read()

    assert response.status == 200
    assert response.headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert response.headers["Content-Transfer-Encoding"] == "base64"
    assert response.headers["Content-Length"] == str(len(body))
    assert "Transfer-Encoding" not in response.headers
    assert certificates(body) == [certificate]


async def test_what_is_above_the_issuing_ca_stays_away_from_an_issued_certificate(
    make_client: MakeClient, csr_der: bytes
) -> None:
    client = await make_client()  # the chain of plant has two
    response = await client.post("/.well-known/est/plant/simpleenroll", data=b64encode(csr_der), headers=PKCS10)
    assert len(certificates(await response.read())) == 1


async def test_cacerts_has_no_parameter_in_its_content_type(make_client: MakeClient) -> None:
    client = await make_client()
    response = await client.get(CACERTS, headers={"Accept-Encoding": "gzip"})

    assert response.headers["Content-Type"] == "application/pkcs7-mime"
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("layout", ["auto", "wrapped", "single"])
@pytest.mark.parametrize("strongswan", [False, True])
async def test_the_layout_of_base64_is_as_configured_or_as_the_client_needs_it(
    make_client: MakeClient, layout: str, csr_der: bytes, *, strongswan: bool
) -> None:
    client = await make_client(layout=layout)
    skip = ("User-Agent", "Accept") if strongswan else ()
    cacerts = await client.get(CACERTS, skip_auto_headers=skip)
    issued = await client.post(ENROLL, data=b64encode(csr_der), headers=PKCS10, skip_auto_headers=skip)
    single = layout == "single" or (layout == "auto" and strongswan)

    assert (b"\n" not in await cacerts.read()) is single
    assert (b"\n" not in await issued.read()) is single


async def test_a_reply_is_one_write(make_client: MakeClient) -> None:
    client = await make_client()
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head = await reader.read(65536)  # what came at once
    body = head.partition(b"\r\n\r\n")[2]
    rest = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert certificates(body)
    assert rest == b""


async def test_pending_is_an_empty_202_with_retry_after(make_client: MakeClient, csr_der: bytes) -> None:
    client = await make_client(Pending("request-1", 60))
    response = await client.post(ENROLL, data=b64encode(csr_der), headers=PKCS10)

    assert response.status == 202
    assert response.headers["Retry-After"] == "60"
    assert response.headers["Content-Length"] == "0"


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", [{}, {"Authorization": encode_basic_auth("pump", "guess")}])
async def test_a_missing_or_wrong_password_is_an_empty_401_that_offers_basic(
    make_client: MakeClient, authorization: dict[str, str], csr_der: bytes
) -> None:
    client = await make_client()
    response = await client.post(
        ENROLL, data=b64encode(csr_der), headers={"Content-Type": "application/pkcs10", **authorization}
    )

    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == 'Basic realm="est/default"'
    assert await response.read() == b""


async def test_without_passwords_a_missing_certificate_is_a_403_that_says_so(
    make_client: MakeClient, csr_der: bytes
) -> None:
    client = await make_client(passwords=False)
    response = await client.post(ENROLL, data=b64encode(csr_der), headers=PKCS10)

    assert response.status == 403
    assert "TLS client certificate" in await response.text()


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (None, {"outcome": "issued", "enrollment": "request-1"}),
        (Pending("request-1", 60), {"outcome": "pending", "enrollment": "request-1"}),
        (Refused(Problem(Reason.POLICY, "No."), "request-1"), {"reason": "policy", "enrollment": "request-1"}),
    ],
    ids=["issued", "pending", "refused"],
)
async def test_the_event_says_what_was_asked_where_and_under_which_identifier_it_is_on_record(
    make_client: MakeClient, csr_der: bytes, outcome: Outcome | None, told: dict[str, str]
) -> None:
    """`certwright request show` takes the identifier."""
    client = await make_client(outcome)
    with capture_logs() as events:
        await client.post("/.well-known/est/plant/simpleenroll", data=b64encode(csr_der), headers=PKCS10)
    (event,) = events
    assert told | {"endpoint": "est/plant", "operation": "simpleenroll"} == {
        name: event.get(name) for name in (*told, "endpoint", "operation")
    }


async def test_without_a_profile_there_is_nothing_to_tell_devices_to_ask_for(make_client: MakeClient) -> None:
    client = await make_client()
    response = await client.get("/.well-known/est/csrattrs")
    assert (response.status, await response.read()) == (204, b"")


async def test_a_refusal_says_why_in_text_plain(make_client: MakeClient, csr_der: bytes) -> None:
    client = await make_client(Refused(Problem(Reason.POLICY, "The policy says no.", detail="secret"), "request-1"))
    with capture_logs() as events:
        response = await client.post(ENROLL, data=b64encode(csr_der), headers=PKCS10)

    assert response.status == 403
    assert [(event["reason"], event["why"]) for event in events] == [("policy", "The policy says no.")]
    assert "secret" not in str(events)
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert await response.text() == "The policy says no.\n"


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain"])
async def test_another_content_type_is_a_415_that_says_what_to_send(
    make_client: MakeClient, content_type: str | None, csr_der: bytes
) -> None:
    client = await make_client()
    headers = AUTH if content_type is None else {**AUTH, "Content-Type": content_type}
    response = await client.post(ENROLL, data=b64encode(csr_der), headers=headers, skip_auto_headers=["Content-Type"])

    assert response.status == 415
    assert response.headers["Accept"] == "application/pkcs10"
    assert "Content-Type: application/pkcs10" in await response.text()


@pytest.mark.parametrize("chunked", [None, True])
async def test_an_oversized_body_is_a_413_declared_or_not(make_client: MakeClient, *, chunked: bool | None) -> None:
    client = await make_client()
    response = await client.post(ENROLL, data=b"x" * 2001, headers=PKCS10, chunked=chunked)

    assert response.status == 413
    assert "larger" in await response.text()


@pytest.mark.parametrize("transfer_encoding", ["base64", "binary", "nonsense"])
async def test_a_content_transfer_encoding_plays_no_part(
    make_client: MakeClient, csr_der: bytes, transfer_encoding: str
) -> None:
    client = await make_client()
    headers = {**PKCS10, "Content-Transfer-Encoding": transfer_encoding}
    response = await client.post(ENROLL, data=b64encode(csr_der), headers=headers)

    assert response.status == 200


async def test_a_chunked_request_is_read(make_client: MakeClient, csr_der: bytes) -> None:
    client = await make_client()
    response = await client.post(ENROLL, data=b64encode(csr_der), headers=PKCS10, chunked=True)

    assert response.status == 200


async def test_basic_alone_is_offered(make_client: MakeClient, csr_der: bytes) -> None:
    """HTTP Digest would need what is as good as the password in the database."""
    client = await make_client()
    fields = {"Content-Type": "application/pkcs10"}
    offered = [(await client.post(ENROLL, data=b64encode(csr_der), headers=fields)).headers.getall("WWW-Authenticate")]
    digest = {**fields, "Authorization": 'Digest username="pump", realm="est/default", nonce="x", response="y"'}
    refused = await client.post(ENROLL, data=b64encode(csr_der), headers=digest)
    offered.append(refused.headers.getall("WWW-Authenticate"))
    assert offered == [['Basic realm="est/default"']] * 2
    assert refused.status == 401
