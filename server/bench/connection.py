"""The HTTP side that the clients share: connections, trust, and one kind of failure."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http import HTTPStatus
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reply:
    """A response, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def expect(self, *statuses: HTTPStatus) -> Reply:
        """Return the reply itself. Raises EnrollmentFailed unless its status is one of these."""
        if self.status not in statuses:
            raise EnrollmentFailed(f"HTTP {self.status}: {self.body[:300].decode('utf-8', 'replace')}")
        return self


class Connection:
    """A pool of connections to one server.

    Args:
        root: the PEM file that the server's TLS certificate must chain to; None for plain HTTP.
        keep_alive: whether connections are used again; if not, each request makes a full TLS handshake.
        authorization: HTTP Basic user name and password.
        identity: a PEM file with the key and the certificate to present, together with `root`; read at once.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        keep_alive: bool = True,
        authorization: tuple[str, str] | None = None,
        identity: Path | None = None,
    ) -> None:
        trust = ssl.create_default_context(cafile=root) if root else False
        if isinstance(trust, ssl.SSLContext) and identity:
            trust.load_cert_chain(identity)
        # As many connections as there are senders: the load decides, not the pool.
        connector = aiohttp.TCPConnector(ssl=trust, limit=0, force_close=not keep_alive)
        headers = {"Authorization": aiohttp.encode_basic_auth(*authorization)} if authorization else {}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, auto_decompress=False)

    async def request(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and read the response. Raises EnrollmentFailed when there is none."""
        try:
            async with self._session.request(method, url, data=body, headers=headers) as response:
                return Reply(response.status, response.headers, await response.read())
        except (aiohttp.ClientError, OSError) as error:
            raise EnrollmentFailed(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
