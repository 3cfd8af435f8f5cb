"""What one ACME endpoint is made of."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from policies.request import EndpointName, Protocol
from server.acme.messages import ErrorType, ProblemDocument, Rejected, Urls
from server.acme.records.orders import place
from server.acme.service.limits import RateLimits
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography import x509

    from policies.decision import Finding
    from policies.request import EnrollmentRequest
    from server.acme.challenges import ChallengeType
    from server.acme.challenges.caa import Caa
    from server.acme.nonces import NonceSource
    from server.acme.records.orders import Placed, Placement
    from server.clock import Clock
    from server.credentials import Sealer
    from server.enrollment import Enrollment
    from server.store import Store
    from server.store.lane import Work

T = TypeVar("T")

DEFAULT_LABEL = "default"
STORE_RETRY = 10
"""Seconds after which asking again makes sense when the database can't be read or written."""


def random_token() -> str:
    """Return 144 random bits in base64url, for identifiers of objects and tokens of challenges.

    None begins with a hyphen: identifiers are arguments of commands, too.
    """
    text = secrets.token_urlsafe(18)
    return text if text[0] != "-" else random_token()


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things take.

    Attributes:
        order_lifetime: how long an order may stay unfinished; its authorizations last as long.
        retries: the pauses between attempts of one validation, in seconds.
        attempt_lease: how long a validation belongs to a process that says nothing more; it says so at half that time.
        sweep: seconds between looks for validations that a dead process left behind.
        forget: seconds between looks for what is old enough to be removed.
        caa_again: for how long CAA records that were found are good (CA/Browser Forum BR 3.2.2.8).
        settle: seconds that answering a challenge, and reading it or its authorization, waits for an attempt under way.
        finalize: seconds that finalize waits for the certificate before it answers ``processing``.
        processing_retry: the Retry-After of a processing order, seconds.
    """

    order_lifetime: timedelta = timedelta(hours=24)
    retries: Sequence[float] = (5.0, 10.0)
    attempt_lease: timedelta = timedelta(seconds=20)
    sweep: float = 5.0
    forget: float = 3600.0
    caa_again: timedelta = timedelta(hours=8)
    settle: float = 1.0
    finalize: float = 15.0
    processing_retry: int = 5


@dataclass(frozen=True, slots=True)
class AcmeProfile:
    """What an endpoint knows of a profile that it offers.

    Attributes:
        description: what it is for, in one line.
        renewal: how long before its end a certificate should be renewed, or the share of its lifetime; None: a third.
    """

    description: str
    renewal: timedelta | float | None = None


@dataclass(frozen=True, slots=True)
class ExternalAccounts:
    """How external account bindings are judged (RFC 8555 section 7.3.4).

    Attributes:
        required: whether an account needs one.
        sealer: opens the keys, which are encrypted in the store.
    """

    required: bool
    sealer: Sealer


@dataclass(frozen=True, slots=True)
class Proofs:
    """How control over names is shown.

    Attributes:
        challenges: what is offered, the first offered first.
        caa: judges the CAA records of names; None where they are not looked at.
        issuer_names: what the records of dns-persist-01 call this CA.
    """

    challenges: tuple[ChallengeType, ...]
    caa: Caa | None = None
    issuer_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AcmeEndpoint:
    """An ACME service under one label, as it is configured.

    Attributes:
        label: the path segment; ``default`` is served without one.
        external_urls: origins under which clients reach the server, such as ``https://ca.example:8443``; a message is
            good only for the one it names.
        store: accounts, orders, authorizations.
        enrollment: the one door to the signer.
        nonces: against replay.
        challenges: how control over names may be shown, the first offered first.
        clock: the time.
        token: makes challenge tokens and identifiers of accounts, of at least 128 random bits, base64url.
        new_id: makes identifiers of orders and authorizations, in the same characters; those that begin with the time
            keep what is asked for together in one place of the database.
        objections_to_names: the policy, asked at newOrder about the names alone.
        timing: how long things take.
        profiles: those that the endpoint offers, the first for orders that name none.
        renewal_check: how often clients should look whether the renewal window has moved.
        external_accounts: what external account bindings are judged with; None when there are none here.
        directory_extra: returns members of the directory that no document knows; see `test_mode`.
        terms_of_service: the URL of the terms that new accounts must agree to, empty where there are none.
        changed_terms: the URL of a page that says how accounts agree to terms that have changed; they can't order
            before. Empty: accounts go on.
        website: the URL of a page about the service, empty where there is none.
        caa: judges the CAA records of names; None where they are not looked at.
        issuer_names: what the records of dns-persist-01 call this CA.
        pre_authorization: whether there is newAuthz (RFC 8555 section 7.4.1).
        reuse: whether orders rely on what was authorized before them.
        subdomains: whether a domain can be validated instead of names below it (RFC 9444).
        by_profile: how control is shown for orders of some profiles; for others, it is `challenges`, `caa` and
            `issuer_names`.
        limits: how much of what is allowed in how long.
        alternate_chains: other chains, each beginning with another certificate of an issuing CA.
        keep_orders: for how long orders are kept after they, or their certificates, expired.
        short_signatures: whether ECDSA signatures may lack the first octet of r and s where it is zero, as those of
            Apple's client do.
        name: the endpoint as policies and records name it, made of the label.
    """

    label: str
    external_urls: tuple[str, ...]
    store: Store
    enrollment: Enrollment
    nonces: NonceSource
    challenges: tuple[ChallengeType, ...]
    clock: Clock
    objections_to_names: Callable[[EnrollmentRequest], tuple[Finding, ...]]
    token: Callable[[], str] = random_token
    new_id: Callable[[], str] = random_token
    timing: Timing = Timing()
    profiles: Mapping[str, AcmeProfile] = field(default_factory=dict)
    renewal_check: timedelta = timedelta(hours=6)
    external_accounts: ExternalAccounts | None = None
    directory_extra: Callable[[], Mapping[str, object]] = dict
    terms_of_service: str = ""
    changed_terms: str = ""
    website: str = ""
    caa: Caa | None = None
    issuer_names: tuple[str, ...] = ()
    pre_authorization: bool = False
    reuse: bool = True
    subdomains: bool = False
    by_profile: Mapping[str, Proofs] = field(default_factory=dict)
    limits: RateLimits = field(default_factory=RateLimits)
    keep_orders: timedelta = timedelta(days=90)
    alternate_chains: tuple[tuple[x509.Certificate, ...], ...] = ()
    short_signatures: bool = False
    name: EndpointName = field(init=False, compare=False)
    _urls: dict[str | None, Urls] = field(init=False, repr=False, compare=False)
    _usual: Proofs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Put together what is asked for several times by each request."""
        object.__setattr__(self, "name", EndpointName(Protocol.ACME, self.label))
        object.__setattr__(self, "_urls", {origin: Urls(f"{origin}{self.prefix}") for origin in self.external_urls})
        object.__setattr__(self, "_usual", Proofs(self.challenges, self.caa, self.issuer_names))

    def proofs(self, profile: str | None) -> Proofs:
        """Return how control over names is shown for orders of a profile."""
        return self.by_profile.get(profile or "") or self._usual

    def same_proofs(self, one: str | None, other: str | None) -> bool:
        """Say whether what was shown for one profile counts for the other.

        How it was for a profile that is not offered any more is not known, so that counts for no other one.
        """
        if one != other and self.profiles and not {one, other} <= {None, *self.profiles}:
            return False
        return self.by_profile.get(one or "") is self.by_profile.get(other or "")

    @property
    def meta(self) -> dict[str, object]:
        """What the directory says of the server (RFC 8555 section 7.1.1)."""
        meta: dict[str, object] = {}
        if self.terms_of_service:
            meta["termsOfService"] = self.terms_of_service
        if self.website:
            meta["website"] = self.website
        judges = (self.caa, *(each.caa for each in self.by_profile.values()))
        identities = dict.fromkeys(name for each in judges if each is not None for name in each.identities)
        if identities:
            meta["caaIdentities"] = list(identities)
        if self.external_accounts is not None and self.external_accounts.required:
            meta["externalAccountRequired"] = True
        if self.subdomains:
            meta["subdomainAuthAllowed"] = True
        if self.profiles:
            meta["profiles"] = {name: each.description for name, each in self.profiles.items()}
        return meta

    @property
    def prefix(self) -> str:
        """The path below which everything of this endpoint is."""
        return "/acme" if self.label == DEFAULT_LABEL else f"/acme/{self.label}"

    def urls(self, origin: str | None = None) -> Urls:
        """Return the addresses under the external URL with this origin, or under the first."""
        return self._urls.get(origin) or self._urls[self.external_urls[0]]

    def account_urls(self, account: str) -> tuple[str, ...]:
        """Return the URLs of an account, one for each external URL."""
        return tuple(self.urls(each).account(account) for each in self.external_urls)

    async def write(self, work: Work[T | Rejected]) -> T:
        """Run a writing work. Raises Rejected: what the work returned as such, or 503 when the store has trouble."""
        try:
            return _accepted(await self.store.write(work))
        except StoreUnavailable:
            raise _unavailable() from None

    async def place(self, placement: Placement) -> Placed:
        """Record a new order together with those that come at the same time. Returns how it went. Raises as `write`."""
        try:
            return _accepted(await self.store.write_together(place, placement))
        except StoreUnavailable:
            raise _unavailable() from None

    async def read(self, work: Work[T | Rejected]) -> T:
        """Run a reading work. Raises Rejected: what the work returned as such, or 503 when the store has trouble."""
        try:
            return _accepted(await self.store.read(work))
        except StoreUnavailable:
            raise _unavailable() from None


def _accepted(result: T | Rejected) -> T:
    # A work that raised would undo and repeat what shares its transaction: refusals are returned, and raised here.
    if isinstance(result, Rejected):
        raise result
    return result


def _unavailable() -> Rejected:
    detail = "the server can't record anything at the moment"
    return Rejected(ProblemDocument(ErrorType.SERVER_INTERNAL, detail, 503, retry_after=STORE_RETRY))
