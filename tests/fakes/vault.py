"""A loopback server that follows the documentation of Vault's and OpenBao's ``sign/:role`` and ``revoke``.

https://developer.hashicorp.com/vault/api-docs/secret/pki#sign-certificate
https://developer.hashicorp.com/vault/api-docs/secret/pki#revoke-certificate
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.fakes.remote_ca import sign_for

if TYPE_CHECKING:
    from ca.backends.local import LocalIssuer


class FakeVault:
    """Signs for the role ``devices`` with the token ``s.token``; answers `status` when that is set."""

    def __init__(self, inner: LocalIssuer) -> None:
        self.inner = inner
        self.status: int | None = None
        self.asked: list[dict[str, Any]] = []
        self.known: set[int] = set()
        self.revoked: set[int] = set()
        self.application = web.Application()
        self.application.router.add_post("/v1/pki/sign/devices", self._sign)
        self.application.router.add_post("/v1/pki/revoke", self._revoke)

    async def _sign(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Vault-Token") != "s.token":
            return web.json_response({"errors": ["permission denied"]}, status=403)
        body = await request.json()
        self.asked.append(body)
        if self.status is not None:
            return web.json_response({"errors": ["as told"]}, status=self.status)
        certificate = await sign_for(self.inner, x509.load_pem_x509_csr(body["csr"].encode()))
        self.known.add(certificate.serial_number)
        pem = certificate.public_bytes(Encoding.PEM).decode()
        chain = [each.public_bytes(Encoding.PEM).decode() for each in self.inner.chain()]
        serial = f"{certificate.serial_number:x}"
        data = {"certificate": pem, "issuing_ca": chain[0], "ca_chain": chain, "serial_number": serial}
        return web.json_response(
            {"request_id": "1", "lease_id": "", "renewable": False, "data": data, "warnings": None}
        )

    async def _revoke(self, request: web.Request) -> web.Response:
        if request.headers.get("X-Vault-Token") != "s.token":
            return web.json_response({"errors": ["permission denied"]}, status=403)
        serial = (await request.json())["serial_number"]
        number = int(serial.replace(":", ""), 16)
        if self.status is not None or number not in self.known:
            error = f"certificate with serial {serial} not found"
            return web.json_response({"errors": [error]}, status=self.status or 400)
        self.revoked.add(number)
        return web.json_response({"data": {"revocation_time": 1433269787}})
