"""HTTP to another CA: limited, without redirections, every status told as what it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp

from ca.issuer import AnswerUnusable, IssuerRefused, IssuerUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection, Mapping

BODY_LIMIT = 1024 * 1024
_SHOWN = 200
_OUTAGES = frozenset(
    {
        HTTPStatus.UNAUTHORIZED,  # our own credentials are wrong: the requester can't help it
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
_RETRY_SECONDS = 60
_LONGEST_RETRY = 24 * 3600


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read completely."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The beginning of the body, for administrators."""
        return self.body[:_SHOWN].decode(errors="replace").strip()

    def retry_after(self) -> int:
        """Return the seconds of Retry-After, a minute without it (RFC 9110 section 10.2.3)."""
        value = self.headers.get("Retry-After", "")
        return min(int(value), _LONGEST_RETRY) if value.isascii() and value.isdigit() else _RETRY_SECONDS

    def require(self, status: int, *, outages: Collection[int] = ()) -> None:
        """Raise IssuerUnavailable for what may pass, IssuerRefused for any other status but the one that is wanted.

        Args:
            status: the status that is wanted.
            outages: other statuses than the usual ones that are no fault of the requester.
        """
        if self.status == status:
            return
        said = f"the CA answers {self.status}: {self.text}"
        if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR or self.status in {*_OUTAGES, *outages}:
            raise IssuerUnavailable(said)
        raise IssuerRefused(said)


@dataclass(slots=True)
class HttpClient:
    """A client for one CA; its connections belong to the event loop that first uses it.

    Attributes:
        tls: how https is verified, and our own certificate; None for plain http.
        headers: sent with each request; our credentials are there.
        keep: whether connections are kept open; some servers close theirs without saying so.
    """

    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    keep: bool = True
    _session: aiohttp.ClientSession | None = None

    async def send(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request and read the answer. Raises aiohttp.ClientError, OSError and AnswerUnusable."""
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self.tls if self.tls is not None else True, force_close=not self.keep)
            timeout = aiohttp.ClientTimeout(total=None)  # the caller limits it
            self._session = aiohttp.ClientSession(connector=connector, headers=dict(self.headers), timeout=timeout)
        async with self._session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            content = bytearray()
            async for part in response.content.iter_any():
                content += part
                if len(content) > BODY_LIMIT:
                    raise AnswerUnusable("the CA's answer is too long")
            return Answer(response.status, response.headers, bytes(content))

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
