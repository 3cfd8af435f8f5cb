"""The http-01 challenge (RFC 8555 section 8.3): the key authorization is fetched from the name itself."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from server.acme.challenges.connector import Connector, Target
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.lookup import Lookup
from server.acme.challenges.networks import Networks
from server.acme.challenges.proxy import Proxy
from server.acme.challenges.resolver import DnsResolver, LoopbackNames, SystemResolver
from server.acme.challenges.response import BODY_LIMIT
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from server.acme.challenges.question import Question
    from server.acme.challenges.resolver import Resolver
    from server.acme.challenges.response import Response
    from server.config import Http01 as Http01Config

_REDIRECTS = frozenset({301, 302, 307, 308})
_HOPS = 10
_URL_LIMIT = 2000
_URL = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f:.]*:[0-9a-f:.]*")
"""A host name, or an IPv6 address: what is looked up, said to proxies and servers, and put into SNI."""
_LOOKUP = 5.0
_PATIENCE = 4
"""The part of the time that an address has before that of the other family is tried."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Http01:
    """Validates http-01.

    Args:
        connector: makes the requests.
        port: where the first request goes, and where redirects may go beside 80 and 443.
        seconds: the time limit for one validation, redirects included.
    """

    type = "http-01"

    def __init__(self, connector: Connector, port: int = 80, seconds: float = 10.0) -> None:
        self._connector = connector
        self._port = port
        self._ports = {80, 443, port}
        self._seconds = seconds

    async def validate(self, question: Question) -> None:
        """Fetch and compare once. Raises ValidationFailed."""
        name = question.name
        target = Target("http", name, self._port, f"/.well-known/acme-challenge/{question.token}")
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._follow(target, question.trail)
        except TimeoutError:
            raise ValidationFailed(ErrorType.CONNECTION, f"{name} did not answer in time") from None
        if response.status != 200:
            detail = f"{name} answered with status {response.status} instead of 200"
            raise ValidationFailed(ErrorType.UNAUTHORIZED, detail)
        if len(response.body) > BODY_LIMIT:
            raise ValidationFailed(ErrorType.INCORRECT_RESPONSE, f"the response of {name} is too long")
        if response.body.rstrip(b" \t\r\n\v\f") != question.key_authorization.encode("ascii"):
            detail = f"the response of {name} is not the key authorization of this account and token"
            raise ValidationFailed(ErrorType.INCORRECT_RESPONSE, detail)

    async def _follow(self, target: Target, trail: list[str]) -> Response:
        seen = {target}
        for _ in range(_HOPS):
            response = await self._connector.get(target, trail)
            if response.status not in _REDIRECTS:
                return response
            target = self._redirected(target, response.location)
            if target in seen:
                raise _bad_redirect("in a loop")
            seen.add(target)
        raise _bad_redirect("too often")

    def _redirected(self, target: Target, location: str) -> Target:
        if not _URL.fullmatch(location) or len(location) > _URL_LIMIT:
            raise _bad_redirect("to something that is not a URL")
        host = f"[{target.host}]" if ":" in target.host else target.host
        try:
            url = urlsplit(urljoin(f"{target.scheme}://{host}:{target.port}{target.path}", location))
            name, port = url.hostname, url.port
        except ValueError:
            raise _bad_redirect("to something that is not a URL") from None
        if url.scheme not in _DEFAULT_PORTS or not name:
            raise _bad_redirect("to something other than http or https")
        if "@" in url.netloc:
            raise _bad_redirect("to a URL with user information")
        port = _DEFAULT_PORTS[url.scheme] if port is None else port
        if port not in self._ports:
            raise _bad_redirect("to a port that is not allowed")
        query = f"?{url.query}" if url.query else ""
        host = name.removesuffix(".")
        if not _HOST.fullmatch(host):
            raise _bad_redirect("to something that is not a host name")
        return Target(url.scheme, host, port, (url.path or "/") + query)


def _bad_redirect(how: str) -> ValidationFailed:
    return ValidationFailed(ErrorType.UNAUTHORIZED, f"the response redirects {how}")


def connector_for(config: Http01Config) -> Connector:
    """Return what connects to the hosts that the configuration of an endpoint allows."""
    own = config.resolver or config.tcp
    resolver: Resolver = DnsResolver(Lookup(config.resolver, _LOOKUP, tcp=config.tcp)) if own else SystemResolver()
    if config.loopback_names:
        resolver = LoopbackNames(resolver)
    proxy = None
    if config.proxy is not None:
        url = urlsplit(config.proxy.url)
        proxy = Proxy(url.hostname or "", url.port or 0, config.proxy.resolves_names)
    networks = Networks(config.networks, config.forbidden_networks)
    return Connector(resolver, networks, proxy, config.timeout_seconds / _PATIENCE)


def http01(config: Http01Config) -> Http01:
    """Return the validator that the configuration of an endpoint describes."""
    return Http01(connector_for(config), config.port, config.timeout_seconds)
