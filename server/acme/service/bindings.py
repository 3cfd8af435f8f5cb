"""External accounts: whether a new account is bound to a key that was handed out, and what that key is good for."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from policies.patterns import DnsPattern
from policies.request import account_identity
from server.acme.codec.binding import decode_binding
from server.acme.codec.device_identifiers import DEVICE_TYPES
from server.acme.codec.envelope import decode_jwk
from server.acme.codec.requests import compound
from server.acme.messages import ErrorType, Identifier, Rejected, Subproblem, rejected
from server.acme.records import accounts
from server.acme.service.authentication import account_key
from server.credentials import Unsealable
from server.store import credentials
from server.store.credentials import CredentialKind, StoredCredential

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.acme.messages import Binding, NewAccount, NewOrder
    from server.acme.service.authentication import Signed
    from server.acme.service.endpoint import AcmeEndpoint, ExternalAccounts

_HASHES = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_NOT_FOR = "the key that the account is bound to is not for this name"


def not_good() -> Rejected:
    """Return the one refusal for a binding that is well-formed and wrong, whatever is wrong with it."""
    return rejected(ErrorType.UNAUTHORIZED, "the external account binding is not good")


class Bindings:
    """Judges bindings, and orders of bound accounts."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self._endpoint = endpoint

    async def judge(self, signed: Signed, request: NewAccount) -> Binding | None:
        """Return the good binding of a new account, None where none is needed and none is there.

        Raises Rejected: externalAccountRequired, malformed, unauthorized.
        """
        external = self._endpoint.external_accounts
        if external is None:
            return None
        if request.binding is None:
            if external.required:
                detail = "an account needs an external account binding here: ask the operator for a key"
                raise rejected(ErrorType.EXTERNAL_ACCOUNT_REQUIRED, detail)
            return None
        binding = decode_binding(request.binding)
        found = await self._endpoint.read(lambda c: credentials.find(c, binding.kid))
        # The MAC is computed in any case: how long it takes says nothing about which key identifiers there are.
        key = self._key(external, found)
        right = hmac.compare_digest(hmac.digest(key, binding.signing_input, _HASHES[binding.alg]), binding.mac)
        if found is None or not right or not self._is_usable(found) or binding.url != signed.message.url:
            raise not_good()
        if account_key(decode_jwk(binding.jwk)).thumbprint != signed.key.thumbprint:
            raise not_good()
        return binding

    def spend(self, connection: sa.Connection, binding: Binding, account: str) -> bool:
        """Use the key once, in the transaction that records the account. Returns whether that could be done."""
        return credentials.spend(connection, (binding.kid,), account_identity(account), self._endpoint.clock())

    async def profile(self, signed: Signed, request: NewOrder) -> str | None:
        """Return the profile of a new order: the one asked for, or the first of the endpoint.

        Where the account's key is for some profiles only, the first of the endpoint means the first among these.

        Raises Rejected: invalidProfile, rejectedIdentifier, when the account's key is not for that.
        """
        first = next(iter(self._endpoint.profiles), None)
        asked = first if request.profile is None else request.profile
        if self._endpoint.external_accounts is None:
            return asked
        bound = await self._endpoint.read(lambda c: _bound(c, signed.account))
        if bound is None:
            return asked
        allowed = bound.profiles
        if allowed and request.profile is not None and request.profile not in allowed:
            detail = f"the key that the account is bound to is for {', '.join(allowed)} only"
            raise rejected(ErrorType.INVALID_PROFILE, detail)
        wrong = tuple(each for each in request.identifiers if bound.names and not _covered(each, bound.names))
        if wrong:
            problems = tuple(Subproblem(ErrorType.REJECTED_IDENTIFIER, _NOT_FOR, each) for each in wrong)
            raise Rejected(compound(problems, "the key that the account is bound to is not for some of the names"))
        if not allowed or asked in allowed:
            return asked
        return next((name for name in self._endpoint.profiles if name in allowed), allowed[0])

    def _key(self, external: ExternalAccounts, found: StoredCredential | None) -> bytes:
        if found is not None and found.sealed is not None:
            try:
                return external.sealer.open(found.sealed, found.id)
            except Unsealable:
                pass  # sealed with another file's key: as good as unknown
        return secrets.token_bytes(32)

    def _is_usable(self, found: StoredCredential) -> bool:
        here = found.kind is CredentialKind.ACME_EAB and found.endpoint == self._endpoint.name
        return here and found.objection(self._endpoint.clock()) is None


def _bound(connection: sa.Connection, account: str) -> StoredCredential | None:
    credential = accounts.credential_of(connection, account)
    return None if credential is None else credentials.find(connection, credential)


def check_pattern(text: str) -> None:
    """Raise ValueError when this is not understood: ``dns:`` with a pattern, or ``ip:`` with a network."""
    type_, _, pattern = text.partition(":")
    match type_:
        case "dns":
            DnsPattern.parse(pattern)
        case "ip":
            ip_network(pattern)
        case device if device in DEVICE_TYPES and pattern:
            return  # any text, with stars
        case _:
            raise ValueError(
                f"{text}: write dns:NAME, dns:*.NAME, dns:**.NAME, ip:NETWORK or permanent-identifier:TEXT*"
            )


def _covered(identifier: Identifier, patterns: tuple[str, ...]) -> bool:
    """Say whether one of the patterns covers the identifier."""
    wanted = [text.partition(":")[2] for text in patterns if text.partition(":")[0] == identifier.type]
    if identifier.type == "ip":
        return any(ip_address(identifier.value) in ip_network(pattern) for pattern in wanted)
    if identifier.type in DEVICE_TYPES:
        return any(fnmatchcase(identifier.value, pattern) for pattern in wanted)
    return any(DnsPattern.parse(pattern).matches(identifier.value, {}) for pattern in wanted)
