from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AttributeOID

from server.bench import scep_message
from server.bench.load import EnrollmentFailed
from server.bench.scep import ScepClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ca.ceremony import Credential

    Serve = Callable[..., Awaitable[ScepClient]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Serve these octets for GET and those for POST, and give a client of that server."""
    servers: list[TestServer] = []

    async def start(certificates: bytes, reply: bytes = b"") -> ScepClient:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=certificates if request.method == "GET" else reply)

        app = web.Application()
        app.router.add_route("*", "/scep", answer)
        servers.append(TestServer(app))
        await servers[-1].start_server()
        clock = lambda: datetime(2026, 3, 1, tzinfo=UTC)  # noqa: E731 - it is one
        return ScepClient(str(servers[-1].make_url("/scep")), "challenge", clock=clock, keys=1)

    yield start
    for server in servers:
        await server.close()


def bundle(*credentials: Credential) -> bytes:
    return pkcs7.serialize_certificates([each.certificate for each in credentials], Encoding.DER)


async def test_requests_are_encrypted_for_the_ra(serve: Serve, issuing: Credential, ra: Credential) -> None:
    async with await serve(bundle(issuing, ra)) as client:
        sealed = scep_message.cert_rep(client.prepare().message).content
    csr = x509.load_der_x509_csr(pkcs7.pkcs7_decrypt_der(sealed, ra.certificate, ra.key, []))  # type: ignore[arg-type]  # it is RSA
    assert csr.is_signature_valid
    assert csr.attributes.get_attribute_for_oid(AttributeOID.CHALLENGE_PASSWORD).value == b"challenge"


async def test_every_request_is_a_transaction_of_its_own(serve: Serve, ra: Credential) -> None:
    async with await serve(bundle(ra)) as client:
        messages = [scep_message.cert_rep(client.prepare().message) for _ in range(2)]
    first, second = (each.attributes[scep_message.TRANSACTION_ID] for each in messages)
    assert first != second


async def test_without_an_ra_there_is_nobody_to_encrypt_for(serve: Serve, issuing: Credential) -> None:
    with pytest.raises(EnrollmentFailed, match="no RA certificate"):
        async with await serve(bundle(issuing)):
            pass


async def test_certificates_that_cannot_be_read_are_a_failure(serve: Serve) -> None:
    with pytest.raises(EnrollmentFailed, match="can be read"):
        async with await serve(b"nothing"):
            pass


async def test_a_client_prepares_when_it_has_been_entered(serve: Serve) -> None:
    with pytest.raises(EnrollmentFailed, match="entered"):
        (await serve(b"")).prepare()


async def test_a_reply_without_success_is_a_failure(serve: Serve, ra: Credential) -> None:
    async with await serve(bundle(ra)) as client:
        refusal = client.prepare().message  # a signed message without a status
    async with await serve(bundle(ra), refusal) as client:
        with pytest.raises(EnrollmentFailed, match="without success"):
            await client.send(client.prepare())


async def test_a_reply_that_is_for_another_key_is_a_failure(serve: Serve, ra: Credential) -> None:
    async with await serve(bundle(ra)) as client:
        job = client.prepare()
        sealed = scep_message.envelope(bundle(ra), job.signer)
        reply = scep_message.pkcs_req(sealed, job.key, job.signer, transaction="t")
        with pytest.raises(EnrollmentFailed, match="another key"):
            client.certificate(job, reply)
        with pytest.raises(EnrollmentFailed, match="no certificate"):
            client.certificate(job, job.message)
