"""What ACME speaks of, as plain values (RFC 8555 section 7.1): identifiers, objects, requests, problems, addresses.

What every request makes several of is a named tuple: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from policies.decision import Finding

ALGORITHMS = ("ES256", "ES384", "ES512", "RS256", "EdDSA", "Ed25519")
"""Signature algorithms for account keys: no `none`, no MAC (RFC 8555 section 6.2); `Ed25519` is RFC 9864's name."""


class AccountStatus(StrEnum):
    """RFC 8555 section 7.1.6."""

    VALID = "valid"
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"


class OrderStatus(StrEnum):
    """RFC 8555 section 7.1.6."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class AuthorizationStatus(StrEnum):
    """RFC 8555 section 7.1.6."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ChallengeStatus(StrEnum):
    """RFC 8555 section 7.1.6."""

    PENDING = "pending"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


class ErrorType(StrEnum):
    """The error types of RFC 8555 section 6.7 that this server uses; nothing is invented in that namespace."""

    ACCOUNT_DOES_NOT_EXIST = "accountDoesNotExist"
    ALREADY_REPLACED = "alreadyReplaced"
    """RFC 9773."""
    ALREADY_REVOKED = "alreadyRevoked"
    BAD_ATTESTATION_STATEMENT = "badAttestationStatement"
    """draft-ietf-acme-device-attest."""
    BAD_CSR = "badCSR"
    BAD_NONCE = "badNonce"
    BAD_PUBLIC_KEY = "badPublicKey"
    BAD_REVOCATION_REASON = "badRevocationReason"
    BAD_SIGNATURE_ALGORITHM = "badSignatureAlgorithm"
    CAA = "caa"
    COMPOUND = "compound"
    CONNECTION = "connection"
    DNS = "dns"
    EXTERNAL_ACCOUNT_REQUIRED = "externalAccountRequired"
    INCORRECT_RESPONSE = "incorrectResponse"
    INVALID_CONTACT = "invalidContact"
    INVALID_PROFILE = "invalidProfile"
    """draft-ietf-acme-profiles."""
    MALFORMED = "malformed"
    ORDER_NOT_READY = "orderNotReady"
    RATE_LIMITED = "rateLimited"
    REJECTED_IDENTIFIER = "rejectedIdentifier"
    SERVER_INTERNAL = "serverInternal"
    TLS = "tls"
    UNAUTHORIZED = "unauthorized"
    UNSUPPORTED_CONTACT = "unsupportedContact"
    UNSUPPORTED_IDENTIFIER = "unsupportedIdentifier"
    USER_ACTION_REQUIRED = "userActionRequired"


_STATUS = {
    ErrorType.ALREADY_REPLACED: 409,
    ErrorType.CAA: 403,
    ErrorType.EXTERNAL_ACCOUNT_REQUIRED: 403,
    ErrorType.INCORRECT_RESPONSE: 403,
    ErrorType.ORDER_NOT_READY: 403,
    ErrorType.RATE_LIMITED: 429,
    ErrorType.SERVER_INTERNAL: 500,
    ErrorType.UNAUTHORIZED: 403,
    ErrorType.USER_ACTION_REQUIRED: 403,
}


class Identifier(NamedTuple):
    """An ACME identifier: its type (``dns``) and its normalised value, a leading ``*.`` kept."""

    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Subproblem:
    """One part of a problem, about one identifier (RFC 8555 section 6.7.1)."""

    type: ErrorType
    detail: str
    identifier: Identifier


@dataclass(frozen=True, slots=True)
class ProblemDocument:
    """A problem document (RFC 7807, RFC 8555 section 6.7).

    Attributes:
        type: the error type.
        detail: one sentence for the client; never the peer's bytes, never an internal cause.
        status: the HTTP status; 0 stands for the usual one of the type.
        subproblems: one for each identifier at fault.
        algorithms: what is accepted, for badSignatureAlgorithm (section 6.2).
        retry_after: seconds, None when trying again makes no sense.
        location: a URL for the Location header (section 7.3.5), empty for none.
        links: targets and relations for Link headers (section 7.3.3).
        instance: a URL where people read what they have to do (section 7.3.3), empty for none.
    """

    type: ErrorType
    detail: str
    status: int = 0
    subproblems: tuple[Subproblem, ...] = ()
    algorithms: tuple[str, ...] = ()
    retry_after: int | None = None
    location: str = ""
    links: tuple[tuple[str, str], ...] = ()
    instance: str = ""

    @property
    def http_status(self) -> int:
        """The HTTP status to answer with."""
        return self.status or _STATUS.get(self.type, 400)


class Rejected(Exception):
    """The request is answered with a problem document.

    Attributes:
        document: what the client is told.
        findings: the policy's reasons, for the record.
        recorded: True when the refusal is on record already (the enrollment door wrote it).
    """

    def __init__(
        self, document: ProblemDocument, *, findings: tuple[Finding, ...] = (), recorded: bool = False
    ) -> None:
        super().__init__(document.detail)
        self.document = document
        self.findings = findings
        self.recorded = recorded


def rejected(error: ErrorType, detail: str, status: int = 0) -> Rejected:
    """Return the exception for the plain case: a type and a sentence."""
    return Rejected(ProblemDocument(error, detail, status))


@dataclass(frozen=True, slots=True)
class Jwk:
    """The public members of a JSON Web Key (RFC 7517, RFC 8037), decoded, of the kinds that are taken.

    Attributes:
        kty: ``RSA``, ``EC`` or ``OKP``.
        crv: ``P-256``, ``P-384``, ``P-521``, ``Ed25519``, empty for RSA.
        first: modulus, x coordinate or public key, as the octets that were sent.
        second: exponent or y coordinate, empty for OKP.
    """

    kty: str
    crv: str
    first: bytes
    second: bytes


class Jws(NamedTuple):
    """A decoded flattened JWS whose signature is not verified yet (RFC 8555 section 6.2).

    Attributes:
        alg: one of `ALGORITHMS`.
        nonce: the nonce, None when absent.
        url: the url header parameter.
        kid: the account URL, None when there is a jwk.
        jwk: the key, None when there is a kid.
        payload: the payload; empty for POST-as-GET.
        signing_input: what the signature is over.
        signature: the signature.
    """

    alg: str
    nonce: bytes | None
    url: str
    kid: str | None
    jwk: Jwk | None
    payload: bytes
    signing_input: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class NewAccount:
    """The payload of newAccount (RFC 8555 section 7.3), with the external account binding as it came, not judged."""

    contact: tuple[str, ...]
    terms_agreed: bool
    only_return_existing: bool
    binding: object = None


@dataclass(frozen=True, slots=True)
class Binding:
    """A decoded external account binding whose MAC is not verified yet (RFC 8555 section 7.3.4).

    Attributes:
        alg: ``HS256``, ``HS384`` or ``HS512``.
        kid: the key identifier.
        url: the url header parameter.
        jwk: the account key that is bound, as it came.
        signing_input: what the MAC is over.
        mac: the MAC.
        members: the JWS itself.
    """

    alg: str
    kid: str
    url: str
    jwk: object
    signing_input: bytes
    mac: bytes
    members: dict[str, object]


@dataclass(frozen=True, slots=True)
class AccountUpdate:
    """The payload of an account update (RFC 8555 sections 7.3.2 and 7.3.6); None leaves the contacts as they are."""

    contact: tuple[str, ...] | None
    deactivate: bool


class NewOrder(NamedTuple):
    """The payload of newOrder (RFC 8555 section 7.4).

    Attributes:
        identifiers: normalised, without repetition.
        replaces: the certificate that is replaced (RFC 9773 section 5).
        profile: the profile that is asked for (draft-ietf-acme-profiles).
        ancestors: identifiers with the domain above them that is to be validated instead (RFC 9444 section 4.3).
    """

    identifiers: tuple[Identifier, ...]
    replaces: str | None = None
    profile: str | None = None
    ancestors: tuple[tuple[Identifier, str], ...] = ()


@dataclass(frozen=True, slots=True)
class NewAuthorization:
    """The payload of newAuthz (RFC 8555 section 7.4.1), and whether it is for names below, too (RFC 9444)."""

    identifier: Identifier
    subdomains: bool


@dataclass(frozen=True, slots=True)
class Revocation:
    """The payload of revokeCert (RFC 8555 section 7.6): DER of the certificate, the CRLReason, None when absent."""

    certificate: bytes
    reason: int | None


@dataclass(frozen=True, slots=True)
class KeyChange:
    """The payload of the inner JWS of keyChange (RFC 8555 section 7.3.5)."""

    account: str
    old_key: Jwk


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is stored.

    Attributes:
        id: the last segment of its URL.
        status: its state.
        contact: its contact URLs.
        terms_agreed: whether the client agreed to the terms of service.
        thumbprint: RFC 7638 thumbprint of its key.
        jwk: its key as canonical JSON.
        binding: the external account binding with which it was made.
        credential: the identifier of the binding's key.
        terms: the URL of the terms of service that it agreed to, None when that is not known.
    """

    id: str
    status: AccountStatus
    contact: tuple[str, ...]
    terms_agreed: bool
    thumbprint: str
    jwk: str
    binding: dict[str, object] | None = None
    credential: str | None = None
    terms: str | None = None


class Owner(NamedTuple):
    """Who signed a request: what belongs to an account is found only with both.

    Attributes:
        account: the account.
        thumbprint: the key that signed; the account must still have it.
    """

    account: str
    thumbprint: str


class Challenge(NamedTuple):
    """A challenge as it is stored (RFC 8555 section 8).

    Attributes:
        type: ``http-01``.
        token: the token, at least 128 random bits, base64url.
        status: its state.
        validated: when it became valid.
        error: the last failure, as the JSON object of its problem document.
        attested: SHA-256, hex, of the SubjectPublicKeyInfo that a device has attested; None for other challenges.
    """

    type: str
    token: str
    status: ChallengeStatus
    validated: datetime | None = None
    error: dict[str, object] | None = None
    attested: str | None = None


class Attempt(NamedTuple):
    """One attempt to validate, for administrators.

    Attributes:
        at: when it began.
        challenge: the type of the challenge.
        seconds: how long it took.
        trail: what was looked up, connected to and found, a line each.
        error: the error type of the failure, empty when control was shown.
        detail: what the client was told.
    """

    at: datetime
    challenge: str
    seconds: float
    trail: tuple[str, ...]
    error: str = ""
    detail: str = ""


class Authorization(NamedTuple):
    """An authorization as it is stored; `status` is the one derived from the present time.

    Attributes:
        id, account, order: its own identifier and those it belongs to; no order for those that came before any.
        identifier: the identifier without ``*.``.
        wildcard: whether the order asked for ``*.`` of it.
        status, expires: its state.
        challenges: what may be answered.
        attempts: validations tried so far.
        thumbprint: RFC 7638 thumbprint of the key that answered the challenge, None before (section 8.3: a later
            change of the key does not change what is expected).
        profile: the profile of the order, which says how validations are made.
        subdomains: whether it is good for every name below the identifier, too (RFC 9444).
        history: the attempts made so far.
    """

    id: str
    account: str
    order: str
    identifier: Identifier
    wildcard: bool
    status: AuthorizationStatus
    expires: datetime
    challenges: tuple[Challenge, ...]
    attempts: int = 0
    thumbprint: str | None = None
    profile: str | None = None
    history: tuple[Attempt, ...] = ()
    subdomains: bool = False


class Order(NamedTuple):
    """An order as it is stored; `status` is the one derived from the present time.

    Attributes:
        id, account: its own identifier and its account's.
        status, expires: its state.
        identifiers: what the certificate will name.
        authorizations: identifiers of its authorizations, in the order of the identifiers.
        error: why it is invalid, as the JSON object of a problem document.
        csr: DER of the accepted request; None before finalize.
        request_id: the record of the request at the enrollment door, None before there is one.
        certificate: whether there is a certificate to download.
        replaces: the certificate that it replaces, by its identifier of RFC 9773.
        profile: the profile of the certificate; None for orders that were made before profiles were recorded.
        expired: whether it is invalid because its time ran out.
    """

    id: str
    account: str
    status: OrderStatus
    expires: datetime
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    error: dict[str, object] | None = None
    csr: bytes | None = None
    request_id: str | None = None
    certificate: bool = False
    replaces: str | None = None
    profile: str | None = None
    expired: bool = False


def authorization_status(stored: AuthorizationStatus, expires: datetime, now: datetime) -> AuthorizationStatus:
    """Return what the stored status means now: pending and valid authorizations expire."""
    expired = expires <= now and stored in {AuthorizationStatus.PENDING, AuthorizationStatus.VALID}
    return AuthorizationStatus.EXPIRED if expired else stored


def order_status(stored: OrderStatus, expires: datetime, now: datetime) -> OrderStatus:
    """Return what the stored status means now: pending and ready orders expire and are invalid then."""
    expired = expires <= now and stored in {OrderStatus.PENDING, OrderStatus.READY}
    return OrderStatus.INVALID if expired else stored


@dataclass(frozen=True, slots=True)
class Urls:
    """The addresses of one endpoint under one of its external URLs.

    Attributes:
        base: external URL and path prefix, such as ``https://ca.example:8443/acme``, without trailing slash.
    """

    base: str

    @property
    def directory(self) -> str:
        """The directory."""
        return f"{self.base}/directory"

    def account(self, account: str) -> str:
        """An account; the value of kid."""
        return f"{self.base}/account/{account}"

    def orders(self, account: str) -> str:
        """The orders list of an account."""
        return f"{self.base}/account/{account}/orders"

    def order(self, order: str) -> str:
        """An order."""
        return f"{self.base}/order/{order}"

    def finalize(self, order: str) -> str:
        """The finalize resource of an order."""
        return f"{self.base}/order/{order}/finalize"

    def certificate(self, order: str) -> str:
        """The certificate of an order."""
        return f"{self.base}/certificate/{order}"

    def authorization(self, authorization: str) -> str:
        """An authorization."""
        return f"{self.base}/authorization/{authorization}"

    def challenge(self, authorization: str, type_: str) -> str:
        """A challenge of an authorization."""
        return f"{self.base}/challenge/{authorization}/{type_}"

    @property
    def renewal_info(self) -> str:
        """Renewal information; a certificate's identifier follows after a slash."""
        return f"{self.base}/renewal-info"


class Reply(NamedTuple):
    """What is answered, before the headers that every response carries.

    Attributes:
        status: HTTP status.
        body: the body.
        content_type: its media type.
        location: Location header, empty for none.
        links: targets and relations for Link headers, beside ``index``.
        retry_after: seconds for Retry-After.
        facts: what the event of this request shall carry.
    """

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    location: str = ""
    links: tuple[tuple[str, str], ...] = ()
    retry_after: int | None = None
    facts: Mapping[str, str] = MappingProxyType({})
