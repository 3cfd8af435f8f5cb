"""SCEP over HTTP (RFC 8894 section 4): any path tail, GET and POST, and answers with exactly the right media types."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from aiohttp import web

from server.http import BodyTooLarge, address, expect, note, read_body
from server.scep.codec import Malformed, read_message_parameter
from server.scep.messages import TEXT, Answer
from server.scep.observation import Carrier
from server.scep.service import ScepEndpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["ScepEndpoint", "mount"]

DEFAULT_LABEL = "default"
# Clients put their own segments in front of or behind the configured ones, and double slashes between them.
_PATHS = ("/{lead:/*}scep{tail:.*}", "/{lead:/*}cgi-bin/pkiclient.exe{tail:.*}", "/{lead:/*}certsrv/mscep{tail:.*}")
_METHODS = frozenset({"GET", "HEAD", "POST"})


def mount(app: web.Application, endpoints: Mapping[str, ScepEndpoint], labels: Collection[str] | None = None) -> None:
    """Serve SCEP at ``/scep``, ``/scep/<label>`` and the paths that devices have built in.

    Whatever follows is ignored (section 4.1: the CA should ignore SCEPPATH). Without a label it is the endpoint
    ``default``, or the only one.

    Args:
        app: the application of a listener.
        endpoints: all that there are, by label.
        labels: those that this listener serves; None: all.

    Raises:
        ValueError: there is no endpoint.
    """
    if not endpoints:
        raise ValueError("SCEP needs at least one endpoint")
    usual = DEFAULT_LABEL if len(endpoints) > 1 else next(iter(endpoints))
    endpoints = {label: one for label, one in endpoints.items() if labels is None or label in labels}
    default = endpoints.get(usual)

    async def dispatch(request: web.Request) -> web.Response:
        endpoint = _endpoint(request.match_info["tail"], endpoints, default)
        if endpoint is None:
            raise web.HTTPNotFound(text="there is no such SCEP endpoint\n")
        if request.method not in _METHODS:
            raise web.HTTPMethodNotAllowed(request.method, sorted(_METHODS), text="SCEP uses GET and POST\n")
        return _response(request, endpoint, await _answer(request, endpoint))

    for path in _PATHS:
        app.router.add_route("*", path, dispatch, expect_handler=expect)


def _endpoint(tail: str, endpoints: Mapping[str, ScepEndpoint], default: ScepEndpoint | None) -> ScepEndpoint | None:
    """Return the endpoint that a path names.

    A first segment that is a plain word and no label is most likely a mistyped label: it gets no other endpoint's
    service. With a dot it is a program's name, which means nothing.
    """
    attached, _, path = tail.partition("/")
    segments = [segment for segment in path.split("/") if segment]
    if attached and not attached.startswith((":", ".")):
        return None
    for segment in segments:
        if segment in endpoints:
            return endpoints[segment]
    if segments and "." not in segments[0]:
        return None
    return default


async def _answer(request: web.Request, endpoint: ScepEndpoint) -> Answer:
    query = read_query(request.raw_path)
    operation = query.get("operation", b"").lower()
    if operation == b"pkioperation" or (operation == b"" and request.method == "POST"):
        return await _pki_operation(request, endpoint, query.get("message", b""))
    if operation == b"getcacaps":
        return endpoint.advertising.capabilities()
    if operation == b"getcacert":
        return endpoint.advertising.ca_certificates()
    if operation == b"getnextcacert" and request.method != "POST":
        return await endpoint.advertising.next_ca_certificates()
    return Answer(400, TEXT, b"unknown SCEP operation\n")


async def _pki_operation(request: web.Request, endpoint: ScepEndpoint, parameter: bytes) -> Answer:
    if request.method == "HEAD":  # a safe method: nothing may be issued by it
        raise web.HTTPMethodNotAllowed("HEAD", ["GET", "POST"], text="PKIOperation uses GET and POST\n")
    try:
        message = await read_body(request) if request.method == "POST" else read_message_parameter(parameter)
    except BodyTooLarge:
        return await endpoint.too_large(address(request))
    except Malformed as error:
        return await endpoint.malformed(error, address(request))
    carrier = Carrier(request.method, request.headers.get("User-Agent", ""))
    return await endpoint.pki_operation(message, address(request), carrier)


def read_query(raw_path: str) -> dict[str, bytes]:
    """Return the query's parameters, percent-decoded and no more: a plus sign is a plus sign of base64."""
    _, _, query = raw_path.partition("?")
    parameters: dict[str, bytes] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        parameters.setdefault(name.lower(), unquote_to_bytes(value))
    return parameters


def _response(request: web.Request, endpoint: ScepEndpoint, answer: Answer) -> web.Response:
    note(request, endpoint=str(endpoint.name), **answer.notes)
    keeping = "no-store" if answer.max_age is None else f"max-age={answer.max_age}"
    headers = {"Content-Type": answer.content_type, "Cache-Control": keeping}
    if answer.retry_after is not None:
        headers["Retry-After"] = str(answer.retry_after)
    return web.Response(status=answer.status, headers=headers, body=answer.body)
