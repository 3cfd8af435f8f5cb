"""CMP: behind the contract, over a server on loopback; and whatever else a server may say."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from secrets import token_bytes
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from ca import ceremony, der
from ca.backends import cmp_messages as cmp
from ca.backends.cmp import CmpUpstream
from ca.backends.cmp_messages import Transaction
from ca.backends.cmp_protection import ITERATION_LIMIT, BadProtection, SharedSecret, Signatures
from ca.backends.http_client import HttpClient
from ca.backends.upstream import RevokingIssuer, UpstreamIssuer, issuer_of
from ca.ceremony import generate_key
from ca.issuer import AnswerUnusable, IssuerPending, IssuerRefused, IssuerUnavailable, NothingSigned, Permit
from ca.names import DistinguishedName, dns_name
from tests.contract.issuer import IssuerContract, RevokerContract, accept, issue
from tests.fakes.cmp import SECRET, FakeCmp
from tests.fakes.issuer import NOW, csr_of, make_issuer, make_plan, with_challenge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container

    from ca.backends.cmp_protection import Protection
    from ca.issuer import Issuer

CA = make_issuer()
PLAN = make_plan()
EXCHANGE = Transaction(b"\x03" * 16, b"\x04" * 16)


@asynccontextmanager
async def behind(
    application: web.Application, protection: Protection = SECRET, *, updates: bool = False
) -> AsyncIterator[UpstreamIssuer]:
    async with TestServer(application) as server:
        url = str(server.make_url("/pkix/"))
        name = CA.chain()[0].subject.public_bytes()
        upstream = CmpUpstream(url, name, protection, HttpClient(), token_bytes, updates)
        issuer = issuer_of(upstream, CA.chain(), seconds=10)
        yield issuer
        await issuer.close()


@pytest.fixture
def server() -> FakeCmp:
    return FakeCmp(CA)


async def waits(issuer: Issuer, times: int) -> list[int]:
    """Ask until the certificate is there, which must be put off so many times; return for how long each time."""
    reference, found = None, []
    for _ in range(times):
        with pytest.raises(IssuerPending) as pending:
            await issuer.issue(Permit("request", PLAN, 1, csr_of(PLAN), reference), PLAN, 1)
        reference = pending.value.reference
        found.append(pending.value.retry_after)
    octets = await issuer.issue(Permit("request", PLAN, 1, csr_of(PLAN), reference), PLAN, 1)
    accept(issuer, PLAN, x509.load_der_x509_certificate(octets))
    return found


class TestCmp(RevokerContract, IssuerContract):
    @pytest.fixture
    async def issuer(self, server: FakeCmp) -> AsyncIterator[Issuer]:
        async with behind(server.application) as issuer:
            yield issuer

    @pytest.fixture
    def revoked(self, server: FakeCmp) -> Callable[[], Container[int]]:
        return lambda: server.revoked

    async def test_a_certificate_is_confirmed(self, server: FakeCmp, issuer: Issuer) -> None:
        await issue(issuer, PLAN)
        assert server.confirmed == 1
        assert len(set(server.transactions)) == 1

    async def test_a_ca_that_needs_time_is_polled(self, server: FakeCmp, issuer: Issuer) -> None:
        server.polls = 2
        assert await waits(issuer, 3) == [30, 7, 7]
        assert len(set(server.transactions)) == 1

    async def test_a_ca_that_needs_time_for_the_confirmation_is_polled(self, server: FakeCmp, issuer: Issuer) -> None:
        server.confirmation_polls = 2
        assert await waits(issuer, 2) == [30, 7]
        assert server.bodies == [cmp.P10CR, cmp.CERT_CONF, cmp.POLL_REQ, cmp.POLL_REQ]
        assert len(set(server.transactions)) == 1

    @pytest.mark.parametrize("polls", [0, 1])
    async def test_a_confirmation_that_is_not_taken_leaves_no_certificate(
        self, server: FakeCmp, issuer: Issuer, polls: int
    ) -> None:
        refused = der.sequence(der.sequence(der.integer(2), der.bit_string(b"\x08")))
        server.confirmation_polls, server.confirmation = polls, der.tlv(der.context(cmp.ERROR), refused)
        reference = None
        if polls:
            with pytest.raises(IssuerPending) as pending:
                await issue(issuer, PLAN)
            reference = pending.value.reference
        with pytest.raises(AnswerUnusable, match="does not take the confirmation"):
            await issuer.issue(Permit("request", PLAN, 1, csr_of(PLAN), reference), PLAN, 1)

    async def test_what_has_waited_and_is_not_granted_was_never_signed(self, server: FakeCmp, issuer: Issuer) -> None:
        server.polls, server.rejects = 1, True
        with pytest.raises(IssuerPending) as pending:
            await issue(issuer, PLAN)
        server.polls = 0
        with pytest.raises(NothingSigned, match="the CA says 2"):
            await issuer.issue(Permit("request", PLAN, 1, csr_of(PLAN), pending.value.reference), PLAN, 1)

    @pytest.mark.parametrize(
        ("bit", "failure"),
        [(2, IssuerRefused), (9, IssuerRefused), (1, IssuerUnavailable), (23, IssuerUnavailable),
         (24, IssuerUnavailable), (25, IssuerUnavailable), (21, IssuerRefused)],
    )  # fmt: skip
    async def test_a_failure_is_a_refusal_or_an_outage(
        self, server: FakeCmp, issuer: Issuer, bit: int, failure: type[Exception]
    ) -> None:
        bits = bytearray(4)
        bits[bit // 8] = 0x80 >> bit % 8
        server.error = bytes(bits)
        with pytest.raises(failure):
            await issue(issuer, PLAN)

    async def test_a_transaction_that_is_in_use_is_asked_for_anew(self, server: FakeCmp, issuer: Issuer) -> None:
        server.error = b"\0\0\x04\0"
        with pytest.raises(IssuerRefused):
            await issue(issuer, PLAN)
        assert len(set(server.transactions)) == 2


async def test_a_certificate_that_the_ca_does_not_know_is_renewed_like_a_new_one(server: FakeCmp) -> None:
    server.error = b"\x08"  # badCertId
    async with behind(server.application, updates=True) as issuer:
        with pytest.raises(IssuerRefused, match="failures"):
            await issuer.issue(Permit("request", PLAN, 1, csr_of(PLAN), renews=7), PLAN, 1)
    assert server.bodies == [cmp.KUR, cmp.P10CR]
    assert len(set(server.transactions)) == 2


async def test_what_is_new_is_not_asked_for_as_a_renewal(server: FakeCmp) -> None:
    async with behind(server.application, updates=True) as issuer:
        await issue(issuer, PLAN)
    assert server.bodies == [cmp.P10CR, cmp.CERT_CONF]


async def test_an_error_of_another_kind_does_not_revoke(server: FakeCmp) -> None:
    async with behind(server.application) as issuer:
        assert isinstance(issuer, RevokingIssuer)
        with pytest.raises(IssuerRefused, match="failures"):
            await issuer.revoke(CA.chain()[0], x509.ReasonFlags.unspecified, NOW)


@pytest.mark.parametrize("kind", ["P-256", "rsa:2048", "ed25519"])
async def test_messages_are_signed_both_ways(kind: str) -> None:
    ca, ours = (ceremony.make_root(DistinguishedName.from_text(f"CN={name}"), now=NOW, key=generate_key(kind))
                for name in ("CMP server", "door"))  # fmt: skip
    there = Signatures(ca.key, (ca.certificate,), (ours.certificate,))
    here = Signatures(ours.key, (ours.certificate,), (ca.certificate,))
    async with behind(FakeCmp(CA, there).application, here) as issuer:
        accept(issuer, PLAN, await issue(issuer, PLAN))
    stranger = Signatures(ours.key, (ours.certificate,), (CA.chain()[0],))
    async with behind(FakeCmp(CA, there).application, stranger) as issuer:
        with pytest.raises(IssuerUnavailable, match="not signed with one of its keys"):
            await issue(issuer, PLAN)


def test_a_key_without_its_certificate_signs_nothing() -> None:
    certificate = CA.chain()[0]
    with pytest.raises(ValueError, match="does not belong"):
        Signatures(generate_key("P-256"), (certificate,), (certificate,))


async def test_a_server_with_another_secret_is_not_the_ca() -> None:
    async with behind(FakeCmp(CA, SharedSecret(b"door", b"other", bytes)).application) as issuer:
        with pytest.raises(IssuerUnavailable, match="not protected with our secret"):
            await issue(issuer, PLAN)


def answered(body: bytes, transaction: Transaction = EXCHANGE, secret: SharedSecret = SECRET) -> bytes:
    return cmp.write_message(body, transaction, der.sequence(), secret)


@pytest.mark.parametrize(
    ("body", "failure", "text"),
    [
        (answered(der.tlv(der.context(19), der.null())), IssuerUnavailable, "belongs to another message"),
        (b"", AnswerUnusable, "understood"),
        (b"<html>", AnswerUnusable, "understood"),
        (der.sequence(der.sequence(), der.sequence()), AnswerUnusable, "understood"),
    ],
)
async def test_an_answer_that_is_none_is_told(body: bytes, failure: type[Exception], text: str) -> None:
    async def odd(request: web.Request) -> web.Response:
        return web.Response(body=body)

    application = web.Application()
    application.router.add_post("/pkix/", odd)
    async with behind(application) as issuer:
        with pytest.raises(failure, match=text):
            await issue(issuer, PLAN)


def test_what_is_written_can_be_read() -> None:
    reply = cmp.read_message(answered(cmp.write_poll_req(-1), Transaction(b"t", b"n", b"a")), SECRET)
    assert (reply.body, reply.transaction, reply.sender_nonce, reply.recipient_nonce) == (25, b"t", b"n", b"a")
    assert not reply.implicit


def test_one_octet_of_difference_breaks_the_protection() -> None:
    good = bytearray(answered(cmp.write_cert_conf(b"hash", 0)))
    good[good.index(b"hash")] ^= 1
    with pytest.raises(BadProtection):
        cmp.read_message(bytes(good), SECRET)


@pytest.mark.parametrize("count", [0, ITERATION_LIMIT + 1])
def test_a_number_of_iterations_that_is_none_is_refused(count: int) -> None:
    good = answered(cmp.write_poll_req(0))
    with pytest.raises((BadProtection, der.MalformedDer)):
        cmp.read_message(rewritten(good, der.integer(2048), der.integer(count)), SECRET)


def rewritten(data: bytes, old: bytes, new: bytes) -> bytes:
    """Replace an element deep in a message; its lengths are written anew."""

    def rewrite(element: der.Tlv) -> bytes:
        if element.raw == old:
            return new
        return der.tlv(element.tag, *map(rewrite, der.children(element))) if element.constructed else element.raw

    return rewrite(der.read(data))


@given(st.binary(max_size=300))
def test_any_octets_are_a_message_or_refused(data: bytes) -> None:
    with pytest.raises((der.MalformedDer, BadProtection)):
        cmp.read_message(data, SECRET)


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_damaged_message_is_refused(place: int, octet: int) -> None:
    good = bytearray(answered(cmp.write_poll_req(0)))
    place %= len(good)
    if good[place] == octet:
        return
    good[place] = octet
    with pytest.raises((der.MalformedDer, BadProtection)):
        cmp.read_message(bytes(good), SECRET)


BODIES = st.recursive(
    st.builds(der.integer, st.integers(-5, 5)) | st.builds(der.octet_string, st.binary(max_size=8)),
    lambda inner: st.builds(
        lambda tag, parts: der.tlv(tag, *parts),
        st.sampled_from([der.SEQUENCE, 0xA0, 0xA3]),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


@given(st.sampled_from([cmp.CP, cmp.RP, cmp.ERROR, cmp.POLL_REP, cmp.PKICONF]), BODIES)
def test_whatever_the_ca_protects_is_read_or_refused(kind: int, content: bytes) -> None:
    try:
        cmp.read_message(answered(der.tlv(der.context(kind), content)), SECRET)
    except der.MalformedDer:
        return


async def test_what_the_request_does_not_show_the_ca_is_told(server: FakeCmp) -> None:
    plan, without_challenge = with_challenge()
    async with behind(server.application) as issuer:
        octets = await issuer.issue(Permit("request", plan, 7, without_challenge), plan, 7)
    assert server.bodies[0] == cmp.CR
    made = x509.load_der_x509_certificate(octets)
    assert made.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == plan.spki


async def test_names_that_the_policy_has_made_others_of_are_those_that_the_ca_is_asked_for(server: FakeCmp) -> None:
    asked = make_plan()
    plan = replace(asked, subject=DistinguishedName.from_text("CN=another"), names=(dns_name("another.example"),))
    async with behind(server.application) as issuer:
        octets = await issuer.issue(Permit("request", plan, 7, csr_of(asked)), plan, 7)
    assert server.bodies[0] == cmp.CR
    assert x509.load_der_x509_certificate(octets).subject.rfc4514_string() == "CN=another"
