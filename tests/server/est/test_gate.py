"""Who asks, by what came over HTTP and TLS alone: every way to be let in, and every way to be turned away."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.csr import parse_csr
from policies.request import EndpointName, PasswordEvidence, Protocol, RegistrationAuthorityEvidence
from server.config import Authenticate, EstEndpointConfig
from server.credentials import Redeemable, ThirdParty
from server.est.gate import Caller, EstEndpoint, Refusal, Submission, authenticate, expect_enough, redeem
from server.est.messages import Operation
from server.est.problems import CERTIFICATE_FIRST
from server.outcome import Issued, Problem, Reason
from server.peer import NO_PEER, PeerIdentity
from server.store.credentials import CredentialKind
from tests.fakes.est import ScriptedCredentials, ScriptedEnrollment

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from policies.request import CertificateEvidence
    from server.store.certificates import StoredCertificate

    Known = tuple[CertificateEvidence, StoredCertificate]

HERE = EndpointName(Protocol.EST, "default")
CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")
REVOKED = Problem(Reason.CERTIFICATE_REJECTED, "The certificate is revoked.")
AWAY = Problem(Reason.STORE_UNAVAILABLE, "The certificate can't be checked now.")
SECOND = timedelta(seconds=1)


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


RIGHT, WRONG, ONCE = basic("pump:secret"), basic("pump:guess"), basic("pump:once")
TICKET = Redeemable("ticket", "pump", None, None, ())


@dataclass
class KnowsMore(ScriptedCredentials):
    """Knows besides one-time passwords of ``pump``, and of another party's certificates what it was told."""

    known: Any
    foreign: ThirdParty | Problem | None = None
    ours: bool = True
    asked: list[tuple[object, ...]] = field(default_factory=list)

    async def password(
        self, endpoint: EndpointName, username: str, password: str, *, address: str | None = None
    ) -> Any:
        self.asked.append((endpoint, username, address))
        if password == "once":
            return TICKET
        return await super().password(endpoint, username, password, address=address)

    async def redeem(self, kind: CredentialKind, endpoint: EndpointName, secret: str, **about: Any) -> Any:
        self.asked.append((kind, endpoint, about["username"], about["address"]))
        if secret == "flood":
            return Problem(Reason.RATE_LIMITED, "wait", retry_after=8)
        return {"once": TICKET, "another": replace(TICKET, id="another")}.get(
            secret, Problem(Reason.BAD_CREDENTIALS, "no such password")
        )

    async def certificate(
        self, endpoint: EndpointName, presented: tuple[x509.Certificate, ...], *, grace: timedelta
    ) -> Any:
        assert (endpoint, len(presented), grace) == (HERE, 1, 3 * SECOND)
        return self.known

    async def third_party(self, endpoint: EndpointName, presented: tuple[x509.Certificate, ...]) -> Any:
        self.asked.append((endpoint, len(presented)))
        return self.foreign

    def issues_as(self, name: bytes) -> bool:
        assert isinstance(name, bytes)
        if not self.ours:
            raise ValueError("a name that is no text")
        return True


@dataclass
class Gate:
    """An endpoint, and what a client comes with."""

    credentials: KnowsMore
    certificate: x509.Certificate
    now: datetime
    notes: dict[str, Any] = field(default_factory=dict)

    def endpoint(self, **ways: Any) -> EstEndpoint:
        switches = {"reenroll_first": ways.pop("reenroll_first", False), "renewal_grace": "3s"}
        ways = {"passwords": Path("passwords"), "certificates": True, **ways}
        config = EstEndpointConfig(profiles=("iot-device",), authenticate=Authenticate(**ways), **switches)
        door = ScriptedEnrollment(Issued(b"", (), "request"))
        return EstEndpoint("default", config, door, self.credentials, tuple, lambda: self.now)

    def submission(
        self, *authorization: str, presents: bool = False, operation: Operation = Operation.SIMPLEENROLL
    ) -> Submission:
        async def unread() -> bytes:
            raise AssertionError("the body is no business of the gate")

        peer = PeerIdentity(self.certificate, (self.certificate,)) if presents else NO_PEER
        return Submission(operation, authorization, peer, "192.0.2.1", unread, self.notes.update)

    async def lets_in(self, *authorization: str, more: bool = False, with_: Any = None, **ways: Any) -> Caller:
        return await authenticate(
            self.endpoint(**ways), self.submission(*authorization, **(with_ or {})), more_follows=more
        )

    async def turns_away(self, *authorization: str, **ways: Any) -> Refusal:
        with pytest.raises(Refusal) as caught:
            await self.lets_in(*authorization, **ways)
        return caught.value


@pytest.fixture
def gate(certificate: x509.Certificate, known: Known, now: datetime) -> Gate:
    return Gate(KnowsMore(known), certificate, now)


PRESENTS: dict[str, Any] = {"presents": True}
RENEWS: dict[str, Any] = {"presents": True, "operation": Operation.SIMPLEREENROLL}


async def test_a_password_is_judged_for_the_endpoint_and_the_address(gate: Gate) -> None:
    caller = await gate.lets_in(RIGHT)
    assert caller == Caller(PasswordEvidence("pump"))
    assert await gate.lets_in(RIGHT, certificates=False) == caller
    assert gate.credentials.asked == [(HERE, "pump", "192.0.2.1")] * 2


async def test_a_one_time_password_is_what_it_is_good_for_whatever_is_presented_besides(
    gate: Gate, known: Known
) -> None:
    alone = await gate.lets_in(ONCE, one_time_passwords=True)
    assert (alone.redeemed, alone.password, alone.certificate) == (TICKET, PasswordEvidence("pump"), None)
    foreign = ThirdParty("certificate:maker.ca.1", known[0])
    for found, certificate in ((known, known[0]), (REVOKED, None), (foreign, known[0])):
        gate.credentials.known, gate.credentials.foreign = (REVOKED, foreign) if found is foreign else (found, None)
        caller = await gate.lets_in(
            ONCE, with_=PRESENTS, one_time_passwords=True, manufacturers=MAKER if found is foreign else {}
        )
        assert (caller.redeemed, caller.password) == (TICKET, PasswordEvidence("pump"))
        assert caller.certificate == certificate


async def test_a_used_password_beside_a_certificate_that_stands_is_none_and_noted(gate: Gate, known: Known) -> None:
    caller = await gate.lets_in(WRONG, with_=PRESENTS, one_time_passwords=True)
    assert (caller.password, caller.certificate, caller.redeemed) == (None, known[0], None)
    assert gate.notes == {"password": "wrong user name or password"}
    refusal = await gate.turns_away(WRONG, with_=PRESENTS)
    assert (refusal.problem.reason, refusal.requester) == (Reason.BAD_CREDENTIALS, "password:pump")


async def test_where_both_are_wanted_one_is_not_enough_and_none_makes_the_other_unnecessary(
    gate: Gate, known: Known
) -> None:
    both: Any = {"require": "both"}
    for given, authorization, who in (({}, (RIGHT,), None), (PRESENTS, (), "certificate:abc")):
        refusal = await gate.turns_away(*authorization, with_=given, **both)
        assert (refusal.problem.reason, refusal.requester, refusal.recorded) == (Reason.UNAUTHENTICATED, who, True)
    assert gate.credentials.asked == []  # whether the password is right is nobody's to know
    renewal = await gate.turns_away(RIGHT, with_={"operation": Operation.SIMPLEREENROLL}, **both)
    assert renewal.problem.reason is Reason.NOT_RENEWABLE
    assert (await gate.lets_in(RIGHT, with_=PRESENTS, **both)).evidence == (PasswordEvidence("pump"), known[0])
    gate.credentials.known, gate.credentials.asked = REVOKED, []
    for authorization in ((RIGHT,), (WRONG,), ()):
        refusal = await gate.turns_away(*authorization, with_=PRESENTS, **both)
        assert (refusal.problem, refusal.requester) == (REVOKED, "certificate:abc")
    assert gate.credentials.asked == []
    assert (await gate.turns_away(RIGHT, with_=PRESENTS, more=True, **both)).problem == REVOKED


async def test_a_one_time_password_that_may_come_in_the_request_leaves_who_asks_open_until_then(gate: Gate) -> None:
    assert await gate.lets_in(one_time_passwords=True) == Caller()
    assert await gate.lets_in(more=True) == Caller()
    for authorization in (RIGHT, WRONG):  # nor is it told in a full request whether the password is right
        assert await gate.lets_in(authorization, more=True, require="both") == Caller()
    assert gate.credentials.asked == []
    refusal = await gate.turns_away(RIGHT, one_time_passwords=True, require="both")
    assert (refusal.problem.reason, refusal.requester) == (Reason.UNAUTHENTICATED, None)
    half = await gate.lets_in(with_=PRESENTS, one_time_passwords=True, require="both")
    assert (half.password, half.identity) == (None, "certificate:abc")
    assert (await gate.turns_away()).recorded is False
    assert (await gate.turns_away(passwords=None)).recorded is True


async def test_enough_is_what_the_endpoint_wants(gate: Gate, known: Known, csr_der: bytes) -> None:
    both, csr = gate.endpoint(require="both"), parse_csr(csr_der)
    expect_enough(both, Caller(PasswordEvidence("pump"), known[0]))
    expect_enough(gate.endpoint(), Caller(PasswordEvidence("pump")))
    with pytest.raises(Refusal) as caught:
        expect_enough(both, Caller(PasswordEvidence("pump")), csr)
    assert (caught.value.csr, caught.value.requester) == (csr, "password:pump")
    with pytest.raises(Refusal) as caught:
        expect_enough(both, Caller())
    assert (caught.value.problem, caught.value.recorded) == (CERTIFICATE_FIRST, False)


MAKER: Any = {"maker": {"anchors": Path("maker.pem"), "revocation": "none"}}


async def test_another_party_s_certificate_is_asked_for_where_ours_does_not_stand(gate: Gate, known: Known) -> None:
    gate.credentials.known, gate.credentials.foreign = REVOKED, ThirdParty("certificate:maker.ca.1", known[0])
    caller = await gate.lets_in(with_=PRESENTS, manufacturers=MAKER)
    assert (caller.identity, caller.stored, caller.evidence) == ("certificate:maker.ca.1", None, (known[0],))
    only = await gate.lets_in(with_=PRESENTS, manufacturers=MAKER, certificates=False)
    assert only == caller
    assert gate.credentials.asked == [(HERE, 1)] * 2
    assert (await gate.turns_away(with_=PRESENTS)).problem == REVOKED

    gate.credentials.foreign = None
    assert (await gate.turns_away(with_=PRESENTS, manufacturers=MAKER)).problem == REVOKED
    unknown = await gate.turns_away(with_=PRESENTS, manufacturers=MAKER, certificates=False)
    assert (unknown.problem.reason, "does not know" in unknown.problem.message) == (Reason.CERTIFICATE_REJECTED, True)

    gate.credentials.ours = False
    neither = await gate.turns_away(with_=PRESENTS, manufacturers=MAKER)
    assert (neither.problem, neither.requester) == (unknown.problem, "certificate:?.abc")

    gate.credentials.known, gate.credentials.foreign = AWAY, ThirdParty("certificate:maker.ca.1", known[0])
    assert (await gate.turns_away(with_=PRESENTS, manufacturers=MAKER)).problem == AWAY


async def test_another_party_s_certificate_is_renewed_where_the_first_enrollment_may_be_called_so(
    gate: Gate, known: Known
) -> None:
    gate.credentials.known, gate.credentials.foreign = REVOKED, ThirdParty("certificate:maker.ca.1", known[0])
    refusal = await gate.turns_away(with_=RENEWS, manufacturers=MAKER)
    assert (refusal.problem.reason, refusal.requester) == (Reason.NOT_RENEWABLE, "certificate:maker.ca.1")
    caller = await gate.lets_in(with_=RENEWS, manufacturers=MAKER, reenroll_first=True)
    assert (caller.foreign, gate.notes) == ("certificate:maker.ca.1", {"reenroll": "first enrollment"})
    gate.credentials.foreign = None
    without = await gate.turns_away(RIGHT, with_={"operation": Operation.SIMPLEREENROLL}, reenroll_first=True)
    assert without.problem.reason is Reason.NOT_RENEWABLE


@pytest.mark.parametrize("ours", [True, False])
async def test_who_presents_what_does_not_stand_is_called_by_it_and_by_no_name_of_ours_when_it_is_not(
    gate: Gate, *, ours: bool
) -> None:
    gate.credentials.known, gate.credentials.ours = REVOKED, ours
    assert (await gate.turns_away(with_=PRESENTS)).requester == ("certificate:abc" if ours else "certificate:?.abc")


# --- one-time passwords in the request itself ------------------------------------------------------------------------


async def redeemed(gate: Gate, caller: Caller, secret: str, csr: bytes) -> Caller:
    return await redeem(gate.endpoint(), gate.submission(), caller, secret, parse_csr(csr))


async def test_a_one_time_password_in_the_request_names_who_asks(gate: Gate, csr_der: bytes) -> None:
    caller = await redeemed(gate, Caller(), "once", csr_der)
    assert (caller.password, caller.redeemed, caller.identity) == (PasswordEvidence("pump"), TICKET, "password:pump")
    await redeemed(gate, Caller(PasswordEvidence("valve")), "once", csr_der)
    kind = CredentialKind.EST_PASSWORD
    assert gate.credentials.asked == [(kind, HERE, None, "192.0.2.1"), (kind, HERE, "valve", "192.0.2.1")]


async def test_a_wrong_one_time_password_is_refused_with_what_was_asked_for(gate: Gate, csr_der: bytes) -> None:
    for secret, reason, is_recorded in (
        ("wrong", Reason.BAD_CREDENTIALS, True),
        ("flood", Reason.RATE_LIMITED, False),
    ):
        with pytest.raises(Refusal) as caught:
            await redeemed(gate, Caller(PasswordEvidence("valve")), secret, csr_der)
        refusal = caught.value
        assert (refusal.problem.reason, refusal.recorded, refusal.requester) == (reason, is_recorded, "password:valve")
        assert refusal.csr == parse_csr(csr_der)


async def test_where_both_are_wanted_who_has_no_certificate_is_not_told_whether_a_one_time_password_is_right(
    gate: Gate, known: Known, csr_der: bytes
) -> None:
    both, csr = gate.endpoint(require="both"), parse_csr(csr_der)
    for secret in ("once", "wrong"):
        with pytest.raises(Refusal) as caught:
            await redeem(both, gate.submission(), Caller(), secret, csr)
        refusal = caught.value
        assert (refusal.problem, refusal.requester) == (CERTIFICATE_FIRST, None)
        assert (refusal.csr, refusal.recorded) == (csr, False)
    assert gate.credentials.asked == []
    caller = await redeem(both, gate.submission(), Caller(certificate=known[0]), "once", csr)
    assert caller.evidence == (PasswordEvidence("pump"), known[0])


async def test_two_one_time_passwords_are_one_too_many_but_the_same_twice_is_one(gate: Gate, csr_der: bytes) -> None:
    caller = Caller(PasswordEvidence("pump"), redeemed=TICKET)
    assert await redeemed(gate, caller, "once", csr_der) == caller
    with pytest.raises(Refusal) as caught:
        await redeemed(gate, caller, "another", csr_der)
    assert (caught.value.problem.reason, caught.value.requester) == (Reason.BAD_CREDENTIALS, "password:pump")


# --- registration authorities ----------------------------------------------------------------------------------------


@pytest.fixture
def make_ra(known: Known, certificate: x509.Certificate, now: datetime) -> Callable[..., Known]:
    """Return a function that makes the certificate of a registration authority, or something like it."""

    def make(purposes: tuple[x509.ObjectIdentifier, ...] | None = (CMC_RA,), **changes: Any) -> Known:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateBuilder(certificate.subject, certificate.subject, key.public_key(), 0xABC)
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now)
        if purposes is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        der = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        return known[0], replace(known[1], **{"der": der, "profile": "gateway", "not_after": now, **changes})

    return make


GATEWAYS: Any = {"registration_authorities": ("gateway",)}


async def test_a_registration_authority_is_one_until_its_last_second(gate: Gate, make_ra: Callable[..., Known]) -> None:
    gate.credentials.known = make_ra((ExtendedKeyUsageOID.CLIENT_AUTH, CMC_RA))
    caller = await gate.lets_in(with_=PRESENTS, **GATEWAYS)
    assert caller.ra == RegistrationAuthorityEvidence(0xABC, "gateway")
    assert (caller.evidence, caller.identity) == ((caller.ra,), "certificate:abc")


@pytest.mark.parametrize(
    ("purposes", "changes"),
    [
        ((CMC_RA,), {"endpoint": EndpointName(Protocol.EST, "plant")}),
        ((CMC_RA,), {"endpoint": EndpointName(Protocol.SCEP, "default")}),
        ((CMC_RA,), {"profile": "iot-device"}),
        ((CMC_RA,), {"ended": True}),
        ((ExtendedKeyUsageOID.CLIENT_AUTH,), {}),
        (None, {}),
    ],
    ids=["of another endpoint", "of another protocol", "of another profile", "in its grace", "for clients", "for all"],
)
async def test_a_certificate_that_is_no_registration_authority_s_here_has_no_power(
    gate: Gate,
    make_ra: Callable[..., Known],
    now: datetime,
    purposes: tuple[x509.ObjectIdentifier, ...] | None,
    changes: dict[str, Any],
) -> None:
    if changes.get("ended"):
        changes = {"not_after": now - SECOND}
    gate.credentials.known = make_ra(purposes, **changes)
    caller = await gate.lets_in(with_=PRESENTS, **GATEWAYS)
    assert (caller.ra, caller.evidence) == (None, (caller.certificate,))


# --- names -----------------------------------------------------------------------------------------------------------


def test_who_has_both_is_named_by_the_password_but_for_the_renewal_of_that_certificate(known: Known) -> None:
    both = Caller(PasswordEvidence("pump"), known[0], known[1])
    assert both.identity == "password:pump"
    assert both._replace(renews_own=True).identity == "certificate:abc"
    assert Caller().identity is None
    assert Caller(renews_own=True).identity is None
