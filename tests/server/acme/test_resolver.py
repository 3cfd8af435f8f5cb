"""From names to addresses: loopback names, a DNS server of the endpoint's own, the system."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from server.acme.challenges.lookup import Lookup
from server.acme.challenges.resolver import DnsResolver, LoopbackNames, SystemResolver, Unresolvable
from server.config import Nameserver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ZONE = {
    ("both.test.", "A"): ["192.0.2.7"],
    ("both.test.", "AAAA"): ["2001:db8::7"],
    ("four.test.", "A"): ["192.0.2.4"],
}


class DnsServer(asyncio.DatagramProtocol):
    """Knows `ZONE`; ``broken.test`` is a server failure, ``silent.test`` is not answered."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = str(question.name), question.rdtype.name
        self.asked.append(name)
        if name == "silent.test.":
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        known = {each for each, _ in ZONE}
        if name == "broken.test.":
            response.set_rcode(dns.rcode.SERVFAIL)
        elif name == "alias.test.":
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", "four.test."))
            if kind == "A":
                response.answer.append(dns.rrset.from_text("four.test.", 60, "IN", "A", "192.0.2.4"))
        elif name not in known:
            response.set_rcode(dns.rcode.NXDOMAIN)
        elif (name, kind) in ZONE:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *ZONE[name, kind]))
        self.transport.sendto(response.to_wire(), addr)


def resolver_at(transport: asyncio.BaseTransport) -> DnsResolver:
    return DnsResolver(Lookup((Nameserver("127.0.0.1", transport.get_extra_info("sockname")[1]),), 2.0))


@asynccontextmanager
async def dns_server() -> AsyncIterator[tuple[DnsServer, DnsResolver]]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(DnsServer, ("127.0.0.1", 0))
    try:
        yield server, resolver_at(transport)
    finally:
        transport.close()
        await asyncio.sleep(0)  # the loop closes the socket in its next turn


async def found(resolver: DnsResolver, name: str) -> list[str]:
    return [str(address) for address in await resolver.resolve(name)]


async def test_ipv6_comes_before_ipv4() -> None:
    async with dns_server() as (_, resolver):
        assert await found(resolver, "both.test") == ["2001:db8::7", "192.0.2.7"]


async def test_one_kind_of_address_is_enough_and_aliases_are_followed() -> None:
    async with dns_server() as (_, resolver):
        assert await found(resolver, "four.test") == ["192.0.2.4"]
        assert await found(resolver, "alias.test") == ["192.0.2.4"]


@pytest.mark.parametrize("name", ["nowhere.test", "broken.test", "silent.test", "a..test", "a" * 64 + ".test"])
async def test_a_name_without_answer_is_unresolvable(name: str) -> None:
    async with dns_server() as (_, resolver):
        with pytest.raises(Unresolvable):
            await resolver.resolve(name)


async def test_no_search_domain_is_tried() -> None:
    async with dns_server() as (server, resolver):
        with pytest.raises(Unresolvable):
            await resolver.resolve("single")
    assert set(server.asked) == {"single."}


async def test_names_under_localhost_are_loopback_and_others_are_asked_for() -> None:
    async with dns_server() as (server, resolver):
        names = LoopbackNames(resolver)
        for name in ("localhost", "www.localhost", "a.b.localhost"):
            assert await names.resolve(name) == (ip_address("127.0.0.1"), ip_address("::1"))
        assert server.asked == []
        assert await names.resolve("four.test") == (ip_address("192.0.2.4"),)
        with pytest.raises(Unresolvable):
            await names.resolve("notlocalhost")


async def test_the_system_is_asked_for_absolute_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def getaddrinfo(host: str, *_arguments: object, **_options: object) -> list[tuple[object, ...]]:
        asked.append(host)
        if host == "nowhere.test.":
            raise OSError("unknown")
        return [
            (0, 0, 0, "", ("192.0.2.1", 0)),
            (0, 0, 0, "", ("192.0.2.1", 0)),
            (0, 0, 0, "", ("2001:db8::1", 0, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert await SystemResolver().resolve("www.test") == (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    with pytest.raises(Unresolvable):
        await SystemResolver().resolve("nowhere.test")
    assert asked == ["www.test.", "nowhere.test."]


async def test_names_that_nobody_answers_for_keep_nothing_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def getaddrinfo(host: str, *_arguments: object, **_options: object) -> list[tuple[object, ...]]:
        if host.startswith("silent"):
            assert answered.wait(60)
        return [(0, 0, 0, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = SystemResolver()
    silent = [asyncio.create_task(resolver.resolve(f"silent{number}.test")) for number in range(64)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(30):
            assert await resolver.resolve("www.test") == (ip_address("192.0.2.1"),)
            assert await asyncio.to_thread(lambda: "signed") == "signed"
        assert not any(task.done() for task in silent)
    finally:
        answered.set()
        await asyncio.gather(*silent)
