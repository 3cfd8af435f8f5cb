"""Who asks is settled before what is asked, renewals are told from first enrollments, and refusals are recorded."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.csr import parse_csr
from policies.request import (
    CertificateEvidence,
    EndpointName,
    Kind,
    PasswordEvidence,
    PendingLimits,
    Protocol,
    certificate_identity,
)
from server.config import Authenticate, EstEndpointConfig
from server.credentials import Redeemable
from server.est.linking import REVOCATION_CHALLENGE
from server.est.messages import Malformed, Operation
from server.est.service import EstEndpoint, Submission, enroll, idempotency_key
from server.outcome import Issued, Problem, Reason, Refused
from server.peer import NO_PEER, PeerIdentity
from server.store.certificates import renewed_from
from tests.fakes.est import ScriptedCredentials, ScriptedEnrollment
from tests.server.est.lab import csr

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from policies.request import EnrollmentRequest
    from server.outcome import Pending
    from server.store.certificates import StoredCertificate

    Known = tuple[CertificateEvidence, StoredCertificate]

ISSUED = Issued(b"certificate", (), "request-1")
REVOKED = Problem(Reason.CERTIFICATE_REJECTED, "The certificate is revoked.")
NAME = EndpointName(Protocol.EST, "plant")
RIGHT = "Basic " + b64encode(b"pump:secret").decode()
WRONG = "Basic " + b64encode(b"pump:guess").decode()


@dataclass
class Client:
    """Submits to an endpoint whose neighbours are on a script."""

    endpoint: EstEndpoint
    door: ScriptedEnrollment
    certificate: x509.Certificate
    csr: bytes
    notes: dict[str, Any]

    async def __call__(
        self,
        operation: Operation = Operation.SIMPLEENROLL,
        *authorization: str,
        presents: bool = False,
        body: bytes | Malformed | None = None,
        peer: PeerIdentity | None = None,
    ) -> Issued | Refused:
        async def read() -> bytes:
            if isinstance(body, Malformed):
                raise body
            return self.csr if body is None else body

        presented = PeerIdentity(self.certificate, (self.certificate,)) if presents else NO_PEER
        submission = Submission(operation, authorization, peer or presented, "192.0.2.1", read, self.notes.update)
        outcome = await enroll(self.endpoint, submission)
        assert isinstance(outcome, Issued | Refused)
        return outcome

    async def asks(self, *arguments: Any, **keywords: Any) -> EnrollmentRequest:
        """Submit; return what the door was asked."""
        assert await self(*arguments, **keywords) == ISSUED
        return self.door.submitted[-1]

    async def is_refused(self, *arguments: Any, recorded: bool = True, **keywords: Any) -> Problem:
        """Submit; return why it was refused without the door being asked."""
        outcome = await self(*arguments, **keywords)
        assert isinstance(outcome, Refused)
        assert not self.door.submitted
        assert [attempt.problem for attempt in self.door.refused] == ([outcome.problem] if recorded else [])
        return outcome.problem


@pytest.fixture
def make_client(certificate: x509.Certificate, known: Known, csr_der: bytes, now: datetime) -> Callable[..., Client]:
    def make(
        known: Known | Problem = known, *, passwords: bool = True, certificates: bool = True, csr: bytes = csr_der
    ) -> Client:
        door = ScriptedEnrollment(ISSUED)
        authenticate = Authenticate(passwords=Path("passwords") if passwords else None, certificates=certificates)
        config = EstEndpointConfig(profiles=("iot-device",), authenticate=authenticate)
        endpoint = EstEndpoint("plant", config, door, ScriptedCredentials(known), tuple, lambda: now)
        return Client(endpoint, door, certificate, csr, {})

    return make


@pytest.fixture
def client(make_client: Callable[..., Client]) -> Client:
    return make_client()


# --- who asks ----------------------------------------------------------------------------------------------------


async def test_a_right_password_asks_for_a_first_enrollment(client: Client, now: datetime) -> None:
    question = await client.asks(Operation.SIMPLEENROLL, RIGHT)

    assert question.kind is Kind.ENROLL
    assert question.endpoint == NAME
    assert question.renewed is None
    assert question.profile is None
    assert question.now == now
    assert question.requester.identity == "password:pump"
    assert question.requester.evidence == (PasswordEvidence("pump"),)
    assert question.requester.address == "192.0.2.1"


async def test_a_wrong_password_is_refused_and_recorded_with_the_name(client: Client) -> None:
    problem = await client.is_refused(Operation.SIMPLEENROLL, WRONG)

    assert problem.reason is Reason.BAD_CREDENTIALS
    assert client.door.refused[0].requester == "password:pump"
    assert client.door.refused[0].endpoint == NAME
    assert client.door.refused[0].address == "192.0.2.1"


async def test_a_wrong_password_is_refused_although_the_certificate_stands(client: Client) -> None:
    assert (await client.is_refused(Operation.SIMPLEREENROLL, WRONG, presents=True)).reason is Reason.BAD_CREDENTIALS


@pytest.mark.parametrize("fields", [("Digest username=pump",), ("Basic ?",), (RIGHT, RIGHT)])
async def test_an_authorization_that_is_not_one_of_basic_is_refused(client: Client, fields: tuple[str, ...]) -> None:
    problem = await client.is_refused(Operation.SIMPLEENROLL, *fields)

    assert problem.reason is Reason.BAD_CREDENTIALS
    assert client.door.refused[0].requester is None


async def test_the_first_challenge_to_a_client_is_no_refusal_to_be_recorded(client: Client) -> None:
    assert (await client.is_refused(recorded=False)).reason is Reason.UNAUTHENTICATED


async def test_without_passwords_a_client_without_certificate_is_recorded(make_client: Callable[..., Client]) -> None:
    client = make_client(passwords=False)

    assert (await client.is_refused(Operation.SIMPLEENROLL, RIGHT)).reason is Reason.UNAUTHENTICATED


async def test_who_asks_is_settled_before_the_body_is_read(client: Client) -> None:
    unread = Malformed(Reason.INTERNAL, "The body was read.")

    assert (await client.is_refused(Operation.SIMPLEENROLL, WRONG, body=unread)).reason is Reason.BAD_CREDENTIALS


async def test_a_certificate_that_can_not_be_read_is_not_overlooked(client: Client) -> None:
    problem = await client.is_refused(peer=PeerIdentity(unreadable=True))

    assert problem.reason is Reason.CERTIFICATE_REJECTED
    assert client.door.refused[0].requester is None


@pytest.mark.parametrize("operation", [Operation.SIMPLEENROLL, Operation.SIMPLEREENROLL])
async def test_a_revoked_certificate_alone_is_refused(make_client: Callable[..., Client], operation: Operation) -> None:
    client = make_client(REVOKED)

    assert await client.is_refused(operation, presents=True) == REVOKED
    assert client.door.refused[0].requester == "certificate:abc"


async def test_a_right_password_does_not_renew_a_revoked_certificate(make_client: Callable[..., Client]) -> None:
    assert await make_client(REVOKED).is_refused(Operation.SIMPLEREENROLL, RIGHT, presents=True) == REVOKED


async def test_a_right_password_enrolls_anew_whatever_certificate_the_device_still_has(
    make_client: Callable[..., Client],
) -> None:
    client = make_client(REVOKED)
    question = await client.asks(Operation.SIMPLEENROLL, RIGHT, presents=True)

    assert question.requester.evidence == (PasswordEvidence("pump"),)
    assert client.notes == {"certificate": REVOKED.message}


async def test_a_store_that_can_not_be_asked_about_the_certificate_is_not_passed_over(
    make_client: Callable[..., Client],
) -> None:
    problem = Problem(Reason.STORE_UNAVAILABLE, "the certificate can't be checked now")

    assert await make_client(problem).is_refused(Operation.SIMPLEENROLL, RIGHT, presents=True) == problem


async def test_who_must_wait_after_wrong_passwords_fills_no_records(client: Client) -> None:
    flood = "Basic " + b64encode(b"flood:guess").decode()

    assert (await client.is_refused(Operation.SIMPLEENROLL, flood, recorded=False)).reason is Reason.RATE_LIMITED


async def test_where_certificates_are_not_accepted_they_are_no_evidence(make_client: Callable[..., Client]) -> None:
    client = make_client(certificates=False)

    assert (await client.is_refused(presents=True, recorded=False)).reason is Reason.UNAUTHENTICATED


# --- what is asked -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", [(), (RIGHT,)])
async def test_simplereenroll_renews_the_certificate_of_the_connection(
    client: Client, known: Known, authorization: tuple[str, ...]
) -> None:
    question = await client.asks(Operation.SIMPLEREENROLL, *authorization, presents=True)

    assert question.kind is Kind.RENEW
    assert question.renewed is not None
    assert question.renewed.serial == known[1].serial
    assert question.requester.identity == "certificate:abc"
    assert known[0] in question.requester.evidence


class OneTime(ScriptedCredentials):
    """Takes the password for one that is good once."""

    async def password(
        self, endpoint: EndpointName, username: str, password: str, *, address: str | None = None
    ) -> Redeemable:
        return Redeemable("otp-1", username, None, None, ())


@pytest.mark.parametrize(
    ("once", "require", "proves", "spends"),
    [
        (False, "either", True, ()),
        (False, "both", True, ()),
        (True, "either", False, ()),
        (True, "both", True, ("otp-1",)),
    ],
)
async def test_a_renewal_spends_a_one_time_password_only_where_it_counts(
    client: Client,
    known: Known,
    require: Literal["either", "both"],
    spends: tuple[str, ...],
    *,
    once: bool,
    proves: bool,
) -> None:
    """What is not used up is no evidence either: it could be shown again and again."""
    config = client.endpoint.config
    ways = config.authenticate.model_copy(update={"require": require})
    client.endpoint = replace(
        client.endpoint,
        config=config.model_copy(update={"authenticate": ways}),
        credentials=OneTime(known) if once else client.endpoint.credentials,
    )
    for operation in (Operation.SIMPLEENROLL, Operation.SIMPLEREENROLL):
        question = await client.asks(operation, RIGHT, presents=True)
        assert (question.kind, question.requester.identity) == (Kind.RENEW, "certificate:abc")
        assert question.requester.evidence == ((PasswordEvidence("pump"),) if proves else ()) + (known[0],)
        assert question.spends == spends


@pytest.mark.parametrize(("authorization", "claims"), [((), None), ((RIGHT,), "password:pump")])
async def test_simplereenroll_without_certificate_has_nothing_to_renew(
    client: Client, authorization: tuple[str, ...], claims: str | None
) -> None:
    problem = await client.is_refused(Operation.SIMPLEREENROLL, *authorization)

    assert problem.reason is Reason.NOT_RENEWABLE
    assert client.door.refused[0].requester == claims


@pytest.mark.parametrize("authorization", [(), (RIGHT,)])
async def test_simpleenroll_with_a_certificate_for_the_same_names_is_a_renewal(
    client: Client, authorization: tuple[str, ...]
) -> None:
    question = await client.asks(Operation.SIMPLEENROLL, *authorization, presents=True)

    assert question.kind is Kind.RENEW
    assert question.renewed is not None


@pytest.mark.parametrize("names", [(), ("pump-18.example",), ("pump-17.example", "pump-17.example")])
async def test_with_a_certificate_alone_other_names_are_put_to_the_policy_as_a_renewal(
    make_client: Callable[..., Client], make_csr: Callable[..., bytes], names: tuple[str, ...]
) -> None:
    client = make_client(csr=make_csr(dns=names))
    question = await client.asks(Operation.SIMPLEENROLL, presents=True)

    assert question.kind is Kind.RENEW


async def test_simplereenroll_for_other_names_stays_a_renewal_although_the_password_is_right(
    make_client: Callable[..., Client], make_csr: Callable[..., bytes]
) -> None:
    """RFC 7030 section 4.2.2: the names must be those of the certificate, which the policy sees to."""
    client = make_client(csr=make_csr("pump-18", ()))
    question = await client.asks(Operation.SIMPLEREENROLL, RIGHT, presents=True)

    assert (question.kind, question.requester.identity) == (Kind.RENEW, "certificate:abc")
    assert question.renewed is not None


@pytest.mark.parametrize(
    "other", [{"dns": ()}, {"dns": ("pump-18.example",)}, {"common_name": "pump-18"}, {"dns": ("pump-17.example",) * 2}]
)
async def test_with_a_password_other_names_are_a_first_enrollment(
    make_client: Callable[..., Client], make_csr: Callable[..., bytes], known: Known, other: dict[str, Any]
) -> None:
    client = make_client(csr=make_csr(**other))
    question = await client.asks(Operation.SIMPLEENROLL, RIGHT, presents=True)

    assert question.kind is Kind.ENROLL
    assert question.requester.identity == "password:pump"
    assert question.requester.evidence == (PasswordEvidence("pump"), known[0])


async def test_names_in_another_order_are_the_same_names(
    make_client: Callable[..., Client],
    make_csr: Callable[..., bytes],
    known: Known,
    device_key: ec.EllipticCurvePrivateKey,
) -> None:
    """Else a device with a password, too, would get a second certificate instead of a renewal of its first."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pump-17")])
    names = x509.SubjectAlternativeName([x509.DNSName("a.example"), x509.DNSName("b.example")])
    begin, end = known[1].not_before, known[1].not_after
    builder = x509.CertificateBuilder(subject, subject, device_key.public_key(), known[1].serial, begin, end)
    presented = builder.add_extension(names, critical=False).sign(device_key, hashes.SHA256())
    record = replace(known[1], der=presented.public_bytes(Encoding.DER))
    kinds = []
    for asked in (("a.example", "b.example"), ("b.example", "a.example"), ("a.example",), ("a.example", "a.example")):
        client = make_client((known[0], record), csr=make_csr(dns=asked))
        kinds.append((await client.asks(Operation.SIMPLEENROLL, RIGHT, presents=True)).kind)
    assert kinds == [Kind.RENEW, Kind.RENEW, Kind.ENROLL, Kind.ENROLL]


async def test_the_grace_after_its_end_lets_a_certificate_be_renewed_and_nothing_else(
    make_client: Callable[..., Client], make_csr: Callable[..., bytes], known: Known, now: datetime
) -> None:
    expired = (replace(known[0], not_after=now - timedelta(seconds=1)), known[1])
    other_names = make_client(expired, csr=make_csr("pump-18", ()))

    renewal = await make_client(expired).asks(Operation.SIMPLEREENROLL, presents=True)
    first = await other_names.asks(Operation.SIMPLEENROLL, RIGHT, presents=True)

    assert renewal.requester.evidence == (expired[0],)
    assert first.requester.evidence == (PasswordEvidence("pump"),)


async def test_garbage_is_refused_and_recorded_with_who_sent_it(client: Client) -> None:
    problem = await client.is_refused(Operation.SIMPLEENROLL, RIGHT, body=b"garbage")

    assert problem.reason is Reason.MALFORMED
    assert client.door.refused[0].requester == "password:pump"


async def test_an_oversized_body_is_refused_and_recorded(client: Client) -> None:
    too_large = Malformed(Reason.TOO_LARGE, "Too large.")

    assert await client.is_refused(Operation.SIMPLEENROLL, presents=True, body=too_large) == too_large.problem
    assert client.door.refused[0].requester == "certificate:abc"


# --- linking identity and proof of possession --------------------------------------------------------------------


async def test_a_request_bound_to_this_connection_is_taken(
    make_client: Callable[..., Client], make_csr: Callable[..., bytes]
) -> None:
    client = make_client(csr=make_csr(challenge_password=b64encode(b"unique").decode()))

    await client.asks(Operation.SIMPLEENROLL, RIGHT, peer=PeerIdentity(binding=b"unique"))


@pytest.mark.parametrize("binding", [None, b"", b"another connection"])
async def test_a_request_bound_to_another_connection_is_refused_and_kept(
    make_client: Callable[..., Client], make_csr: Callable[..., bytes], binding: bytes | None
) -> None:
    client = make_client(csr=make_csr(challenge_password=b64encode(b"unique").decode()))
    problem = await client.is_refused(Operation.SIMPLEENROLL, RIGHT, peer=PeerIdentity(binding=binding))

    assert problem.reason is Reason.BAD_PROOF
    assert client.door.refused[0].csr is not None


class NothingToRead(ScriptedCredentials):
    """Can't look up the certificates of others."""

    async def renewable(self, *_: object, **__: object) -> Problem:
        return Problem(Reason.STORE_UNAVAILABLE, "The record can't be read at the moment.", retry_after=5)


async def test_an_authority_is_told_to_come_again_where_what_it_renews_can_not_be_looked_up(
    client: Client, known: Known, device_key: ec.EllipticCurvePrivateKey
) -> None:
    """Not that there is nothing to be renewed, which it would take for the last word."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    begin, end = known[1].not_before, known[1].not_after
    builder = x509.CertificateBuilder(name, name, device_key.public_key(), known[1].serial, begin, end)
    purposes = x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")])
    octets = (
        builder.add_extension(purposes, critical=False).sign(device_key, hashes.SHA256()).public_bytes(Encoding.DER)
    )
    record = replace(known[1], der=octets, endpoint=NAME)
    ways = client.endpoint.config.authenticate.model_copy(update={"registration_authorities": (record.profile,)})
    client.endpoint = replace(
        client.endpoint,
        config=client.endpoint.config.model_copy(update={"authenticate": ways}),
        credentials=NothingToRead((known[0], record)),
    )
    problem = await client.is_refused(Operation.SIMPLEREENROLL, presents=True)
    assert (problem.reason, problem.retry_after) == (Reason.STORE_UNAVAILABLE, 5)
    assert client.door.refused[0].csr is not None


# --- revocation challenges ---------------------------------------------------------------------------------------


class Unwriting(ScriptedCredentials):
    """Can't keep a revocation challenge, and remembers which it was to keep."""

    def __init__(self, known: Known | Problem) -> None:
        super().__init__(known)
        self.tried: list[str] = []

    async def keep_revocation_challenge(
        self, endpoint: EndpointName, outcome: Issued | Pending, secret: str, by: str
    ) -> Problem | None:
        self.tried.append(secret)
        return Problem(Reason.STORE_UNAVAILABLE, "The server can't record the revocation challenge now.")


@pytest.mark.parametrize("issued", [True, False])
async def test_a_certificate_does_not_leave_without_its_revocation_challenge_and_what_is_refused_has_none(
    client: Client, device_key: ec.EllipticCurvePrivateKey, *, issued: bool
) -> None:
    """The device would rely on a secret that revokes nothing, and refusals would fill the store with secrets."""
    credentials = Unwriting(REVOKED)
    client.endpoint = replace(client.endpoint, credentials=credentials)
    client.door.outcome = ISSUED if issued else Refused(Problem(Reason.POLICY, "No."), "request-1")
    attributes = {x509.ObjectIdentifier(REVOCATION_CHALLENGE): "stop it"}
    outcome = await client(Operation.SIMPLEENROLL, RIGHT, body=csr("pump-17", key=device_key, attributes=attributes))
    assert isinstance(outcome, Refused)
    assert outcome.request_id == "request-1"
    assert outcome.problem.reason is (Reason.STORE_UNAVAILABLE if issued else Reason.POLICY)
    assert credentials.tried == (["stop it"] if issued else [])


# --- what must be issued once ------------------------------------------------------------------------------------


async def keys(client: Client, *submissions: tuple[Operation, tuple[str, ...], bool, bytes]) -> list[str]:
    return [
        (await client.asks(operation, *authorization, presents=presents, body=body)).key
        for operation, authorization, presents, body in submissions
    ]


async def test_the_same_request_signed_anew_is_the_same_request(
    client: Client, make_csr: Callable[..., bytes], csr_der: bytes
) -> None:
    again = make_csr("PUMP-17")
    first, second = await keys(
        client,
        (Operation.SIMPLEENROLL, (RIGHT,), False, csr_der),
        (Operation.SIMPLEENROLL, (RIGHT,), False, again),
    )

    assert again != csr_der
    assert first == second


async def test_other_names_another_requester_or_a_renewal_are_other_requests(
    client: Client, make_csr: Callable[..., bytes], csr_der: bytes
) -> None:
    found = await keys(
        client,
        (Operation.SIMPLEENROLL, (RIGHT,), False, csr_der),
        (Operation.SIMPLEENROLL, (RIGHT,), False, make_csr(dns=())),
        (Operation.SIMPLEENROLL, (RIGHT,), False, make_csr("pump-18")),
        (Operation.SIMPLEENROLL, (RIGHT,), True, csr_der),
    )

    assert len(set(found)) == len(found)


async def test_who_asks_for_another_use_does_not_get_the_certificate_of_before(
    client: Client, make_csr: Callable[..., bytes], csr_der: bytes
) -> None:
    server, both = (
        (ExtendedKeyUsageOID.SERVER_AUTH,),
        (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    )
    bodies = (csr_der, make_csr(purposes=server), make_csr(purposes=both), make_csr(purposes=both))
    found = await keys(client, *((Operation.SIMPLEENROLL, (RIGHT,), False, body) for body in bodies))
    assert len(set(found[:3])) == 3
    assert found[2] == found[3]


def test_what_must_be_issued_once_differs_in_every_part_of_what_is_asked(
    make_csr: Callable[..., bytes], known: Known
) -> None:
    old = renewed_from(known[1])
    csr = parse_csr(make_csr())
    parts: dict[str, Any] = {
        "endpoint": NAME,
        "identity": "password:pump",
        "csr": csr,
        "renewed": None,
        "profile": None,
    }
    others: list[dict[str, Any]] = [
        {"endpoint": EndpointName(Protocol.EST, "default")},
        {"endpoint": EndpointName(Protocol.SCEP, "plant")},
        {"identity": "password:valve"},
        {"csr": parse_csr(make_csr(key=ec.generate_private_key(ec.SECP256R1())))},
        {"csr": parse_csr(make_csr("pump-18"))},
        {"csr": parse_csr(make_csr(dns=("pump-17.example", "pump-18.example")))},
        {"renewed": old},
        {"renewed": replace(old, serial=7)},
        {"profile": "iot-device"},
    ]
    assert len({idempotency_key(**{**parts, **other}) for other in ({}, *others)}) == len(others) + 1
    for who in ("password:pump", "password:valve", certificate_identity(old.serial)):  # it is the certificate's
        assert idempotency_key(**{**parts, "renewed": old, "identity": who}) == idempotency_key(
            **{**parts, "renewed": old}
        )


async def test_as_many_may_wait_for_a_person_as_the_endpoint_says(client: Client) -> None:
    config = client.endpoint.config.model_copy(update={"most_pending": 7, "most_pending_of_address": 3})
    client.endpoint = replace(client.endpoint, config=config)
    assert (await client.asks(Operation.SIMPLEENROLL, RIGHT)).pending == PendingLimits(7, 3)


async def test_a_renewal_is_the_same_through_both_operations(client: Client, csr_der: bytes) -> None:
    first, second = await keys(
        client,
        (Operation.SIMPLEENROLL, (RIGHT,), True, csr_der),
        (Operation.SIMPLEREENROLL, (), True, csr_der),
    )

    assert first == second
