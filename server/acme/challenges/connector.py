"""Connections to addresses that were judged, by number, and HTTP GETs on them.

No HTTP client library: proxies of the environment, cookies, decompression and a second look-up of the name are what
such a client must not do here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.proxy import Proxy, Streams
from server.acme.challenges.resolver import Unresolvable
from server.acme.challenges.response import HEADER_LIMIT, NotHttp, Response, read_response
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from server.acme.challenges.networks import Address, Networks
    from server.acme.challenges.resolver import Resolver

_FAMILIES = 2
_SHOWN = 10
_GLIMPSE = 40
_PRINTABLE = bytes(octet if 32 <= octet < 127 else ord(".") for octet in range(256))
_URL_SHOWN = 200

Opening = Awaitable[Streams]


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes.

    Attributes:
        scheme: ``http`` or ``https``.
        host: a host name in lower case, or an IP address without brackets.
        port: the port.
        path: path and query, beginning with a slash.
    """

    scheme: str
    host: str
    port: int
    path: str


class Connector:
    """Makes the connections.

    Args:
        resolver: finds addresses.
        networks: judges each of them.
        proxy: the way out; None to connect directly.
        patience: seconds after which the address of the other family is tried, where there is one.
    """

    def __init__(
        self, resolver: Resolver, networks: Networks, proxy: Proxy | None = None, patience: float = 2.5
    ) -> None:
        self._patience = patience
        self._resolver = resolver
        self._networks = networks
        self._proxy = proxy
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        # RFC 8555 section 8.3 and BR 3.2.2.4.19 look at the content that the name leads to; a certificate is what
        # the client is about to get.
        self._tls.verify_mode = ssl.CERT_NONE
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2

    async def get(self, target: Target, trail: list[str]) -> Response:
        """Return the response of the first permitted address of each family that accepts a connection.

        Raises ValidationFailed: dns, connection, tls, or unauthorized (final) when no address may be reached.
        """
        tls = self._tls if target.scheme == "https" else None
        forwarding = self._proxy if self._proxy is not None and self._proxy.resolves and tls is None else None
        if forwarding is None:
            streams = await self.connect(target.host, target.port, trail, tls, target.host)
        else:
            await self._hosts(target.host, trail)
            try:
                streams = await _opened(forwarding.open(), f"proxy {forwarding.host} port {forwarding.port}", trail)
            except OSError:
                raise ValidationFailed(ErrorType.CONNECTION, f"could not connect to {target.host}") from None
        found = await _exchange(streams, target, trail, absolute=forwarding is not None)
        trail.append(f"{target.path}: status {found.status}, {_glimpse(found)}")
        return found

    async def connect(
        self, host: str, port: int, trail: list[str], tls: ssl.SSLContext | None, server_name: str
    ) -> Streams:
        """Return a connection to the first permitted address of each family that accepts one.

        Raises ValidationFailed: dns, connection, tls, or unauthorized (final) when no address may be reached.
        """
        failure = ValidationFailed(ErrorType.CONNECTION, f"could not connect to {host}")
        hosts = await self._hosts(host, trail)
        for each in hosts:
            # What swallows every packet must not take the time of an address that would answer.
            patience = None if each is hosts[-1] else self._patience
            try:
                async with asyncio.timeout(patience):
                    return await _opened(self._opening(each, port, tls, server_name), f"{each} port {port}", trail)
            except ssl.SSLError:
                failure = ValidationFailed(ErrorType.TLS, f"no TLS connection to {host}")
            except OSError:
                continue
        raise failure

    def _opening(self, host: str, port: int, tls: ssl.SSLContext | None, server_name: str) -> Opening:
        name = server_name if tls is not None else None
        if self._proxy is not None:
            return self._proxy.tunnel(host, port, tls, name)
        return asyncio.open_connection(host, port, limit=HEADER_LIMIT, ssl=tls, server_hostname=name)

    async def _hosts(self, host: str, trail: list[str]) -> list[str]:
        """Return what to connect to: addresses, or the name itself where the proxy resolves it."""
        if self._proxy is not None and self._proxy.resolves and _literal(host) is None:
            trail.append(f"{host} is left to the proxy")
            return [host]
        return list(map(_text, await self.addresses(host, trail)))

    async def addresses(self, host: str, trail: list[str]) -> list[Address]:
        """Return the permitted addresses to try, at most one of each family.

        Raises ValidationFailed: dns, or unauthorized (final) when no address may be reached.
        """
        literal = _literal(host)
        found: tuple[Address, ...] = () if literal is None else (literal,)
        if literal is None:
            try:
                found = await self._resolver.resolve(host)
            except Unresolvable:
                trail.append(f"{host}: no address")
                raise ValidationFailed(ErrorType.DNS, f"no address was found for {host}") from None
            trail.append(f"{host}: {', '.join(map(_text, found[:_SHOWN]))}")
        permitted = [address for address in found if self._networks.permits(address)]
        if not permitted:
            trail.append("none of these addresses is allowed")
            detail = f"{host} has no address in the networks that this server validates in"
            raise ValidationFailed(ErrorType.UNAUTHORIZED, detail, final=True)
        # One address of each family: a name with a hundred addresses must not make a hundred attempts.
        return list({address.version: address for address in reversed(permitted)}.values())[::-1][:_FAMILIES]


@lru_cache(maxsize=1024)
def _text(address: Address) -> str:
    """Return an address as text: `ipaddress` takes longer for that than a look-up in memory, and it is wanted twice."""
    return str(address)


async def _opened(opening: Opening, where: str, trail: list[str]) -> Streams:
    """Wait for a connection; what became of it goes on the trail. Raises OSError, ssl.SSLError among them."""
    try:
        streams = await opening
    except ssl.SSLError as error:
        trail.append(f"{where}: TLS failed, {error.reason or 'no reason given'}")
        raise
    except OSError as error:
        trail.append(f"{where}: {error.strerror or error}")
        raise
    except BaseException:
        trail.append(f"{where}: no answer in time")
        raise
    trail.append(f"{where}: connected")
    return streams


def _literal(host: str) -> Address | None:
    """Return the address that this is the text of, None for a name."""
    if ":" not in host and not host[-1:].isdigit():
        return None  # a name without trying: to find that out by failing costs more than a look-up in memory
    try:
        return ip_address(host)
    except ValueError:
        return None


def _glimpse(response: Response) -> str:
    """Return a little of what came, for administrators."""
    to = f" to {response.location[:_URL_SHOWN]}" if response.location else ""
    return f"{_beginning(response.body)}{to}"


def _beginning(octets: bytes) -> str:
    text = octets[:_GLIMPSE].translate(_PRINTABLE).decode("ascii")
    return f"{len(octets)} octets beginning {text!r}"


def _unusable(error: Exception) -> str:
    """Return why a response can't be used, for administrators."""
    match error:
        case asyncio.IncompleteReadError():
            return f"the connection ended in the header, {_beginning(error.partial)}"
        case asyncio.LimitOverrunError():
            return f"a header of more than {HEADER_LIMIT} octets"
        case OSError():
            return f"the connection broke: {error.strerror or error}"
        case _:
            return str(error)


async def _exchange(streams: Streams, target: Target, trail: list[str], *, absolute: bool) -> Response:
    reader, writer = streams
    default = 443 if target.scheme == "https" else 80
    host = f"[{target.host}]" if ":" in target.host else target.host
    authority = host if target.port == default else f"{host}:{target.port}"
    path = f"http://{authority}{target.path}" if absolute else target.path
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: certwright\r\n"
            f"Accept: */*\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        return await read_response(reader)
    except (NotHttp, OSError, EOFError, asyncio.LimitOverrunError) as error:
        trail.append(f"{target.path}: {_unusable(error)}")
        raise ValidationFailed(ErrorType.CONNECTION, f"no usable HTTP response from {target.host}") from None
    finally:
        writer.close()
