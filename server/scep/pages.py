"""A page that makes one-time challenges, as NDES has it at ``/certsrv/mscep_admin``, for programs that read it there.

Palo Alto firewalls, Jamf and other MDMs log in by HTTP Basic and look for the challenge in the text. NDES' page is in
UTF-16, which such programs expect. Jamf Pro can also ask by a webhook, the event ``SCEPChallenge``, and Fleet does as
it does: the answer is the challenge and nothing else. All of it is served by HTTPS alone and never cached.
"""

from __future__ import annotations

import binascii
import json
import secrets
from base64 import b64decode
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from aiohttp import web
from cryptography.hazmat.primitives.hashes import SHA256

from policies.durations import duration_text
from policies.request import PasswordEvidence, password_identity
from server.audit import Action, AuditEvent
from server.credentials.redeeming import digest_of
from server.http import BodyTooLarge, address, expect, note, read_body
from server.outcome import TEMPORARY, Problem
from server.store.credentials import CredentialKind, StoredCredential, add
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import timedelta

    from cryptography import x509

    from policies.request import EndpointName
    from server.clock import Clock
    from server.credentials import Credentials
    from server.store import Store

_DEFAULT_PATHS = ("/certsrv/mscep_admin", "/certsrv/mscep_admin/")
_PAGE = """<HTML><Head><Meta HTTP-Equiv="Content-Type" Content="text/html; charset=UTF-16">
<Title>Network Device Enrollment Service</Title></Head><Body>
<P> The thumbprint (hash value) for the CA certificate is: <B> {thumbprint} </B>
<P> The enrollment challenge password is: <B> {challenge} </B>
<P> This password can be used only once and will expire within {minutes} minutes.
<P> Each enrollment requires a new challenge password. You can refresh this web page to obtain a new challenge password.
</Body></HTML>
"""
_SECONDS_PER_MINUTE = 60
_LONGEST_USER_NAME = 255
"""It is remembered after failures, of whoever sends it."""
_SCEP_EVENT, _SCEP_PAYLOAD = "SCEPChallenge", "com.apple.security.scep"


def new_challenge() -> str:
    """Return a new challenge as NDES writes it, in capital hexadecimal digits, but of 128 bits."""
    return secrets.token_hex(16).upper()


@dataclass(frozen=True, slots=True)
class OtpPage:
    """The page of one endpoint.

    Attributes:
        endpoint: where its challenges are good.
        expires: for how long.
        store: keeps their hashes.
        credentials: judges who logs in.
        chain: returns the issuing CA's certificate and those above it.
        clock: tells the time.
        challenge: makes one.
    """

    endpoint: EndpointName
    expires: timedelta
    store: Store
    credentials: Credentials
    chain: Callable[[], tuple[x509.Certificate, ...]]
    clock: Clock
    challenge: Callable[[], str] = new_challenge

    async def make(self, user: str) -> str:
        """Return a new challenge for somebody who has logged in. Raises StoreUnavailable."""
        now, secret, identifier = self.clock(), self.challenge(), secrets.token_hex(6)
        made = StoredCredential(
            id=identifier,
            kind=CredentialKind.SCEP_CHALLENGE,
            endpoint=self.endpoint,
            created_by=password_identity(user),
            created_at=now,
            digest=digest_of(secret),
            expires_at=now + self.expires,
        )
        event = AuditEvent(now, Action.CREDENTIAL_MADE, made.created_by, detail=f"{identifier} for {self.endpoint}")
        await self.store.write(lambda connection: add(connection, made, event.row()))
        return secret

    def show(self, secret: str) -> str:
        """Return the page around a challenge."""
        minutes = int(self.expires.total_seconds()) // _SECONDS_PER_MINUTE
        thumbprint = self.chain()[0].fingerprint(SHA256()).hex().upper()
        return _PAGE.format(thumbprint=thumbprint, challenge=escape(secret), minutes=minutes)


def mount(app: web.Application, pages: Mapping[str, OtpPage]) -> None:
    """Serve the pages at ``/scep/<label>/mscep_admin``; that of ``default``, or the only one, where NDES has it too.

    Jamf's events are taken at ``/scep/<label>/challenge``.
    """
    default = pages.get("default") or (next(iter(pages.values())) if len(pages) == 1 else None)
    if default is not None:
        for path in _DEFAULT_PATHS:
            app.router.add_get(path, _handler(default), allow_head=False)
    for label, page in pages.items():
        app.router.add_get(f"/scep/{label}/mscep_admin", _handler(page), allow_head=False)
        app.router.add_get(f"/scep/{label}/mscep_admin/", _handler(page), allow_head=False)
        app.router.add_post(f"/scep/{label}/challenge", _event_handler(page), expect_handler=expect)


def _handler(page: OtpPage) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        made = await _challenge(page, request)
        if isinstance(made, web.Response):
            return made
        return web.Response(
            body=page.show(made).encode("utf-16"),
            headers={"Content-Type": "text/html; charset=UTF-16", "Cache-Control": "no-store"},
        )

    return answer


def _event_handler(page: OtpPage) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            octets = await read_body(request)
        except BodyTooLarge:
            return web.Response(status=413, text="the event is longer than this server takes\n")
        if not _asks_for_challenge(octets):
            return web.Response(status=400, text="not a SCEPChallenge event in JSON\n")
        made = await _challenge(page, request)
        if isinstance(made, web.Response):
            return made
        return web.Response(text=made, headers={"Cache-Control": "no-store"})

    return answer


def _asks_for_challenge(octets: bytes) -> bool:
    """Whether this is Jamf Pro's event for a SCEP payload."""
    try:
        value = json.loads(octets)
    except (ValueError, RecursionError):
        return False
    webhook, event = (_object(value, name) for name in ("webhook", "event"))
    types = event.get("payloadTypes", [_SCEP_PAYLOAD])
    return webhook.get("webhookEvent") == _SCEP_EVENT and isinstance(types, list) and _SCEP_PAYLOAD in types


def _object(value: object, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


async def _challenge(page: OtpPage, request: web.Request) -> str | web.Response:
    """Return a new challenge for whoever logs in, or what to answer everybody else."""
    note(request, endpoint=str(page.endpoint))
    user, password = _basic(request.headers.getall("Authorization", []))
    if user is None:
        return _unauthorized(page)
    judged = await page.credentials.password(page.endpoint, user, password, address=address(request))
    if isinstance(judged, Problem) and judged.reason in TEMPORARY:
        retry = {"Retry-After": str(judged.retry_after or 1)}
        return web.Response(status=429, text=f"{judged.message}\n", headers=retry)
    if not isinstance(judged, PasswordEvidence):
        note(request, outcome="refused", requester=password_identity(user))
        return _unauthorized(page)
    try:
        made = await page.make(user)
    except StoreUnavailable:
        return web.Response(status=503, text="challenges can't be made now\n", headers={"Retry-After": "10"})
    note(request, outcome="challenge made", requester=password_identity(user), good_for=duration_text(page.expires))
    return made


def _unauthorized(page: OtpPage) -> web.Response:
    challenge = {"WWW-Authenticate": f'Basic realm="{page.endpoint} challenges", charset="UTF-8"'}
    return web.Response(status=401, text="log in for a challenge\n", headers=challenge)


def _basic(values: list[str]) -> tuple[str | None, str]:
    """Return user name and password of HTTP Basic (RFC 7617), None for none, or a name that nobody has."""
    if len(values) != 1:
        return None, ""
    scheme, _, encoded = values[0].partition(" ")
    if scheme.lower() != "basic":
        return None, ""
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None, ""
    return (user, password) if colon and len(user) <= _LONGEST_USER_NAME else (None, "")
