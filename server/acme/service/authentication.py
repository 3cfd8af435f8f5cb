"""Who signed a message, and whether it was meant for here, now, once (RFC 8555 sections 6.2 to 6.5)."""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from server.acme import jws
from server.acme.codec.envelope import decode_jwk, decode_jws, encode_jwk
from server.acme.messages import AccountStatus, ErrorType, Owner, ProblemDocument, Rejected, Urls, rejected
from server.acme.nonces import LedgerUnavailable
from server.acme.records import accounts

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ca.csr import Csr
    from server.acme.jws import SigningKey
    from server.acme.messages import Jwk, Jws
    from server.acme.service.endpoint import AcmeEndpoint

_CACHED_KEYS = 10_000
_UNKNOWN_ACCOUNT = "kid is not the URL of an account of this server"


@dataclass(slots=True)
class Call:
    """One POST, and what becomes known of it, for its record and its event.

    Attributes:
        target: path and query of the request.
        body: the body.
        address: the peer's address.
        account: who asks, empty until the signature is verified.
        transaction: the order or other object it is about.
        csr: the CSR it brought.
    """

    target: str
    body: bytes
    address: str | None = None
    account: str = ""
    transaction: str | None = None
    csr: Csr | None = field(default=None, repr=False)


class Signed(NamedTuple):
    """A message whose signature is verified.

    Attributes:
        message: the message.
        urls: the addresses as its sender sees them.
        key: the key that signed.
        account: the account of the key; empty where the message brought its own key.
    """

    message: Jws
    urls: Urls
    key: SigningKey
    account: str

    @property
    def owner(self) -> Owner:
        """The account with its key, as look-ups need them."""
        return Owner(self.account, self.key.thumbprint)

    @property
    def payload(self) -> bytes:
        """The payload; empty for POST-as-GET."""
        return self.message.payload


def account_key(jwk: Jwk, *, short_signatures: bool = False) -> SigningKey:
    """Load a key; what verifies messages comes from `Authentication.key`. Raises Rejected: badPublicKey."""
    return jws.load_key(jwk, encode_jwk(jwk), short_signatures=short_signatures)


def account_thumbprint(key: object, spki: bytes) -> str | None:
    """Return the thumbprint by which an account with this public key is known, None when none can have it.

    Args:
        key: the key.
        spki: DER of its SubjectPublicKeyInfo.
    """
    jwk = jws.to_jwk(key, spki)
    return None if jwk is None else jws.thumbprint(encode_jwk(jwk))


def deactivated() -> Rejected:
    """Return the refusal for an account that is not valid any more (RFC 8555 section 7.3.6)."""
    return rejected(ErrorType.UNAUTHORIZED, "the account is deactivated or its key was changed", 401)


def active(connection: sa.Connection, signed: Signed) -> Rejected | None:
    """Return why the account may not act now, None when it may."""
    if accounts.is_active(connection, signed.owner):
        return None
    return deactivated()


def missing(connection: sa.Connection, signed: Signed) -> Rejected:
    """Return why a look-up by the signer found nothing: the account may not act, or there is no such thing of it."""
    return active(connection, signed) or rejected(ErrorType.MALFORMED, "there is no such resource", 404)


class Authentication:
    """Judges messages; keeps the keys of accounts parsed."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint
        self._keys: OrderedDict[str, SigningKey] = OrderedDict()
        self._scope = str(endpoint.name)

    async def by_account(self, call: Call) -> Signed:
        """Return the message of an account; whether it may act now is for the look-up to find. Raises Rejected."""
        message, urls = self._opened(call)
        if message.kid is None:
            raise rejected(ErrorType.MALFORMED, "this resource takes messages with kid, not with jwk")
        return await self._verified_by_account(call, message, urls, message.kid)

    async def by_active_account(self, call: Call) -> Signed:
        """Return the message of an account that may act, for resources that look nothing up. Raises Rejected."""
        signed = await self.by_account(call)
        await self._endpoint.read(lambda c: active(c, signed))
        return signed

    async def by_key(self, call: Call) -> Signed:
        """Return a message that brings its own key. Raises Rejected."""
        message, urls = self._opened(call)
        if message.jwk is None:
            raise rejected(ErrorType.MALFORMED, "this resource takes messages with jwk, not with kid")
        return self._verified_by_key(message, urls, message.jwk)

    async def by_either(self, call: Call) -> Signed:
        """Return a message of an account or with its own key. Raises Rejected."""
        message, urls = self._opened(call)
        if message.kid is not None:
            return await self._verified_by_account(call, message, urls, message.kid)
        return self._verified_by_key(message, urls, message.jwk)

    def key(self, jwk: Jwk) -> SigningKey:
        """Load a key that verifies messages as the endpoint takes them. Raises Rejected: badPublicKey."""
        return account_key(jwk, short_signatures=self._endpoint.short_signatures)

    def forget(self, account: str) -> None:
        """Drop a cached key."""
        self._keys.pop(account, None)

    def _opened(self, call: Call) -> tuple[Jws, Urls]:
        message = decode_jws(call.body)
        for origin in self._endpoint.external_urls:
            if message.url == origin + call.target:
                return message, self._endpoint.urls(origin)
        raise rejected(ErrorType.UNAUTHORIZED, "url in the protected header is not the URL of this resource")

    def _redeem(self, message: Jws) -> None:
        # After what costs nothing, before what costs a signature verification: a replay must not be cheap to try.
        if message.nonce is None:
            raise rejected(ErrorType.BAD_NONCE, "the protected header has no nonce")
        try:
            good = self._endpoint.nonces.redeem(message.nonce, self._scope)
        except LedgerUnavailable:
            detail = "the server can't check nonces at the moment"
            raise Rejected(ProblemDocument(ErrorType.SERVER_INTERNAL, detail, 503, retry_after=1)) from None
        if not good:
            raise rejected(ErrorType.BAD_NONCE, "the nonce is not good: unknown, used, or too old")

    def _verified_by_key(self, message: Jws, urls: Urls, jwk: Jwk | None) -> Signed:
        if jwk is None:
            raise rejected(ErrorType.MALFORMED, "the message has no jwk")
        self._redeem(message)
        key = self.key(jwk)
        jws.verify(message, key)
        return Signed(message, urls, key, "")

    async def _verified_by_account(self, call: Call, message: Jws, urls: Urls, kid: str) -> Signed:
        accounts_here = urls.account("")
        account = kid.removeprefix(accounts_here)
        # The whole URL, not its last segment: an account of another directory is not an account here.
        if not kid.startswith(accounts_here) or not account.isascii() or not account.isprintable():
            raise rejected(ErrorType.ACCOUNT_DOES_NOT_EXIST, _UNKNOWN_ACCOUNT)
        self._redeem(message)
        key = self._keys.get(account)
        if key is None:
            key = await self._load(account)
            jws.verify(message, key)
        else:
            self._keys.move_to_end(account)
            try:
                jws.verify(message, key)
            except Rejected:
                # Another process may have changed the account's key since it was cached here.
                key = await self._load(account)
                jws.verify(message, key)
        call.account = account
        return Signed(message, urls, key, account)

    async def _load(self, account: str) -> SigningKey:
        found = await self._endpoint.read(lambda c: accounts.find_account(c, self._scope, account))
        if found is None:
            raise rejected(ErrorType.ACCOUNT_DOES_NOT_EXIST, _UNKNOWN_ACCOUNT)
        if found.status != AccountStatus.VALID:
            raise deactivated()
        key = self.key(decode_jwk(json.loads(found.jwk)))
        self._keys[account] = key
        if len(self._keys) > _CACHED_KEYS:
            self._keys.popitem(last=False)
        return key
