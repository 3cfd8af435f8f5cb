"""From names to addresses: the system's resolver, or a DNS server of the endpoint's own."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol

from server.acme.challenges.lookup import NoAnswer

if TYPE_CHECKING:
    from server.acme.challenges.lookup import Lookup
    from server.acme.challenges.networks import Address

_AT_ONCE = 128
_LOOPBACK: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


class Unresolvable(Exception):
    """There is no address for the name, or no answer."""


class Resolver(Protocol):
    """Finds the addresses of a host name."""

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """Return the addresses, at least one, in the order in which to try. Raises Unresolvable."""
        ...


class SystemResolver:
    """The resolver of the operating system.

    Names are looked up as absolute names, with the trailing dot: a search domain must not decide what a name means.
    It keeps a thread for as long as nobody answers, so it has threads of its own, as many as there are validations at
    once: names that nobody answers for must not keep other names, nor anything else of this process, waiting.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_AT_ONCE, "names")

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """See `Resolver`."""
        look_up = partial(socket.getaddrinfo, f"{name}.", None, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except (OSError, UnicodeError) as error:
            raise Unresolvable(str(error)) from error
        return tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


class DnsResolver:
    """DNS servers of the endpoint's own, asked for AAAA and A; neither the hosts file nor search domains play a part.

    Args:
        lookup: asks them.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """See `Resolver`."""
        answers = await asyncio.gather(self._ask(name, "AAAA"), self._ask(name, "A"))
        found = tuple(address for answer in answers if not isinstance(answer, NoAnswer) for address in answer)
        if not found:
            raise Unresolvable("; ".join(str(answer) for answer in answers if isinstance(answer, NoAnswer)))
        return found

    async def _ask(self, name: str, kind: str) -> tuple[Address, ...] | NoAnswer:
        try:
            records = await self._lookup.records(name, kind)
        except NoAnswer as error:
            return error
        return tuple(ip_address(record.to_text()) for record in records)


class LoopbackNames:
    """Names under ``.localhost`` are loopback without asking anybody (RFC 6761 section 6.3); others are passed on."""

    def __init__(self, others: Resolver) -> None:
        self._others = others

    async def resolve(self, name: str) -> tuple[Address, ...]:
        """See `Resolver`."""
        if name == "localhost" or name.endswith(".localhost"):
            return _LOOPBACK
        return await self._others.resolve(name)
