"""Records from DNS, asked of the endpoint's own resolvers or of the system's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdata
import dns.resolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.config import Dns01, Nameserver

PORT = 53


class NoAnswer(Exception):
    """The resolvers did not answer, or not usably: what there is can't be said."""


def stub(servers: Sequence[Nameserver], seconds: float, port: int = PORT) -> dns.asyncresolver.Resolver:
    """Return what asks these resolvers, the system's when there are none; the time limit is for a question."""
    resolver = dns.asyncresolver.Resolver(configure=not servers)
    if servers:
        resolver.nameservers = [dns.nameserver.Do53Nameserver(each.address, each.port or port) for each in servers]
    resolver.lifetime = seconds
    return resolver


class Lookup:
    """Asks for records.

    Args:
        servers: the resolvers in their order; none for the system's.
        seconds: the time limit for one question.
        port: of resolvers that name none.
        tcp: whether to ask by TCP only (RFC 8555 section 11.2); otherwise by UDP, and by TCP what is too long for it.
    """

    def __init__(
        self, servers: Sequence[Nameserver] = (), seconds: float = 10.0, port: int = PORT, *, tcp: bool = False
    ) -> None:
        self._resolver = stub(servers, seconds, port)
        self._seconds = seconds
        self._tcp = tcp

    async def records(self, name: str, kind: str) -> tuple[dns.rdata.Rdata, ...]:
        """Return the records at a name, aliases followed, none when there are none. Raises NoAnswer."""
        try:
            async with asyncio.timeout(self._seconds):
                # The trailing dot: a search domain must not decide what a name means.
                answer = await self._resolver.resolve(
                    f"{name}.", kind, tcp=self._tcp, search=False, raise_on_no_answer=False
                )
        except dns.resolver.NXDOMAIN:
            return ()
        except (dns.exception.DNSException, TimeoutError, OSError) as error:
            raise NoAnswer(type(error).__name__) from error
        return tuple(answer.rrset or ())


def lookup(config: Dns01) -> Lookup:
    """Return what asks the resolvers of a section of the configuration."""
    return Lookup(config.resolver, config.timeout_seconds, config.port, tcp=config.tcp)
