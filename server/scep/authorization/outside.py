"""Asking a service outside by HTTPS: short, without redirects, with a small answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 65536


class NoAnswer(Exception):
    """The service does not answer, or not now; the text is for administrators."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer.

    Attributes:
        status: the HTTP status.
        value: the JSON in it, an empty mapping when there is none.
    """

    status: int
    value: Mapping[str, Any]


class Outside:
    """Sends requests.

    Args:
        seconds: how long one may take in all.
    """

    def __init__(self, seconds: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, headers: Mapping[str, str]) -> Answered:
        """GET. Raises NoAnswer."""
        return await self._send("GET", url, b"", headers)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """POST. Raises NoAnswer."""
        return await self._send("POST", url, body, headers)

    async def close(self) -> None:
        """Close what is open."""
        if self._session is not None:
            await self._session.close()

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.request(
                method, url, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                content = await response.content.read(_LIMIT + 1)
                while not response.content.at_eof() and len(content) <= _LIMIT:
                    content += await response.content.read(_LIMIT + 1 - len(content))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise NoAnswer(f"{url}: {type(error).__name__}: {error}") from error
        if len(content) > _LIMIT:
            raise NoAnswer(f"{url}: the answer is too long")
        if response.status == 429 or response.status >= 500:
            raise NoAnswer(f"{url}: HTTP {response.status}")
        return Answered(response.status, _object(content))


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
