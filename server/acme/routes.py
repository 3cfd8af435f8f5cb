"""ACME over HTTP (RFC 8555 sections 6 and 7.1): paths, methods, and the headers that every response carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from policies.request import account_identity
from server.acme.codec.encodings import encode_base64url
from server.acme.codec.replies import encode_directory, encode_problem
from server.acme.messages import ErrorType, ProblemDocument, Rejected, Reply, rejected
from server.acme.problems import reason_of
from server.acme.service import DEFAULT_LABEL, AcmeEndpoint, AcmeProfile, Call, ExternalAccounts, Proofs, Service
from server.config.values import ACME_RESOURCES
from server.enrollment import RefusedAttempt
from server.http import BodyTooLarge, address, expect, note, read_body
from server.outcome import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.acme.messages import Urls

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Resource = Callable[[Call, Mapping[str, str]], Awaitable[Reply]]

JOSE = "application/jose+json"
PROBLEM = "application/problem+json"

_ALWAYS = (
    (hdrs.CACHE_CONTROL, "no-store"),
    (hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (hdrs.ACCESS_CONTROL_EXPOSE_HEADERS, "Link, Location, Replay-Nonce, Retry-After"),
)
_FAILED = ProblemDocument(ErrorType.SERVER_INTERNAL, "the server had trouble with this request")
_UNRECORDED = frozenset({ErrorType.BAD_NONCE})
"""Every client gets badNonce now and then and simply tries again (section 6.5): that is no refusal to look up."""


def mount(app: web.Application, endpoints: Mapping[str, AcmeEndpoint]) -> None:
    """Serve ACME: ``/acme/directory`` for the endpoint ``default``, ``/acme/<label>/directory`` for others.

    Background work starts and stops with the application.

    Raises:
        ValueError: a label is a path segment of the endpoint without label.
    """
    hidden = sorted(ACME_RESOURCES & endpoints.keys())
    if hidden:
        raise ValueError(f"an ACME label can't be a resource's name: {', '.join(hidden)}")
    # Labels first: what is not theirs falls through to the endpoint without label.
    for label in sorted(endpoints, key=lambda label: label == DEFAULT_LABEL):
        service = Service(endpoints[label])
        _Front(service).mount(app)
        app.cleanup_ctx.append(_lifetime(service))


def _lifetime(service: Service) -> Callable[[web.Application], AsyncIterator[None]]:
    async def lifetime(_app: web.Application) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.stop()

    return lifetime


class _Front:
    """The resources of one endpoint at their paths."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._endpoint = service.endpoint
        self._scope = str(service.endpoint.name)
        origins = service.endpoint.external_urls
        links = {each: f'<{service.endpoint.urls(each).directory}>;rel="index"' for each in origins}
        self._first_index = links[origins[0]]
        self._index = {each.removeprefix("https://"): link for each, link in links.items()}

    def mount(self, app: web.Application) -> None:
        """Add every route, and an answer of our own for paths and methods that are not there."""
        service, prefix = self._service, self._endpoint.prefix
        posts: dict[str, Resource] = {
            "/new-account": lambda call, _: service.accounts.create(call),
            "/account/{id}": lambda call, ids: service.accounts.update(call, ids["id"]),
            "/account/{id}/orders": lambda call, ids: service.accounts.orders(call, ids["id"]),
            "/key-change": lambda call, _: service.accounts.change_key(call),
            "/new-order": lambda call, _: service.orders.create(call),
            "/order/{id}": lambda call, ids: service.orders.read(call, ids["id"]),
            "/order/{id}/finalize": lambda call, ids: service.finalization.finalize(call, ids["id"]),
            "/certificate/{id}": lambda call, ids: service.certificates.read(call, ids["id"]),
            "/certificate/{id}/{chain}": lambda call, ids: service.certificates.read(call, ids["id"], ids["chain"]),
            "/authorization/{id}": lambda call, ids: service.authorizations.post(call, ids["id"]),
            "/challenge/{id}/{type}": lambda call, ids: service.authorizations.answer(call, ids["id"], ids["type"]),
            "/revoke-cert": lambda call, _: service.revocation.revoke(call),
        }
        if self._endpoint.pre_authorization:
            posts["/new-authz"] = lambda call, _: service.pre_authorization.create(call)
        add = partial(app.router.add_route, expect_handler=expect)
        for path, resource in posts.items():
            add("POST", prefix + path, self._post(resource))
            add("*", prefix + path, self._wrong_method("POST"))
        for path, get, post in (
            ("/directory", self._get_directory, self._post_directory),
            ("/new-nonce", self._get_nonce, self._post_nonce),
        ):
            app.router.add_get(prefix + path, get, expect_handler=expect)
            add("POST", prefix + path, self._post(post))
            add("*", prefix + path, self._wrong_method("GET, HEAD, POST"))
        app.router.add_get(f"{prefix}/renewal-info/{{id}}", self._get_renewal_info, expect_handler=expect)
        add("*", f"{prefix}/renewal-info/{{id}}", self._wrong_method("GET, HEAD"))
        # Some clients are configured with the slash, and some operators write the label that goes without saying.
        also = {f"{prefix}/directory/", f"/acme/{self._endpoint.label}/directory"} - {f"{prefix}/directory"}
        for path in sorted(also):
            app.router.add_get(path, self._get_directory, expect_handler=expect)
        add("*", f"{prefix}/{{tail:.*}}", self._nothing_here)

    def _post(self, resource: Resource) -> Handler:
        async def post(request: web.Request) -> web.StreamResponse:
            call = Call(request.path_qs, b"", address(request))
            try:
                call.body = await _jose_body(request)
                reply = await resource(call, request.match_info)
            except Rejected as refusal:
                reply = await self._refused(call, refusal)
            except Exception:
                # The client gets what every client understands, and a nonce for its next try.
                log.exception("acme_request_failed", path=request.path)
                reply = _problem(_FAILED)
            known = {"endpoint": self._scope, "account": call.account, "about": call.transaction, **reply.facts}
            note(request, **{name: value for name, value in known.items() if value})
            return self._response(request, reply)

        return post

    async def _refused(self, call: Call, refusal: Rejected) -> Reply:
        document = refusal.document
        if not refusal.recorded and document.type not in _UNRECORDED:
            problem = Problem(reason_of(document), document.detail, refusal.findings)
            requester = account_identity(call.account) if call.account else None
            await self._endpoint.enrollment.refuse(
                RefusedAttempt(self._endpoint.name, problem, requester, call.address, call.transaction, call.csr)
            )
        return _problem(document)

    def _wrong_method(self, allowed: str) -> Handler:
        async def wrong_method(request: web.Request) -> web.StreamResponse:
            if request.method == hdrs.METH_OPTIONS:
                return _preflight(allowed)
            detail = f"this resource takes {allowed} only"
            response = self._response(request, _problem(ProblemDocument(ErrorType.MALFORMED, detail, 405)))
            response.headers[hdrs.ALLOW] = allowed
            return response

        return wrong_method

    async def _nothing_here(self, request: web.Request) -> web.StreamResponse:
        return self._response(request, _problem(ProblemDocument(ErrorType.MALFORMED, "there is no such resource", 404)))

    async def _get_directory(self, request: web.Request) -> web.StreamResponse:
        return self._response(request, self._directory(self._urls(request)), index=False)

    def _directory(self, urls: Urls) -> Reply:
        offered = {"newAuthz": f"{urls.base}/new-authz"} if self._endpoint.pre_authorization else {}
        extra = {**self._endpoint.directory_extra(), **offered}
        return Reply(200, encode_directory(urls, self._endpoint.meta, extra))

    def _urls(self, request: web.Request) -> Urls:
        return self._endpoint.urls(f"https://{request.host}")

    async def _post_directory(self, call: Call, _ids: Mapping[str, str]) -> Reply:
        signed = await self._service.authentication.by_active_account(call)
        return self._directory(signed.urls)

    async def _get_renewal_info(self, request: web.Request) -> web.StreamResponse:
        """Answer without a signature (RFC 9773 section 4.1): unknown certificates are no refusals to put on record."""
        note(request, endpoint=self._scope)
        try:
            reply = await self._service.renewals.info(request.match_info["id"])
        except Rejected as refusal:
            reply = _problem(refusal.document)
        note(request, **reply.facts)
        return self._response(request, reply)

    async def _get_nonce(self, request: web.Request) -> web.StreamResponse:
        return self._response(request, Reply(200 if request.method == hdrs.METH_HEAD else 204))

    async def _post_nonce(self, call: Call, _ids: Mapping[str, str]) -> Reply:
        await self._service.authentication.by_active_account(call)
        return Reply(204)

    def _response(self, request: web.Request, reply: Reply, *, index: bool = True) -> web.Response:
        """Return the response, with a fresh nonce, the directory's link and no permission to cache (section 6.5)."""
        headers = [*_ALWAYS, ("Replay-Nonce", encode_base64url(self._endpoint.nonces.issue(self._scope)))]
        if reply.body:
            headers.append((hdrs.CONTENT_TYPE, reply.content_type))
        if index:
            headers.append((hdrs.LINK, self._index.get(request.host, self._first_index)))
        headers += [(hdrs.LINK, f'<{target}>;rel="{relation}"') for target, relation in reply.links]
        if reply.location:
            headers.append((hdrs.LOCATION, reply.location))
        if reply.retry_after is not None:
            headers.append((hdrs.RETRY_AFTER, str(reply.retry_after)))
        if reply.content_type == PROBLEM:
            headers.append((hdrs.CONTENT_LANGUAGE, "en"))
        return web.Response(status=reply.status, body=reply.body, headers=headers)


def _preflight(allowed: str) -> web.Response:
    """Return what a browser asks before it sends what a script wants to send (RFC 8555 section 6.1)."""
    return web.Response(
        status=204,
        headers={
            hdrs.ALLOW: f"{allowed}, OPTIONS",
            hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: allowed,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "Content-Type",
            hdrs.ACCESS_CONTROL_MAX_AGE: "86400",
        },
    )


def _problem(document: ProblemDocument) -> Reply:
    return Reply(
        document.http_status,
        encode_problem(document),
        content_type=PROBLEM,
        location=document.location,
        links=document.links,
        retry_after=document.retry_after,
        facts={"problem": document.type, "detail": document.detail},
    )


async def _jose_body(request: web.Request) -> bytes:
    """Return the body of a POST. Raises Rejected: 415 for another media type, 413, 400 when it does not come whole."""
    # The very text first: to take a media type apart costs more than all the rest of this.
    if request.headers.get(hdrs.CONTENT_TYPE) != JOSE and request.content_type != JOSE:
        raise rejected(ErrorType.MALFORMED, f"the Content-Type must be {JOSE}", 415)
    try:
        return await read_body(request)
    except BodyTooLarge:
        raise rejected(ErrorType.MALFORMED, "the request is too large", 413) from None
    except web.HTTPException as error:
        raise rejected(ErrorType.MALFORMED, "the request body did not arrive whole", error.status) from None


__all__ = ["JOSE", "AcmeEndpoint", "AcmeProfile", "ExternalAccounts", "Proofs", "mount"]
