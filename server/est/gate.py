"""Who asks: what came in over HTTP and TLS, judged before anything that it asks for is looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ObjectIdentifier

from policies.request import (
    EndpointName,
    PasswordEvidence,
    Protocol,
    RegistrationAuthorityEvidence,
    certificate_identity,
    password_identity,
)
from server.credentials import Redeemable, ThirdParty
from server.est import codec, problems
from server.est.messages import Operation
from server.outcome import Problem, Reason
from server.store.credentials import CredentialKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ca.csr import Csr
    from policies.expectations import Expectations
    from policies.request import CertificateEvidence, EnrollmentRequest, Evidence
    from server.clock import Clock
    from server.config import EstEndpointConfig
    from server.credentials import Credentials
    from server.enrollment import Enrollment
    from server.est.cmc.responses import Responder
    from server.est.generated import GeneratedKeys
    from server.est.keygen import KeyGenerator, NewKey
    from server.peer import PeerIdentity
    from server.store.certificates import StoredCertificate

_Found: TypeAlias = "tuple[CertificateEvidence, StoredCertificate] | ThirdParty | Problem | None"
_CMC_RA = ObjectIdentifier("1.3.6.1.5.5.7.3.28")


async def no_crl() -> None:
    """Say that there is no revocation list."""


@dataclass(frozen=True, slots=True)
class EstEndpoint:
    """An EST service under one label.

    Attributes:
        label: the path segment; the service without a label is ``default``.
        config: how requesters prove who they are, and the compatibility switches.
        enrollment: the one door to the signer.
        credentials: judges passwords and certificates.
        chain: returns the issuing CA's certificate and those above it, root last.
        clock: tells the time of a request.
        generated: what becomes of the keys that are made for devices, None where none are made.
        newest_crl: returns the newest revocation list of the issuing CA, DER, None where there is none; raises
            StoreUnavailable.
        name: the endpoint as policies and records name it.
        responder: signs the responses of fullcmc, None where it is not served.
        peers: returns DER of the certificates of peers, None where none are distributed; raises StoreUnavailable.
        links: certificates that link the root with another one while roots change, and that one.
        generator: makes keys for devices, None where it does not.
        expected: returns what the profile that judges its requests wants of them, None when there is no profile.
        judging: the same for one request: who asks, and for what, may matter among several profiles.
    """

    label: str
    config: EstEndpointConfig
    enrollment: Enrollment
    credentials: Credentials
    chain: Callable[[], tuple[x509.Certificate, ...]]
    clock: Clock
    expected: Callable[[], Expectations | None] = lambda: None
    judging: Callable[[EnrollmentRequest], Expectations | None] = lambda _: None
    generator: KeyGenerator | None = None
    responder: Responder | None = None
    peers: Callable[[], Awaitable[tuple[bytes, ...]]] | None = None
    generated: GeneratedKeys | None = None
    links: tuple[x509.Certificate, ...] = ()
    newest_crl: Callable[[], Awaitable[bytes | None]] = no_crl
    name: EndpointName = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", EndpointName(Protocol.EST, self.label))

    @property
    def realm(self) -> str | None:
        """The realm of HTTP Basic, None where passwords are not accepted."""
        return str(self.name) if self.config.authenticate.takes_passwords else None


class Submission(NamedTuple):
    """A simpleenroll, simplereenroll or serverkeygen request as it came in.

    Attributes:
        operation: which of them.
        authorization: the values of all Authorization fields.
        peer: what TLS knows of the peer.
        address: the peer's IP address, None when there is none.
        body: reads the body; raises Malformed when it is too large or of another media type.
        note: adds fields to the request's event.
        new_key: makes the key of a serverkeygen request, None for others.
    """

    operation: Operation
    authorization: tuple[str, ...]
    peer: PeerIdentity
    address: str | None
    body: Callable[[], Awaitable[bytes]]
    note: Callable[..., None]
    new_key: NewKey | None = None

    def __repr__(self) -> str:
        """Keep to itself what Authorization holds: who writes an error down may write this."""
        return f"Submission({self.operation.value}, {self.address})"


class Refusal(Exception):
    """A refusal before the policy is asked.

    Attributes:
        problem: why.
        requester: who asks or claims to, None when nothing says so.
        csr: what was asked for, None when that was not read.
        recorded: whether it goes on record.
    """

    def __init__(
        self, problem: Problem, requester: str | None = None, *, csr: Csr | None = None, recorded: bool = True
    ) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.requester = requester
        self.csr = csr
        self.recorded = recorded


class Caller(NamedTuple):
    """Who asks: a user whose password is right, the holder of a certificate of ours that stands, or both.

    Attributes:
        password: the evidence of HTTP Basic or of a one-time password, None without.
        certificate: the evidence of TLS, None without.
        stored: the certificate's record, None without and for one of another party.
        ra: what a registration authority's certificate is good for besides its own renewal, None for others.
        redeemed: what the password is good for, None when it is not one of the store.
        renews_own: whether the certificate that is presented is the one to be renewed; it then names the requester.
        foreign: what the holder of a certificate of another party is called, None for one of ours.
    """

    password: PasswordEvidence | None = None
    certificate: CertificateEvidence | None = None
    stored: StoredCertificate | None = None
    ra: RegistrationAuthorityEvidence | None = None
    redeemed: Redeemable | None = None
    renews_own: bool = False
    foreign: str | None = None

    @property
    def identity(self) -> str | None:
        """The stable name of the requester; who has both is named by the password, which outlives certificates."""
        if self.password is not None and not self.renews_own:
            return password_identity(self.password.username)
        if self.certificate is None:
            return None
        return self.foreign or certificate_identity(self.certificate.serial)

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """All that was presented and is right."""
        return tuple([one for one in (self.password, self.ra or self.certificate) if one is not None])


NOTHING_TO_RENEW = Problem(
    Reason.NOT_RENEWABLE,
    "simplereenroll takes the certificate that is to be renewed as TLS client certificate (RFC 7030 section 3.3.2); "
    "without one, use simpleenroll.",
)
_UNAUTHENTICATED = Problem(Reason.UNAUTHENTICATED, "Authenticate by a TLS client certificate that this service issued.")
_BOTH = Problem(Reason.UNAUTHENTICATED, "This service wants both a password and a TLS client certificate.")
_NOT_BASIC = Problem(Reason.BAD_CREDENTIALS, "The Authorization header is not one of HTTP Basic.")
_UNKNOWN = Problem(
    Reason.CERTIFICATE_REJECTED,
    "The TLS client certificate is of a CA that this service does not know, or came without the CAs above it.",
)
_UNREADABLE = Problem(Reason.CERTIFICATE_REJECTED, "The TLS client certificate can't be read.")


async def authenticate(endpoint: EstEndpoint, submission: Submission, *, more_follows: bool = False) -> Caller:
    """Settle who asks (RFC 7030 sections 3.2.3 and 3.3.2). Raises Refusal.

    A wrong password is refused whatever else was presented. A certificate that does not stand is refused too, unless
    a right password makes it unnecessary: devices present what they have, even when it has expired. Where both are
    wanted, who has no certificate that stands is not told whether a password is right.

    The caller may be nobody yet where a one-time password may stand in the request itself; `expect_enough` tells.

    Args:
        endpoint: where.
        submission: what it came with.
        more_follows: whether the request itself may say more, whatever the endpoint takes otherwise (fullcmc).
    """
    ways = endpoint.config.authenticate
    found = await _certificate(endpoint, submission)
    if ways.require == "both" and not isinstance(found, tuple | ThirdParty):
        _expect_certificate(endpoint, submission, found, more_follows=more_follows)
        return Caller()
    password, redeemed = await _password(endpoint, submission, found)
    if isinstance(found, Problem):
        unnecessary = password is not None and submission.operation is not Operation.SIMPLEREENROLL
        if not unnecessary or found.reason is not Reason.CERTIFICATE_REJECTED:
            raise Refusal(found, _claimed(endpoint, submission))
        submission.note(certificate=found.message)
        return Caller(password, redeemed=redeemed)
    if found is None:
        caller = Caller(password, redeemed=redeemed)
    elif isinstance(found, ThirdParty):
        caller = Caller(password, found.evidence, redeemed=redeemed, foreign=found.identity)
    else:
        certificate, stored = found
        caller = Caller(password, certificate, stored, _registration_authority(endpoint, stored), redeemed)
    if submission.operation is Operation.SIMPLEREENROLL and caller.stored is None:
        if caller.certificate is None or not endpoint.config.reenroll_first:
            raise Refusal(NOTHING_TO_RENEW, caller.identity)
        submission.note(reenroll="first enrollment")
    if not more_follows and (submission.authorization or not ways.one_time_passwords):
        expect_enough(endpoint, caller)
    return caller


def _expect_certificate(
    endpoint: EstEndpoint, submission: Submission, found: Problem | None, *, more_follows: bool
) -> None:
    """Raise Refusal when there is no certificate that stands, whatever the password: it can't make up for it.

    A full request without one is nobody's, and may yet be about what is shown by its own key or secret.
    """
    if found is None and not more_follows:
        renews = submission.operation is Operation.SIMPLEREENROLL
        raise Refusal(NOTHING_TO_RENEW if renews else problems.CERTIFICATE_FIRST)
    if isinstance(found, Problem):
        raise Refusal(found, _claimed(endpoint, submission))


def _claimed(endpoint: EstEndpoint, submission: Submission) -> str | None:
    """Return what records call who presented a certificate that does not stand: ours have a name that no other has."""
    leaf = submission.peer.leaf
    return None if leaf is None else f"certificate:{'' if _is_ours(endpoint, leaf) else '?.'}{leaf.serial_number:x}"


def _is_ours(endpoint: EstEndpoint, leaf: x509.Certificate) -> bool:
    """Tell whether a certificate names a CA of ours as its issuer."""
    try:
        return endpoint.credentials.issues_as(leaf.issuer.public_bytes())
    except (ValueError, TypeError):  # a name that is no text
        return False


def expect_enough(endpoint: EstEndpoint, caller: Caller, csr: Csr | None = None) -> None:
    """Raise Refusal when the caller has not presented what the endpoint wants."""
    if not caller.evidence:
        # The challenge to a client that says nothing of itself is how HTTP works, and no refusal to be recorded.
        lacks = problems.CERTIFICATE_FIRST if lacks_certificate(endpoint, caller) else _UNAUTHENTICATED
        raise Refusal(lacks, recorded=endpoint.realm is None)
    if endpoint.config.authenticate.require == "both" and len(caller.evidence) < 2:
        raise Refusal(_BOTH, caller.identity, csr=csr)


def lacks_certificate(endpoint: EstEndpoint, caller: Caller) -> bool:
    """Tell whether no password can be of use: both are wanted, and there is no certificate that stands.

    No secret is judged then, so that nobody learns whether it is right.
    """
    return endpoint.config.authenticate.require == "both" and caller.certificate is None


async def redeem(endpoint: EstEndpoint, submission: Submission, caller: Caller, secret: str, csr: Csr) -> Caller:
    """Return the caller with the one-time password that stands in the request itself. Raises Refusal."""
    if lacks_certificate(endpoint, caller):
        raise Refusal(problems.CERTIFICATE_FIRST, caller.identity, csr=csr, recorded=endpoint.realm is None)
    username = caller.password.username if caller.password is not None else None
    found = await endpoint.credentials.redeem(
        CredentialKind.EST_PASSWORD, endpoint.name, secret, username=username, address=submission.address
    )
    if isinstance(found, Problem):
        raise Refusal(found, caller.identity, csr=csr, recorded=found.reason is not Reason.RATE_LIMITED)
    if caller.redeemed is not None and caller.redeemed.id != found.id:
        raise Refusal(Problem(Reason.BAD_CREDENTIALS, "Two one-time passwords were presented."), caller.identity)
    return caller._replace(password=PasswordEvidence(found.username), redeemed=found)


async def _password(
    endpoint: EstEndpoint, submission: Submission, certificate: _Found
) -> tuple[PasswordEvidence | None, Redeemable | None]:
    """Judge HTTP Basic. Raises Refusal.

    A device keeps sending the one-time password that it was given, also with the certificate that it got for it. Beside
    a certificate that stands, a password that is used up counts as none.
    """
    if not submission.authorization or not endpoint.config.authenticate.takes_passwords:
        return None, None
    credentials = codec.parse_basic(submission.authorization[0]) if len(submission.authorization) == 1 else None
    if credentials is None:
        raise Refusal(_NOT_BASIC)
    found = await endpoint.credentials.password(
        endpoint.name, credentials.username, credentials.password, address=submission.address
    )
    if isinstance(found, Redeemable):
        return PasswordEvidence(found.username), found
    if isinstance(found, Problem):
        if isinstance(certificate, tuple) and endpoint.config.authenticate.one_time_passwords:
            submission.note(password=found.message)
            return None, None
        # The wrong passwords before are on record; who is made to wait for them must not cost a write each time.
        raise Refusal(found, password_identity(credentials.username), recorded=found.reason is not Reason.RATE_LIMITED)
    return found, None


def _registration_authority(endpoint: EstEndpoint, stored: StoredCertificate) -> RegistrationAuthorityEvidence | None:
    """Return the rights of a registration authority (RFC 7030 section 3.7).

    Only a certificate that was issued here has them, under a profile that this endpoint names, and with id-kp-cmcRA in
    it: whatever another CA writes into its certificates, or another endpoint, gives no power here.
    """
    if stored.endpoint != endpoint.name:
        return None
    if stored.profile not in endpoint.config.authenticate.registration_authorities:
        return None
    if stored.not_after < endpoint.clock():
        return None  # the grace is for renewing itself alone
    try:
        extensions = x509.load_der_x509_certificate(stored.der).extensions
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    return RegistrationAuthorityEvidence(stored.serial, stored.profile) if _CMC_RA in purposes else None


async def _certificate(endpoint: EstEndpoint, submission: Submission) -> _Found:
    ways = endpoint.config.authenticate
    if not ways.takes_certificates:
        return None
    if submission.peer.unreadable:
        return _UNREADABLE
    if not submission.peer.presented:
        return None
    # Asked for every request, not for every connection: it may have been revoked since the last one.
    found: _Found = _UNKNOWN
    presented = submission.peer.presented
    if ways.certificates:
        found = await endpoint.credentials.certificate(endpoint.name, presented, grace=endpoint.config.renewal_grace)
    if isinstance(found, Problem) and found.reason is Reason.CERTIFICATE_REJECTED and ways.manufacturers:
        foreign = await endpoint.credentials.third_party(endpoint.name, presented)
        if foreign is not None:
            return foreign
        if not _is_ours(endpoint, presented[0]):
            return _UNKNOWN
    return found
