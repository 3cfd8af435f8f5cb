"""ACME from newOrder to the certificate (RFC 8555 section 7.4), with http-01 answered from here."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from server.bench.acme_account import Account, base64url
from server.bench.connection import Connection
from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from server.bench.connection import Reply

_PAUSES = [min(1.0, 0.03 * 1.2**number) for number in range(110)]
"""Seconds before each look at what is not valid yet: at first often, for a minute and a half in all."""


@dataclass(frozen=True, slots=True)
class AcmeJob:
    """A name under .localhost, which is this machine for a server in development, and a CSR for it."""

    key: ec.EllipticCurvePublicKey
    name: str
    csr: str


class AcmeClient:
    """A client with one account for all orders.

    Args:
        directory: the directory's URL.
        root: PEM of the server's root.
        http01_port: where the server looks for answers; they are served on 127.0.0.1.
    """

    def __init__(self, directory: str, root: Path, *, http01_port: int) -> None:
        self._directory_url = directory
        self._root = root
        self._http01_port = http01_port

    async def __aenter__(self) -> Self:
        """Serve http-01 answers and make an account."""
        self._connection = Connection(self._root)
        self._responder = await self._respond()
        try:
            directory = (await self._connection.request("GET", self._directory_url)).expect(HTTPStatus.OK)
            self._urls: Mapping[str, str] = _json(directory)
            self._account = Account(self._connection, self._urls["newNonce"])
            await self._account.register(self._urls["newAccount"])
        except (EnrollmentFailed, KeyError) as error:
            await self._close()
            raise EnrollmentFailed(f"no account: {error}") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop answering and close connections."""
        await self._close()

    async def _close(self) -> None:
        await self._responder.cleanup()
        await self._connection.close()

    def prepare(self) -> AcmeJob:
        """Make a P-256 key and a CSR with a name of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = f"bench-{secrets.token_hex(8)}.localhost"
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        return AcmeJob(key.public_key(), name, base64url(csr.public_bytes(Encoding.DER)))

    async def send(self, job: AcmeJob) -> bytes:
        """Order, prove control, finalize, fetch; the reply is the PEM chain."""
        try:
            return await self._finish(job, *await self.order(job))
        except KeyError as error:
            raise EnrollmentFailed(f"the server's object lacks {error}") from error

    async def order(self, job: AcmeJob) -> tuple[str, dict[str, Any]]:
        """Make the order and return its URL and object (RFC 8555 section 7.4)."""
        identifiers = {"identifiers": [{"type": "dns", "value": job.name}]}
        reply = await self._account.post(self._urls["newOrder"], identifiers)
        return reply.headers["location"], _json(reply)

    async def resume(self, order_url: str) -> tuple[str, dict[str, Any]]:
        """Return an order that was made before, with its object as it is now."""
        return order_url, _json(await self._account.post(order_url, None))

    async def _finish(self, job: AcmeJob, order_url: str, order: dict[str, Any]) -> bytes:
        """Take an order from whatever state it is in to its certificate."""
        if order["status"] == "pending":
            await asyncio.gather(*(self._prove(url) for url in order["authorizations"]))
        if order["status"] in {"pending", "ready"}:
            order = _json(await self._account.post(order["finalize"], {"csr": job.csr}))
        if order["status"] != "valid":
            order = await self._poll(order_url)
        return (await self._account.post(order["certificate"], None)).body

    def certificate(self, job: AcmeJob, reply: bytes) -> x509.Certificate:
        """Return the first certificate of the chain."""
        try:
            certificate = x509.load_pem_x509_certificates(reply)[0]
        except ValueError as error:
            raise EnrollmentFailed("the reply holds no certificate") from error
        if certificate.public_key() != job.key:
            raise EnrollmentFailed("the certificate is for another key")
        return certificate

    async def _prove(self, url: str) -> None:
        """Ask for http-01 validation and wait for it (RFC 8555 sections 7.5.1 and 8.3)."""
        authorization = _json(await self._account.post(url, None))
        if authorization["status"] == "pending":
            challenges = {each["type"]: each["url"] for each in authorization["challenges"]}
            # What the answer says is believed, as lego and dehydrated do; certbot would look once more.
            if not _is_valid(_json(await self._account.post(challenges["http-01"], {}))):
                await self._poll(url)

    async def _poll(self, url: str) -> dict[str, Any]:
        """Return the object when it is valid; before each look there is a pause, which is what clients make."""
        found: dict[str, Any] = {}
        for pause in _PAUSES:
            await asyncio.sleep(pause)
            found = _json(await self._account.post(url, None))
            if _is_valid(found):
                return found
        raise EnrollmentFailed(f"still not valid: {url}: {_said(found)}")

    async def _respond(self) -> web.AppRunner:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(text=f"{request.match_info['token']}.{self._account.thumbprint}")

        app = web.Application()
        app.router.add_get("/.well-known/acme-challenge/{token}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self._http01_port).start()
        return runner


def _is_valid(found: dict[str, Any]) -> bool:
    """Tell whether an object is what it shall become. Raises EnrollmentFailed when it never will."""
    if found["status"] == "invalid":
        raise EnrollmentFailed(f"invalid: {_said(found)}")
    return bool(found["status"] == "valid")


def _said(found: dict[str, Any]) -> str:
    """Return what the server says against an order, authorization or challenge; the object where it says nothing."""
    challenges = found.get("challenges")
    for each in (found, *(challenges if isinstance(challenges, list) else ())):
        error = each.get("error") if isinstance(each, dict) else None
        if isinstance(error, dict) and "detail" in error:
            return f"{error.get('type', 'error')}: {error['detail']}"
    return json.dumps(found)[:500]


def _json(reply: Reply) -> dict[str, Any]:
    try:
        found = json.loads(reply.body)
    except ValueError as error:
        raise EnrollmentFailed("the reply is no JSON object") from error
    if not isinstance(found, dict):
        raise EnrollmentFailed("the reply is no JSON object")
    return found
