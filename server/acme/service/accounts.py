"""Accounts (RFC 8555 sections 7.3 and 7.1.2)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from policies.request import account_identity
from server.acme import jws, states
from server.acme.codec.encodings import malformed, read_object
from server.acme.codec.envelope import decode_jws
from server.acme.codec.replies import encode_account, encode_orders
from server.acme.codec.requests import decode_account_update, decode_key_change, decode_new_account
from server.acme.messages import (
    Account,
    AccountStatus,
    AccountUpdate,
    ErrorType,
    ProblemDocument,
    Rejected,
    Reply,
    rejected,
)
from server.acme.records import accounts, orders
from server.acme.service.authentication import account_key, active, deactivated
from server.acme.service.bindings import not_good
from server.acme.service.endings import end_account
from server.acme.service.limits import Limiter
from server.store.admission import is_compromised

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.acme.jws import SigningKey
    from server.acme.messages import NewAccount
    from server.acme.service.authentication import Authentication, Call, Signed
    from server.acme.service.bindings import Bindings
    from server.acme.service.endpoint import AcmeEndpoint

_PAGE = 50
_AGREE = "an account must agree to the terms of service: termsOfServiceAgreed must be true"


class Accounts:
    """newAccount, the account resource, its orders list and keyChange."""

    def __init__(self, endpoint: AcmeEndpoint, authentication: Authentication, bindings: Bindings) -> None:
        self._endpoint = endpoint
        self._bindings = bindings
        self._limiter = Limiter(endpoint)
        self._authentication = authentication
        self._scope = str(endpoint.name)

    async def create(self, call: Call) -> Reply:
        """Answer newAccount: 201 for a new account, 200 for the one that has the key already (section 7.3.1)."""
        signed = await self._authentication.by_key(call)
        existing = await self._endpoint.read(
            lambda c: accounts.find_account_by_key(c, self._scope, signed.key.thumbprint)
        )
        if existing is None:
            request = decode_new_account(signed.payload)
            if request.only_return_existing:
                raise rejected(ErrorType.ACCOUNT_DOES_NOT_EXIST, "there is no account with this key")
            account, status = await self._insert(signed, request, call.address)
        else:
            read_object(signed.payload, "the payload")  # whatever is asked for is not looked at (section 7.3.1)
            account, status = existing, 200
        call.account = account.id
        if account.status != AccountStatus.VALID:
            raise deactivated()
        return self._reply(account, signed, status)

    async def _insert(self, signed: Signed, request: NewAccount, address: str | None) -> tuple[Account, int]:
        if self._endpoint.terms_of_service and not request.terms_agreed:
            links = ((self._endpoint.terms_of_service, "terms-of-service"),)
            raise Rejected(ProblemDocument(ErrorType.USER_ACTION_REQUIRED, _AGREE, links=links))
        binding = await self._bindings.judge(signed, request)
        account = Account(
            self._endpoint.token(),
            AccountStatus.VALID,
            request.contact,
            request.terms_agreed,
            signed.key.thumbprint,
            signed.key.jwk,
            binding.members if binding else None,
            binding.kid if binding else None,
            (self._endpoint.terms_of_service or None) if request.terms_agreed else None,
        )

        def work(connection: sa.Connection) -> tuple[Account, int] | Rejected:
            # Two requests with one key may be here at the same time: the second finds the account of the first.
            found = accounts.find_account_by_key(connection, self._scope, account.thumbprint)
            if found is not None:
                return found, 200
            if is_compromised(connection, signed.key.spki):
                return _compromised()
            limited = self._limiter.new_account(connection, address)
            if limited is not None:
                return limited
            if binding is not None and not self._bindings.spend(connection, binding, account.id):
                return not_good()
            accounts.insert_account(connection, self._scope, account, self._endpoint.clock(), address)
            return account, 201

        return await self._endpoint.write(work)

    async def update(self, call: Call, account: str) -> Reply:
        """Answer a POST to an account: read, change contacts, deactivate. Only the account itself may."""
        signed = await self._owner(call, account)
        update = decode_account_update(signed.payload) if signed.payload else AccountUpdate(None, deactivate=False)

        def work(connection: sa.Connection) -> Account | Rejected:
            found = accounts.find_account(connection, self._scope, account)
            if found is None or active(connection, signed):
                return deactivated()
            if update.deactivate:
                event, by = states.AccountEvent.DEACTIVATED, account_identity(account)
                return replace(found, status=end_account(connection, account, event, by, self._endpoint.clock()))
            if update.contact is not None:
                found = replace(found, contact=update.contact)
                accounts.update_account(connection, found)
            return found

        changes = update.deactivate or update.contact is not None
        result = await (self._endpoint.write(work) if changes else self._endpoint.read(work))
        if update.deactivate:
            self._authentication.forget(account)
        return self._reply(result, signed, 200)

    async def orders(self, call: Call, account: str) -> Reply:
        """Answer POST-as-GET to the orders list, newest first, in pages (section 7.1.2.1)."""
        signed = await self._owner(call, account)
        if signed.payload:
            raise malformed("the orders list is read with POST-as-GET")
        cursor = next(iter(parse_qs(urlsplit(call.target).query).get("cursor", ())), None)
        now = self._endpoint.clock()

        def work(connection: sa.Connection) -> tuple[str, ...] | Rejected:
            refusal = active(connection, signed)
            return refusal or orders.list_orders(connection, account, now, cursor, _PAGE + 1)

        listed = await self._endpoint.read(work)
        links: tuple[tuple[str, str], ...] = ()
        if len(listed) > _PAGE:
            listed = listed[:_PAGE]
            links = ((f"{signed.urls.orders(account)}?cursor={listed[-1]}", "next"),)
        return Reply(200, encode_orders(listed, signed.urls), links=links)

    async def change_key(self, call: Call) -> Reply:
        """Answer keyChange: the account's messages are signed with the new key from now on (section 7.3.5)."""
        signed = await self._authentication.by_account(call)
        new_key = self._new_key(signed)

        def work(connection: sa.Connection) -> Account | Rejected:
            found = accounts.find_account(connection, self._scope, signed.account)
            if found is None or active(connection, signed):
                return deactivated()
            holder = accounts.find_account_by_key(connection, self._scope, new_key.thumbprint)
            if holder is not None:
                detail = "the new key is the key of an account already"
                return Rejected(
                    ProblemDocument(ErrorType.MALFORMED, detail, 409, location=signed.urls.account(holder.id))
                )
            if is_compromised(connection, new_key.spki):
                return _compromised()
            found = replace(found, thumbprint=new_key.thumbprint, jwk=new_key.jwk)
            accounts.update_account(connection, found)
            return found

        changed = await self._endpoint.write(work)
        self._authentication.forget(signed.account)
        return self._reply(changed, signed, 200)

    def _new_key(self, signed: Signed) -> SigningKey:
        inner = decode_jws(signed.payload)
        if inner.jwk is None:
            raise malformed("the inner JWS has no jwk")
        if inner.nonce is not None:
            raise malformed("the inner JWS must not have a nonce")
        if inner.url != signed.message.url:
            raise malformed("the inner JWS is for another url")
        key = self._authentication.key(inner.jwk)
        jws.verify(inner, key)
        request = decode_key_change(inner.payload)
        if request.account != signed.message.kid:
            raise malformed("the inner JWS names another account")
        if account_key(request.old_key).thumbprint != signed.key.thumbprint:
            raise malformed("oldKey is not the key of the account")
        return key

    async def _owner(self, call: Call, account: str) -> Signed:
        signed = await self._authentication.by_account(call)
        if signed.account != account:
            raise rejected(ErrorType.UNAUTHORIZED, "an account can act on itself only")
        return signed

    def _reply(self, account: Account, signed: Signed, status: int) -> Reply:
        return Reply(status, encode_account(account, signed.urls), location=signed.urls.account(account.id))


def _compromised() -> Rejected:
    return rejected(ErrorType.BAD_PUBLIC_KEY, "a certificate with this key was revoked because the key was compromised")
