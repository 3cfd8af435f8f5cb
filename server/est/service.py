"""What EST does with an enrollment: settles who asks, reads what is asked, and puts it to the one door.

No HTTP here: `server.est.routes` says what came in and writes what goes out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

from policies.request import EndpointName, EnrollmentRequest, Kind, PasswordEvidence, Protocol, Requester
from server.credentials import Redeemable
from server.enrollment import RefusedAttempt
from server.est import codec
from server.est.messages import Malformed, Operation
from server.outcome import Problem, Reason, Refused
from server.store.certificates import renewed_from

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cryptography import x509

    from ca.csr import Csr
    from policies.request import CertificateEvidence, Renewed
    from server.clock import Clock
    from server.config import EstEndpointConfig
    from server.credentials import Credentials
    from server.enrollment import Enrollment
    from server.outcome import Outcome
    from server.peer import PeerIdentity
    from server.store.certificates import StoredCertificate


_Found: TypeAlias = "tuple[CertificateEvidence, StoredCertificate] | Problem | None"


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
    """

    label: str
    config: EstEndpointConfig
    enrollment: Enrollment
    credentials: Credentials
    chain: Callable[[], tuple[x509.Certificate, ...]]
    clock: Clock

    @property
    def name(self) -> EndpointName:
        """The endpoint as policies and records name it."""
        return EndpointName(Protocol.EST, self.label)

    @property
    def realm(self) -> str | None:
        """The realm of HTTP Basic, None where passwords are not accepted."""
        return str(self.name) if self.config.authenticate.takes_passwords else None


@dataclass(frozen=True, slots=True)
class Submission:
    """A simpleenroll or simplereenroll request as it came in.

    Attributes:
        operation: which of the two.
        authorization: the values of all Authorization fields.
        peer: what TLS knows of the peer.
        address: the peer's IP address, None when there is none.
        body: reads the body; raises Malformed when it is too large or of another media type.
        note: adds fields to the request's event.
    """

    operation: Operation
    authorization: tuple[str, ...]
    peer: PeerIdentity
    address: str | None
    body: Callable[[], Awaitable[bytes]]
    note: Callable[..., None]


class _Refusal(Exception):
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


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who asks: a user whose password is right, the holder of a certificate of ours that stands, or both.

    Attributes:
        password: the evidence of HTTP Basic, None without.
        certificate: the evidence of TLS and the certificate's record, None without.
        redeemed: what the password is good for, None when it is not one of the store.
    """

    password: PasswordEvidence | None
    certificate: tuple[CertificateEvidence, StoredCertificate] | None
    redeemed: Redeemable | None = None

    @property
    def identity(self) -> str:
        """The stable name of the requester; who has both is named by the password, which outlives certificates."""
        if self.password is not None:
            return f"password:{self.password.username}"
        return f"certificate:{self.certificate[0].serial:x}" if self.certificate else "nobody"


async def enroll(endpoint: EstEndpoint, submission: Submission) -> Outcome:
    """Enroll or renew (RFC 7030 section 4.2); what is refused before the policy is asked goes on record too."""
    try:
        question = await _question(endpoint, submission)
    except _Refusal as refusal:
        if not refusal.recorded:
            return Refused(refusal.problem)
        attempt = RefusedAttempt(
            endpoint=endpoint.name,
            problem=refusal.problem,
            requester=refusal.requester,
            address=submission.address,
            transaction=None,
            csr=refusal.csr,
        )
        return await endpoint.enrollment.refuse(attempt)
    return await endpoint.enrollment.submit(question)


def idempotency_key(endpoint: EndpointName, identity: str, csr: Csr, renewed: Renewed | None) -> str:
    """Return what must be issued once: who wants which names for which key, and in place of which certificate.

    Not the octets of the request: section 4.2.3 has clients repeat it, newly signed when it is bound to a connection.
    """
    names = sorted(map(str, csr.names))
    serial = None if renewed is None else f"{renewed.serial:x}"
    return json.dumps([str(endpoint), identity, sha256(csr.spki).hexdigest(), csr.subject.canonical(), names, serial])


async def _question(endpoint: EstEndpoint, submission: Submission) -> EnrollmentRequest:
    """Return what the submission asks of the one door. Raises _Refusal."""
    now = endpoint.clock()
    caller = await _authenticate(endpoint, submission)
    csr = await _csr(submission, caller)
    renewed = _renewed(caller, csr, submission.operation)
    if renewed is not None and caller.redeemed is not None:
        caller = _Caller(None, caller.certificate)  # the certificate is enough: a one-time password is not wasted on it
    _expect_bound(caller, csr)
    evidence = [item for item in (caller.password, caller.certificate and caller.certificate[0]) if item is not None]
    if renewed is None and caller.certificate is not None and caller.certificate[0].not_after < now:
        evidence.remove(caller.certificate[0])  # the grace after its end is for its own renewal alone
    identity = caller.identity if renewed is None else f"certificate:{renewed.serial:x}"
    return EnrollmentRequest(
        key=idempotency_key(endpoint.name, identity, csr, renewed),
        kind=Kind.ENROLL if renewed is None else Kind.RENEW,
        endpoint=endpoint.name,
        profile=caller.redeemed.profile if caller.redeemed else None,
        csr=csr,
        requester=Requester(identity, tuple(evidence), submission.address),
        now=now,
        renewed=renewed,
        spends=(caller.redeemed.id,) if caller.redeemed else (),
    )


def _expect_bound(caller: _Caller, csr: Csr) -> None:
    """Raise _Refusal when a one-time password was made for something else."""
    objection = caller.redeemed.objection(csr) if caller.redeemed else None
    if objection is not None:
        raise _Refusal(Problem(Reason.POLICY, objection), caller.identity, csr=csr)


async def _authenticate(endpoint: EstEndpoint, submission: Submission) -> _Caller:
    """Settle who asks (sections 3.2.3 and 3.3.2). Raises _Refusal.

    A wrong password is refused whatever else was presented. A certificate that does not stand is refused too, unless
    a right password makes it unnecessary: devices present what they have, even when it has expired.
    """
    found = await _certificate(endpoint, submission)
    password, redeemed = await _password(endpoint, submission, found)
    leaf = submission.peer.leaf
    presented = f"certificate:{leaf.serial_number:x}" if leaf is not None else None
    if isinstance(found, Problem):
        unnecessary = password is not None and submission.operation is Operation.SIMPLEENROLL
        if not unnecessary or found.reason is not Reason.CERTIFICATE_REJECTED:
            raise _Refusal(found, presented)
        submission.note(certificate=found.message)
        return _Caller(password, None, redeemed)
    caller = _Caller(password, found, redeemed)
    if submission.operation is Operation.SIMPLEREENROLL and found is None:
        raise _Refusal(_NOTHING_TO_RENEW, caller.identity if password else None)
    if password is None and found is None:
        # The challenge to a client that says nothing of itself is how HTTP works, and no refusal to be recorded.
        raise _Refusal(_UNAUTHENTICATED, recorded=endpoint.realm is None)
    return caller


_NOTHING_TO_RENEW = Problem(
    Reason.NOT_RENEWABLE,
    "simplereenroll takes the certificate that is to be renewed as TLS client certificate (RFC 7030 section 3.3.2); "
    "without one, use simpleenroll.",
)
_UNAUTHENTICATED = Problem(Reason.UNAUTHENTICATED, "Authenticate by a TLS client certificate that this service issued.")
_NOT_BASIC = Problem(Reason.BAD_CREDENTIALS, "The Authorization header is not one of HTTP Basic.")
_UNREADABLE = Problem(Reason.CERTIFICATE_REJECTED, "The TLS client certificate can't be read.")
_NOT_LINKED = Problem(
    Reason.BAD_PROOF,
    "The challengePassword of the certification request is not the channel binding of this TLS connection, which it "
    "must be in EST (RFC 7030 section 3.5); leave it out, or bind anew.",
)


async def _password(
    endpoint: EstEndpoint, submission: Submission, certificate: _Found
) -> tuple[PasswordEvidence | None, Redeemable | None]:
    """Judge HTTP Basic. Raises _Refusal.

    A device keeps sending the one-time password that it was given, also with the certificate that it got for it. Beside
    a certificate that stands, a password that is used up counts as none.
    """
    if endpoint.realm is None or not submission.authorization:
        return None, None
    credentials = codec.parse_basic(submission.authorization[0]) if len(submission.authorization) == 1 else None
    if credentials is None:
        raise _Refusal(_NOT_BASIC)
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
        raise _Refusal(found, f"password:{credentials.username}", recorded=found.reason is not Reason.RATE_LIMITED)
    return found, None


async def _certificate(endpoint: EstEndpoint, submission: Submission) -> _Found:
    if not endpoint.config.authenticate.certificates:
        return None
    if submission.peer.unreadable:
        return _UNREADABLE
    if not submission.peer.presented:
        return None
    # Asked for every request, not for every connection: it may have been revoked since the last one.
    return await endpoint.credentials.certificate(
        endpoint.name, submission.peer.presented, grace=endpoint.config.renewal_grace
    )


async def _csr(submission: Submission, caller: _Caller) -> Csr:
    try:
        csr = codec.decode_enrollment(await submission.body()).csr
    except Malformed as error:
        raise _Refusal(error.problem, caller.identity) from error
    if not codec.is_linked(csr, submission.peer.binding):
        raise _Refusal(_NOT_LINKED, caller.identity, csr=csr)
    return csr


def _renewed(caller: _Caller, csr: Csr, operation: Operation) -> Renewed | None:
    """Return the certificate to be renewed, None for a first enrollment.

    IoT Edge renews through simpleenroll: the caller's certificate with the same names. Who has no other evidence than
    a certificate of ours can do nothing but renew it, so other names than its own are for the policy to refuse.
    """
    if caller.certificate is None:
        return None
    renewed = renewed_from(caller.certificate[1])
    if operation is Operation.SIMPLEREENROLL or caller.password is None:
        return renewed
    same = renewed.subject.matches(csr.subject) and Counter(renewed.names) == Counter(csr.names)
    return renewed if same else None
