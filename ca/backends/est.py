"""Another EST server as the issuing CA (RFC 7030): we are a client with an account of our own."""

from __future__ import annotations

from base64 import b64decode, encodebytes
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs7

from ca.issuer import AnswerUnusable, IssuerPending

if TYPE_CHECKING:
    from cryptography import x509

    from ca.backends.http_client import HttpClient
    from ca.backends.upstream import Order

_HEADERS = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
_FORM = serialization.PublicFormat.SubjectPublicKeyInfo


@dataclass(frozen=True, slots=True)
class EstUpstream:
    """An EST server.

    Attributes:
        url: up to and with the label, like ``https://ca.example/.well-known/est/plant``.
        client: with our password or certificate.
    """

    url: str
    client: HttpClient

    async def enroll(self, order: Order) -> x509.Certificate:
        """Enroll with the requester's own CSR; see `ca.backends.upstream.Upstream.enroll`.

        The same CSR again is how EST resumes what is pending (section 4.2.3).
        """
        order.require_names()
        url = f"{self.url.rstrip('/')}/simpleenroll"
        answer = await self.client.send("POST", url, encodebytes(order.csr.der), _HEADERS)
        if answer.status == HTTPStatus.ACCEPTED:
            raise IssuerPending(answer.retry_after(), order.reference or f"simpleenroll of {order.request_id}")
        answer.require(HTTPStatus.OK)
        for certificate in pkcs7.load_der_pkcs7_certificates(b64decode(answer.body)):
            if certificate.public_key().public_bytes(serialization.Encoding.DER, _FORM) == order.plan.spki:
                return certificate
        raise AnswerUnusable("the CA's answer has no certificate for the key")

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()
