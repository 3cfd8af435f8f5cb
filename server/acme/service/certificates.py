"""Certificates with their chains, the default one and alternates (RFC 8555 section 7.4.2)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from server.acme.codec.encodings import malformed
from server.acme.messages import ErrorType, Rejected, Reply, rejected
from server.acme.records import orders
from server.acme.service.authentication import missing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa

    from server.acme.service.authentication import Authentication, Call
    from server.acme.service.endpoint import AcmeEndpoint

CHAIN_TYPE = "application/pem-certificate-chain"


class Certificates:
    """The certificate resources of orders."""

    def __init__(self, endpoint: AcmeEndpoint, authentication: Authentication) -> None:
        self._endpoint = endpoint
        self._authentication = authentication

    async def read(self, call: Call, order: str, number: str = "") -> Reply:
        """Answer POST-as-GET to a certificate: the leaf, then each that certifies the one before.

        Args:
            call: the request.
            order: whose certificate.
            number: which of the alternate chains, from 1; empty for the default one.
        """
        signed = await self._authentication.by_account(call)
        call.transaction = order
        if signed.payload:
            raise malformed("a certificate is read with POST-as-GET: the payload must be empty")

        def work(connection: sa.Connection) -> tuple[bytes, str] | Rejected:
            return orders.find_certificate(connection, signed.owner, order) or missing(connection, signed)

        der, chain = await self._endpoint.read(work)
        url = signed.urls.certificate(order)
        chains = {"": chain}
        if self._endpoint.alternate_chains:
            leaf = x509.load_der_x509_certificate(der)
            fitting = [each for each in self._endpoint.alternate_chains if certifies(each, leaf)]
            chains |= {str(index): text for index, text in enumerate(map(chain_text, fitting), 1) if text != chain}
        if number not in chains:
            raise rejected(ErrorType.MALFORMED, "there is no such resource", 404)
        others = tuple((f"{url}/{each}" if each else url, "alternate") for each in chains if each != number)
        pem = ssl.DER_cert_to_PEM_cert(der) + chains[number]
        return Reply(200, pem.encode("ascii"), content_type=CHAIN_TYPE, links=others)


def certifies(chain: Sequence[x509.Certificate], leaf: x509.Certificate) -> bool:
    """Say whether the first certificate of a chain is one of the leaf's issuer."""
    try:
        leaf.verify_directly_issued_by(chain[0])
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def chain_text(certificates: Sequence[x509.Certificate]) -> str:
    """Return a chain in PEM without the root, which clients have or must not take from here."""
    parts = [each for each in certificates if each.issuer != each.subject]
    return "".join(each.public_bytes(Encoding.PEM).decode("ascii") for each in parts)
