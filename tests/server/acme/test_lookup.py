"""Questions to DNS resolvers by TCP only (RFC 8555 section 11.2)."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rrset
import pytest

from server.acme.challenges.http01 import connector_for
from server.acme.challenges.lookup import NoAnswer, lookup
from server.acme.challenges.resolver import DnsResolver
from server.config import CaaConfig, Dns01, DnsPersist01, Http01, TlsAlpn01

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RECORDS = {"TXT": "text", "A": "192.0.2.7"}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    size = int.from_bytes(await reader.readexactly(2))
    query = dns.message.from_wire(await reader.readexactly(size))
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    kind = query.question[0].rdtype.name
    if kind in RECORDS:
        response.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", kind, RECORDS[kind]))
    wire = response.to_wire()
    writer.write(len(wire).to_bytes(2) + wire)
    await writer.drain()
    writer.close()


@asynccontextmanager
async def tcp_only() -> AsyncIterator[int]:
    """The port of a DNS server that speaks TCP alone."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("section", [Dns01, DnsPersist01, CaaConfig])
async def test_records_are_asked_for_by_tcp_where_that_is_wanted(section: type[Dns01]) -> None:
    async with tcp_only() as port:
        settings = {"resolver": f"127.0.0.1:{port}", "timeout_seconds": 1}
        (record,) = await lookup(section.model_validate({**settings, "tcp": True})).records("a.test", "TXT")
        assert record.to_text() == '"text"'
        with pytest.raises(NoAnswer):
            await lookup(section.model_validate(settings)).records("a.test", "TXT")


@pytest.mark.parametrize("section", [Http01, TlsAlpn01])
async def test_addresses_are_asked_for_by_tcp_where_that_is_wanted(section: type[Http01]) -> None:
    async with tcp_only() as port:
        connector = connector_for(section.model_validate({"resolver": f"127.0.0.1:{port}", "tcp": True}))
        assert await connector.addresses("a.test", []) == [ip_address("192.0.2.7")]


def test_the_resolvers_of_the_system_are_asked_by_tcp_too() -> None:
    assert isinstance(connector_for(Http01(tcp=True))._resolver, DnsResolver)
