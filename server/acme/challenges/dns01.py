"""The dns-01 challenge (RFC 8555 section 8.4): a TXT record below the name holds a digest of the key authorization."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from server.acme.challenges.failure import ValidationFailed
from server.acme.codec.encodings import encode_base64url
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from server.config import Dns01 as Dns01Config

_RECORDS = 100
"""Records that are looked at: clients that never clean up leave a few behind."""
_LABEL = "_acme-challenge"


class Dns01:
    """Validates dns-01.

    Args:
        server: the DNS server's address, None for those of the system.
        port: its port.
        seconds: the time limit for one validation.
    """

    type = "dns-01"

    def __init__(self, server: str | None = None, port: int = 53, seconds: float = 10.0) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        if server is not None:
            self._resolver.nameservers = [server]
            self._resolver.port = port
        self._resolver.lifetime = seconds
        self._seconds = seconds

    async def validate(self, name: str, token: str, key_authorization: str) -> None:  # noqa: ARG002 - see ChallengeType
        """Look up and compare once; one right record among others is enough. Raises ValidationFailed."""
        expected = encode_base64url(hashlib.sha256(key_authorization.encode("ascii")).digest()).encode("ascii")
        found = await self._texts(f"{_LABEL}.{name}")
        if expected not in found:
            detail = f"none of the {len(found)} TXT records at {_LABEL}.{name} is that of this account and token"
            raise ValidationFailed(ErrorType.UNAUTHORIZED, detail)

    async def _texts(self, name: str) -> list[bytes]:
        """Return the texts at a name, aliases followed; each is its character-strings joined."""
        try:
            async with asyncio.timeout(self._seconds):
                # The trailing dot: a search domain must not decide what a name means.
                answer = await self._resolver.resolve(f"{name}.", dns.rdatatype.TXT, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            raise ValidationFailed(ErrorType.DNS, f"there is no TXT record at {name}") from None
        except (dns.exception.DNSException, TimeoutError, OSError):
            raise ValidationFailed(ErrorType.DNS, f"no usable answer from DNS for {name}") from None
        return [b"".join(record.strings) for record in list(answer)[:_RECORDS]]


def dns01(config: Dns01Config) -> Dns01:
    """Return the validator that the configuration of an endpoint describes."""
    server = None if config.resolver == "system" else config.resolver
    return Dns01(server, config.port, config.timeout_seconds)
