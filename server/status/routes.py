"""Revocation lists, OCSP and CA certificates over plain HTTP (RFC 5280 section 4.2.1.13, RFC 6960 appendix A)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from email.utils import format_datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from ca.ocsp import REQUEST_LIMIT
from server.http import BodyTooLarge, expect, note, read_body
from server.status.records import COMPLETE, Scope
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography import x509

    from server.clock import Clock
    from server.status.responder import Responder
    from server.status.shelf import Item, Shelf

CRL_TYPE = "application/pkix-crl"
OCSP_TYPE = "application/ocsp-response"
CERTIFICATE_TYPE = "application/pkix-cert"
LONGEST_AGE = 300
"""Seconds for which a cache may keep a list without asking: a revocation is seen after this at the latest."""
_DAY = 86400
_CERTIFICATE = re.compile(r"([A-Za-z0-9._-]{1,64})\.cer")
_LIST = re.compile(r"([0-9]{1,4}|[A-Za-z0-9._-]{1,64}?)(-delta)?\.crl")


@dataclass(frozen=True, slots=True)
class Status:
    """What is published.

    Attributes:
        shelf: the revocation lists.
        chains: gives the chain of each issuer, by configured name.
        clock: tells the time.
        responder: answers OCSP requests; None when no issuer's status is known here.
    """

    shelf: Shelf
    chains: Mapping[str, Callable[[], tuple[x509.Certificate, ...]]]
    clock: Clock
    responder: Responder | None = None


def mount(app: web.Application, status: Status) -> None:
    """Mount ``/crl/ISSUER.crl``, ``/crl/ISSUER/SHARD.crl``, their ``-delta`` lists and ``/ca/ISSUER.cer``."""

    async def complete(request: web.Request) -> web.Response:
        found = _LIST.fullmatch(request.match_info["file"])
        if found is None or found[1] not in status.chains:
            raise web.HTTPNotFound(text="no such revocation list\n")
        return await _list(request, status, Scope(found[1], COMPLETE), delta=found[2] is not None)

    async def shard(request: web.Request) -> web.Response:
        issuer, found = request.match_info["issuer"], _LIST.fullmatch(request.match_info["file"])
        if found is None or issuer not in status.chains or not found[1].isdigit() or int(found[1]) == COMPLETE:
            raise web.HTTPNotFound(text="no such revocation list\n")
        return await _list(request, status, Scope(issuer, int(found[1])), delta=found[2] is not None)

    async def certificate(request: web.Request) -> web.Response:
        found = _CERTIFICATE.fullmatch(request.match_info["file"])
        if found is None or found[1] not in status.chains:
            raise web.HTTPNotFound(text="no such issuer\n")
        octets = status.chains[found[1]]()[0].public_bytes(Encoding.DER)
        return web.Response(
            body=octets, content_type=CERTIFICATE_TYPE, headers={"Cache-Control": f"public, max-age={_DAY}"}
        )

    app.router.add_get("/crl/{file}", complete)
    app.router.add_get("/crl/{issuer}/{file}", shard)
    app.router.add_get("/ca/{file}", certificate)
    if status.responder is not None:
        _mount_ocsp(app, status.responder, status.clock)


def _mount_ocsp(app: web.Application, responder: Responder, clock: Clock) -> None:
    async def post(request: web.Request) -> web.Response:
        try:
            octets = await read_body(request, REQUEST_LIMIT)
        except BodyTooLarge:
            octets = b""
        return await reply(request, octets, cacheable=False)

    async def get(request: web.Request) -> web.Response:
        # base64 has slashes: what stands behind the prefix counts as it came
        text = unquote_to_bytes(request.raw_path.partition("/ocsp/")[2].partition("?")[0])
        try:
            octets = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except ValueError:
            octets = b""
        return await reply(request, octets, cacheable=True)

    async def reply(request: web.Request, octets: bytes, *, cacheable: bool) -> web.Response:
        answer = await responder.answer(octets)
        note(request, outcome=answer.result)
        headers = {"Cache-Control": "no-store"}
        if cacheable and answer.validity is not None:
            left = int((answer.validity.next_update - clock()).total_seconds())
            headers = {
                "Cache-Control": f"public, max-age={max(0, min(LONGEST_AGE, left))}, no-transform, must-revalidate",
                "ETag": f'"{sha256(answer.der).hexdigest()[:32]}"',
                "Last-Modified": format_datetime(answer.validity.this_update, usegmt=True),
                "Expires": format_datetime(answer.validity.next_update, usegmt=True),
            }
        return web.Response(body=answer.der, content_type=OCSP_TYPE, headers=headers)

    app.router.add_post("/ocsp", post, expect_handler=expect)
    app.router.add_get("/ocsp/{request:.+}", get)


async def _list(request: web.Request, status: Status, scope: Scope, *, delta: bool) -> web.Response:
    note(request, issuer=scope.issuer, shard=scope.shard)
    try:
        item = await status.shelf.get(scope, delta=delta)
    except StoreUnavailable as error:
        note(request, reason="store unavailable", detail=str(error))
        raise web.HTTPServiceUnavailable(text="try again later\n", headers={"Retry-After": "5"}) from error
    if item is None:
        raise web.HTTPNotFound(text="no such revocation list\n")
    headers = _caching(item, status)
    if _is_known(request, item):
        return web.Response(status=304, headers=headers)
    return web.Response(body=item.der, content_type=CRL_TYPE, headers=headers)


def _caching(item: Item, status: Status) -> dict[str, str]:
    """Return headers that let a cache keep the list, but not past its end."""
    left = int((item.published.next_update - status.clock()).total_seconds())
    return {
        "Cache-Control": f"public, max-age={max(0, min(LONGEST_AGE, left))}, must-revalidate",
        "ETag": f'"{item.etag}"',
        "Last-Modified": format_datetime(item.published.this_update, usegmt=True),
    }


def _is_known(request: web.Request, item: Item) -> bool:
    tags = request.if_none_match
    if tags is not None:
        return any(tag.value in {item.etag, "*"} for tag in tags)
    since = request.if_modified_since
    return since is not None and item.published.this_update <= since
