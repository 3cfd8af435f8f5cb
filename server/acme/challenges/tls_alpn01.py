"""The tls-alpn-01 challenge (RFC 8737): a TLS handshake with a protocol of its own shows a certificate made for it."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING

from server.acme.challenges.alpn_certificate import fault
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.http01 import connector_for
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from server.acme.challenges.connector import Connector
    from server.acme.challenges.question import Question
    from server.config import TlsAlpn01 as TlsAlpn01Config

PROTOCOL = "acme-tls/1"


class TlsAlpn01:
    """Validates tls-alpn-01.

    Args:
        connector: finds and judges addresses.
        port: where to connect to.
        seconds: the time limit for one validation.
    """

    type = "tls-alpn-01"

    def __init__(self, connector: Connector, port: int = 443, seconds: float = 10.0) -> None:
        self._connector = connector
        self._port = port
        self._seconds = seconds
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE  # the certificate is judged by `fault`, not by a chain
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.set_alpn_protocols([PROTOCOL])

    async def validate(self, question: Question) -> None:
        """Shake hands and judge the certificate once. Raises ValidationFailed."""
        name = question.name
        try:
            async with asyncio.timeout(self._seconds):
                certificate = await self._certificate(name, question.trail)
        except TimeoutError:
            raise ValidationFailed(ErrorType.CONNECTION, f"{name} did not answer in time") from None
        wrong = fault(certificate, name, hashlib.sha256(question.key_authorization.encode("ascii")).digest())
        question.trail.append(f"certificate of {len(certificate)} octets: {wrong or 'right'}")
        if wrong:
            raise ValidationFailed(ErrorType.UNAUTHORIZED, f"{name}: {wrong}")

    async def _certificate(self, name: str, trail: list[str]) -> bytes:
        """Return the certificate of the first permitted address that accepts a connection."""
        _, writer = await self._connector.connect(name, self._port, trail, self._tls, _server_name(name))
        found: ssl.SSLObject = writer.get_extra_info("ssl_object")
        certificate, protocol = found.getpeercert(binary_form=True), found.selected_alpn_protocol()
        writer.transport.abort()  # nothing more is to be said (section 3)
        if protocol != PROTOCOL or certificate is None:
            raise ValidationFailed(ErrorType.TLS, f"{name} does not speak {PROTOCOL}")
        return certificate


def _server_name(name: str) -> str:
    """Return what stands in SNI: the name, or the reverse name of an address (RFC 8738 section 6)."""
    try:
        return ip_address(name).reverse_pointer
    except ValueError:
        return name


def tls_alpn01(config: TlsAlpn01Config) -> TlsAlpn01:
    """Return the validator that the configuration of an endpoint describes."""
    return TlsAlpn01(connector_for(config), config.port, config.timeout_seconds)
