"""All that a policy may know of a request, whatever protocol brought it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from ca.csr import Csr
    from ca.names import DistinguishedName, GeneralName


class Protocol(StrEnum):
    """The protocols that endpoints speak, and those for which the server asks for certificates of its own."""

    ACME = "acme"
    EST = "est"
    SCEP = "scep"
    OCSP = "ocsp"
    """``ocsp/ISSUER`` asks for the certificate of that issuer's OCSP responder; nobody outside can."""
    TLS = "tls"
    """``tls/https`` asks for the certificate of the https listener; nobody outside can."""


ENDPOINT_PROTOCOLS = (Protocol.ACME, Protocol.EST, Protocol.SCEP)
"""Those that can be configured and that profiles can be for."""


@dataclass(frozen=True, slots=True, order=True)
class EndpointName:
    """One mounted protocol with its label, written ``est/plant``."""

    protocol: Protocol
    label: str

    def __str__(self) -> str:
        return f"{self.protocol}/{self.label}"

    def __hash__(self) -> int:
        """Hash what tells most endpoints apart; much is looked up by them, and words of enumerations hash slowly."""
        return hash(self.label)

    @classmethod
    def parse(cls, text: str) -> EndpointName:
        """Read ``protocol/label``. Raises ValueError."""
        protocol, slash, label = text.partition("/")
        if not slash or not label or "/" in label:
            raise ValueError(f"an endpoint is written protocol/label, like est/default, not {text!r}")
        return cls(Protocol(protocol), label)


class Kind(StrEnum):
    """What is asked for."""

    ENROLL = "enroll"
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class PasswordEvidence:
    """An HTTP password was presented and is right."""

    username: str


@dataclass(frozen=True, slots=True)
class ChallengeEvidence:
    """A SCEP challenge password was presented and is right.

    Attributes:
        source: ``static`` or the kind of one-time challenge.
    """

    source: str


@dataclass(frozen=True, slots=True)
class CertificateEvidence:
    """A certificate was presented, its key proven, its chain, validity and revocation judged.

    Attributes:
        subject, names: the certificate's own.
        serial: its serial number.
        not_after: its end of validity.
        anchor: ``own`` for a certificate issued here, else the configured name of the foreign trust anchor.
        profile: the profile it was issued under, None for a foreign one.
        endpoint: the endpoint it was issued through, None for a foreign one.
    """

    subject: DistinguishedName
    names: tuple[GeneralName, ...]
    serial: int
    not_after: datetime
    anchor: str
    profile: str | None
    endpoint: EndpointName | None


@dataclass(frozen=True, slots=True)
class RegistrationAuthorityEvidence:
    """A registration authority of this endpoint asks for somebody else, whom it knows (RFC 7030 section 3.7).

    Attributes:
        serial: the serial number of its certificate, which was issued here.
        profile: the profile it was issued under.
    """

    serial: int
    profile: str


@dataclass(frozen=True, slots=True)
class AccountEvidence:
    """An ACME account signed the request, and each of these names was validated for it.

    Attributes:
        account: the account's identifier.
        authorized: the identifiers of the order, all with a valid authorization.
    """

    account: str
    authorized: tuple[GeneralName, ...]


@dataclass(frozen=True, slots=True)
class DeviceEvidence:
    """Devices have attested that the key of the request is in them (draft-ietf-acme-device-attest).

    Attributes:
        devices: their identifiers, such as serial numbers.
    """

    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PossessionEvidence:
    """Nobody has proven more than to have the private key: a person must find out who it is (RFC 8894 section 2.4).

    Attributes:
        key: SHA-256 of the SubjectPublicKeyInfo, in hexadecimal digits: what the person can compare.
    """

    key: str


Evidence = (
    PasswordEvidence
    | ChallengeEvidence
    | CertificateEvidence
    | RegistrationAuthorityEvidence
    | AccountEvidence
    | DeviceEvidence
    | PossessionEvidence
)

EVIDENCE_WORDS: dict[type, str] = {
    PasswordEvidence: "password",
    ChallengeEvidence: "challenge",
    CertificateEvidence: "certificate",
    RegistrationAuthorityEvidence: "ra",
    AccountEvidence: "account",
    DeviceEvidence: "device",
    PossessionEvidence: "possession",
}
"""The words by which policy files and records name kinds of evidence."""


def password_identity(username: str) -> str:
    """Return the identity of who has a password, as `Requester` has it."""
    return f"password:{username}"


def certificate_identity(serial: int) -> str:
    """Return the identity of who holds a certificate of ours with this serial number."""
    return f"certificate:{serial:x}"


def account_identity(account: str) -> str:
    """Return the identity of an ACME account."""
    return f"account:{account}"


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks, with the evidence.

    Attributes:
        identity: a stable name, prefixed by its kind: ``password:pump-17``, ``certificate:<serial, hex>``
            for one of ours, ``certificate:<anchors>.<issuer>.<serial>`` for another CA's, ``challenge:static``,
            ``account:<id>``.
        evidence: what was presented and found right; never empty for an authenticated requester.
        address: the peer's IP address as text, None when there is none.
    """

    identity: str
    evidence: tuple[Evidence, ...]
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Renewed:
    """The certificate that a renewal replaces.

    Attributes:
        serial: its serial number.
        subject, names: its own; what is asked for is compared with them.
        spki: DER of its public key.
        not_before, not_after: its validity.
        profile: the profile it was issued under.
        endpoint: the endpoint it was issued through.
    """

    serial: int
    subject: DistinguishedName
    names: tuple[GeneralName, ...]
    spki: bytes
    not_before: datetime
    not_after: datetime
    profile: str
    endpoint: EndpointName


@dataclass(frozen=True, slots=True)
class LookupAnswer:
    """What the server looked up about a request before it is judged.

    Attributes:
        name: the look-up's name in the profile.
        source: the source's name in the configuration.
        found: whether the source knows what was asked for.
        values: what it says, by name.
        age: how many seconds ago it said so.
        error: why there is no answer; empty when there is one.
    """

    name: str
    source: str
    found: bool = False
    values: tuple[tuple[str, str], ...] = ()
    age: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the server has gathered for a profile that wants it; what nobody wants is not gathered.

    Attributes:
        lookups: the answers, one for each look-up of the profile.
        active: how many valid certificates of the profile the requester holds; None when not counted.
        issued_to_requester, issued_under_profile: how many were issued lately, within the quota's time.
        key_renewals: how often the key was renewed before, as the certificates tell that led to the one in question.
        key_holders: others who have had a certificate for the same key; None when that was not looked up.
        origin: for a renewal, who asked for the first certificate of the line; None when that was not looked up.
    """

    lookups: tuple[LookupAnswer, ...] = ()
    active: int | None = None
    issued_to_requester: int | None = None
    issued_under_profile: int | None = None
    key_renewals: int | None = None
    key_holders: tuple[str, ...] | None = None
    origin: str | None = None


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class PendingLimits:
    """How many requests may wait for a person at once.

    Attributes:
        endpoint: at the endpoint.
        address: of those from one address.
    """

    endpoint: int
    address: int


@dataclass(frozen=True, slots=True)
class EnrollmentRequest:
    """One question to the policy and to the one door behind it.

    Attributes:
        key: the idempotency key, unique for what must be issued once; chosen by the protocol (architecture, "How a
            CSR flows"). Any text; it is hashed before it is stored.
        kind: first enrollment or renewal.
        endpoint: where it came in.
        profile: the profile that was asked for by name, None to use the first of the endpoint that fits.
        csr: the parsed certification request.
        requester: who asks.
        now: the time of the request, aware UTC.
        renewed: the certificate to be renewed; None for a first enrollment.
        transaction: the protocol's own identifier, for people who search: SCEP transactionID, ACME order.
        spends: the identifiers of the one-time secrets that were presented; each is used up together with the intent
            to issue, by the first request with this key alone.
        instead_of: identifiers of requests that this one takes the place of: what they have used up of `spends` is
            this one's from then on, and nobody else's.
        facts: what the server has gathered for the profile.
        pending: how many may wait for a person together with this one; None: any number.
        signer: SHA-256, hex, of the key that signed the message around the request, where whoever asks for it later
            must sign with the same.
    """

    key: str
    kind: Kind
    endpoint: EndpointName
    profile: str | None
    csr: Csr
    requester: Requester
    now: datetime
    renewed: Renewed | None = None
    transaction: str | None = None
    spends: tuple[str, ...] = ()
    instead_of: tuple[str, ...] = ()
    facts: Facts = NO_FACTS
    pending: PendingLimits | None = None
    signer: str | None = None


def requester_name(request: EnrollmentRequest) -> str:
    """Return the name of who asks, without its kind.

    Who renews with nothing but a certificate is who asked for the first of its line: a device stays who it is.
    """
    kind, _, name = request.requester.identity.partition(":")
    if kind == "certificate" and request.kind is Kind.RENEW and request.facts.origin is not None:
        return request.facts.origin.partition(":")[2]
    return name
