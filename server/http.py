"""HTTP below the protocols: limits, peer identity, one event a request, the last-resort error, health."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from time import perf_counter
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import HttpVersion11, hdrs, web

from server.cohort import Cohort
from server.peer import NO_PEER, PeerIdentity
from server.proxy import MalformedHeader, client_address, read_identity

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Limits, ProxiedListener

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Readiness = Callable[[], Awaitable[Mapping[str, str]]]
"""Names each part that the service needs, with ``ok``, ``ok, but ...``, or one sentence on what is wrong with it."""

_LIMITS: web.AppKey[Limits] = web.AppKey("limits")
SERVER = "certwright"
"""What the Server header says."""

STOPPING: web.AppKey[asyncio.Event] = web.AppKey("stopping")
"""Set when the listener stops: each answer then is the last on its connection."""

_PEER: web.RequestKey[PeerIdentity] = web.RequestKey("peer", PeerIdentity)
_ADDRESS: web.RequestKey[str] = web.RequestKey("address", str)
_NOTES: web.RequestKey[dict[str, object]] = web.RequestKey("notes", dict)
_log = structlog.get_logger("server.http")


class BodyTooLarge(Exception):
    """The request's body is longer than the limit; not more than the limit was kept."""


def create_app(
    listener: str,
    limits: Limits,
    readiness: Readiness,
    request_id: Callable[[], str],
    *,
    configuration: Path | None = None,
    proxied: ProxiedListener | None = None,
) -> web.Application:
    """Return the application of one listener, with health checks and nothing else mounted.

    Args:
        listener: the listener's name, for events.
        limits: what a request may cost.
        readiness: asked for each ``/readyz``.
        request_id: makes the identifier that ties the events of one request together.
        configuration: the file that the server goes by, where ``/readyz`` names it and says which part is not ready,
            and why; None where it says neither.
        proxied: how proxies say who the peer is; None where connections come from the peers themselves, and nothing
            that a header field says of them counts.
    """
    middlewares = [_observe(listener, request_id)]
    if proxied is not None:
        middlewares.append(_believe(proxied))
    app = web.Application(middlewares=middlewares, client_max_size=limits.body_bytes)
    app[_LIMITS] = limits
    app[STOPPING] = asyncio.Event()
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", _readyz(readiness, configuration))
    return app


def peer(request: web.Request) -> PeerIdentity:
    """Return what TLS knows of the peer; it stays known when the peer hangs up."""
    return request[_PEER]


def address(request: web.Request) -> str | None:
    """Return the peer's IP address as text; an IPv4 address that came over an IPv6 socket as IPv4."""
    return request.get(_ADDRESS) or _remote(request)


def _remote(request: web.Request) -> str | None:
    remote = request.remote
    return remote.removeprefix("::ffff:") if remote else None


def note(request: web.Request, **fields: object) -> None:
    """Add fields to the request's event: endpoint, outcome, reason, serial; never a secret, never a body."""
    request[_NOTES].update(fields)


async def expect(request: web.Request) -> None:
    """Tell a client that waits for it to send the body (RFC 9110 section 10.1.1).

    What else it expects is passed over, as that section allows. aiohttp's own answer to it comes before the event is
    written and the fields are set that every other answer has.
    """
    if request.version >= HttpVersion11 and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer nothing is sent yet


async def read_body(request: web.Request, limit: int | None = None) -> bytes:
    """Return the body.

    Args:
        request: the request; its body may come in chunks and without a declared length.
        limit: the most bytes to accept, None for the listener's limit.

    Raises:
        BodyTooLarge: it is longer. What is beyond the limit was not read.
        web.HTTPRequestTimeout: it does not come within the time limit.
        web.HTTPBadRequest: it ends early or is not encoded as declared.
    """
    limits = request.app[_LIMITS]
    limit = limits.body_bytes if limit is None else limit
    if (request.content_length or 0) > limit:
        raise BodyTooLarge
    content = request.content
    body = bytearray()
    try:
        if content.is_eof():
            body += content.read_nowait()
        else:
            async with asyncio.timeout(limits.request_seconds):
                while len(body) <= limit and (chunk := await content.readany()):
                    body += chunk
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body did not arrive in time\n") from None
    except (web.RequestPayloadError, ConnectionError, ValueError) as error:
        raise web.HTTPBadRequest(text="the body ends early or is not encoded as declared\n") from error
    if len(body) > limit:
        raise BodyTooLarge
    return bytes(body)


def _observe(listener: str, request_id: Callable[[], str]) -> Any:
    cohort = Cohort()
    log = _log.bind(listener=listener)  # once: it costs a tenth of an event

    @web.middleware
    async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        notes: dict[str, object] = {}
        request[_NOTES] = notes
        transport = request.transport
        request[_PEER] = transport.get_extra_info("peer_identity", NO_PEER) if transport is not None else NO_PEER
        identifier = request_id()
        status = 499  # nothing was answered: the task was cancelled
        try:
            await cohort.join()
            response = await _answer(request, handler, identifier)
            status = response.status
        finally:
            log.info(
                "request",
                id=identifier,
                method=request.method,
                path=request.path,
                status=status,
                ms=round((perf_counter() - started) * 1000, 2),
                peer=request.remote,
                **notes,
            )
        response.headers["Server"] = SERVER
        if request.app[STOPPING].is_set():
            response.force_close()
        return response

    return observe


def _believe(proxied: ProxiedListener) -> Any:
    """Return what takes the peer from a proxy's header fields, and turns away whoever is no proxy."""

    @web.middleware
    async def believe(request: web.Request, handler: Handler) -> web.StreamResponse:
        remote = _remote(request)
        known = remote is not None and any(ip_address(remote) in network for network in proxied.proxies)
        if remote is None or not known:
            note(request, reason="not a proxy")
            raise web.HTTPForbidden(text="this address is for this server's proxies alone\n")

        def fields(name: str) -> list[str]:
            return request.headers.getall(name, [])

        try:
            request[_PEER] = read_identity(proxied.headers, fields, channel_binding=proxied.channel_binding)
        except MalformedHeader as error:
            note(request, reason=f"the proxy's header: {error}")
            raise web.HTTPBadRequest(text=f"{error}\n") from error
        request[_ADDRESS] = client_address(fields, remote)
        note(request, client=request[_ADDRESS])
        return await handler(request)

    return believe


async def _answer(request: web.Request, handler: Handler, identifier: str) -> web.StreamResponse:
    """Let the handler answer; what it did not foresee becomes a constant 500, with the cause in the event only."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        response = web.Response(status=error.status, reason=error.reason, text=error.text)
        for header in ("Allow", "Location", "Retry-After", "WWW-Authenticate"):
            if header in error.headers:
                response.headers[header] = error.headers[header]
        return response
    except Exception:  # noqa: BLE001 - the last resort
        _log.exception("request failed", id=identifier, method=request.method, path=request.path)
        return web.Response(status=500, text="internal server error\n")


async def _healthz(_request: web.Request) -> web.Response:
    """Say that the process answers."""
    return web.Response(text="ok\n")


def _readyz(readiness: Readiness, configuration: Path | None) -> Handler:
    async def readyz(_request: web.Request) -> web.StreamResponse:
        parts = await readiness()
        ready = all(state == "ok" or state.startswith("ok, but ") for state in parts.values())
        status = 200 if ready else 503
        if configuration is not None:
            told = {"ready": ready, "parts": dict(parts), "configuration": str(configuration)}
            return web.json_response(told, status=status)
        return web.Response(status=status, text="ok\n" if ready else "not ready\n")

    return readyz
