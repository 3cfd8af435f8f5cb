"""HashiCorp Vault or OpenBao as the issuing CA: the PKI secrets engine's ``sign`` endpoint of a role.

The names come from the plan, not from the CSR; what the role makes of them is compared all the same. ``sign-verbatim``,
which goes around roles, is not used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from cryptography import x509

from ca.backends.pem import csr_pem
from ca.names import DnsName, EmailAddress, IpAddress, Uri

if TYPE_CHECKING:
    from datetime import datetime

    from ca.backends.http_client import HttpClient
    from ca.backends.upstream import Order
    from ca.plan import CertificatePlan


@dataclass(frozen=True, slots=True)
class VaultUpstream:
    """A role of a PKI mount.

    Attributes:
        url: the server, like ``https://vault.example:8200``.
        mount: where the PKI engine is.
        role: the role.
        client: with our token in its headers.
    """

    url: str
    mount: str
    role: str
    client: HttpClient

    async def enroll(self, order: Order) -> x509.Certificate:
        """Have the CSR's key signed for the plan's names; see `ca.backends.upstream.Upstream.enroll`.

        Vault knows no idempotency key: when an answer is lost, the certificate in it stays behind in Vault's own list,
        has gone nowhere, and the next attempt gets another.
        """
        order.require_proof()
        url = f"{self.url.rstrip('/')}/v1/{self.mount}/sign/{self.role}"
        body = json.dumps({"csr": csr_pem(order.csr.der), **_parameters(order.plan)}).encode()
        answer = await self.client.send("POST", url, body, {"Content-Type": "application/json"})
        answer.require(HTTPStatus.OK, outages=(HTTPStatus.FORBIDDEN,))  # which says that our token is not taken
        return x509.load_pem_x509_certificate(json.loads(answer.body)["data"]["certificate"].encode())

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:  # noqa: ARG002 - Vault has neither reasons nor dates
        """Revoke by serial number (``POST /pki/revoke``); see `ca.backends.upstream.RevokingUpstream.revoke`."""
        number = certificate.serial_number
        serial = number.to_bytes((number.bit_length() + 7) // 8, "big").hex(":")
        body = json.dumps({"serial_number": serial}).encode()
        url = f"{self.url.rstrip('/')}/v1/{self.mount}/revoke"
        answer = await self.client.send("POST", url, body, {"Content-Type": "application/json"})
        answer.require(HTTPStatus.OK, outages=(HTTPStatus.FORBIDDEN,))

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


def _parameters(plan: CertificatePlan) -> dict[str, object]:
    """Return the plan in the words of the API (``POST /pki/sign/:name``)."""

    def named(*kinds: type) -> str:
        return ",".join(str(name.value) for name in plan.names if isinstance(name, kinds))

    common_name = next(iter(plan.subject.common_names), "")
    parameters: dict[str, object] = {
        "common_name": common_name,
        "exclude_cn_from_sans": True,
        "alt_names": named(DnsName, EmailAddress),
        "ip_sans": named(IpAddress),
        "uri_sans": named(Uri),
        "not_after": plan.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "format": "pem",
    }
    return {key: value for key, value in parameters.items() if value != ""}
