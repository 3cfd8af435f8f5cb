"""Requests bound to their TLS connection, and secrets inside requests, on real connections of both TLS versions."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from typer.testing import CliRunner

from ca import der
from ca.csr import Csr, RequestedAttribute, parse_csr, read_recorded_csr
from server.commands import cert
from server.est import gate, linking, problems
from server.est.linking import Linking, Meaning, read_claims
from server.est.messages import Malformed
from server.outcome import Issued, Reason
from server.store.credentials import CredentialKind, find_for_certificate
from server.store.requests import list_requests
from tests.fakes.credential import credential, keep, kept
from tests.server.est.lab import CHALLENGE_PASSWORD, Device, Holder, csr, lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.est.lab import Answer, Lab

ENDPOINT = """
est/default:
  profiles: [iot-device]
  linking: {linking}
  challenge_password: {meaning}
  authenticate: {{passwords: secrets/est-passwords.yaml, one_time_passwords: true, certificates: true}}
"""
OTP, REVOCATION, IDENTITY = map(
    x509.ObjectIdentifier, (linking.OTP_CHALLENGE, linking.REVOCATION_CHALLENGE, linking.IDENTITY_LINKING)
)
VERSIONS = pytest.mark.parametrize("tls", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


def endpoint(linking: str = "optional", meaning: str = "binding") -> str:
    return ENDPOINT.format(linking=linking, meaning=meaning)


BOTH = endpoint().replace("certificates: true", "certificates: true, require: both")


@asynccontextmanager
async def where_both_are_wanted(folder: Path) -> AsyncIterator[tuple[Lab, Holder]]:
    """Run an endpoint that wants a password and a certificate, with a device that has one, and ``more`` to use."""
    key = ec.generate_private_key(ec.SECP256R1())
    async with lab(folder, endpoint()) as running:
        store = running.application.services.store
        await keep(store, credential("first", username="pump"), credential("more", username="pump"))
        first = await running.post("simpleenroll", csr("pump", key=key), basic=("pump", "first"))
    async with lab(folder, BOTH) as running:
        yield running, Holder(key, (first.certificate,))


async def bound(
    running: Lab, tls: int, where: x509.ObjectIdentifier, *, basic: tuple[str, str] | None = ("pump", "otp")
) -> Answer:
    """Post a request that is bound to the very connection it is sent over."""

    def work() -> Answer:
        with Device(running.ports["https"], tls=tls) as device:
            return device.post("simpleenroll", csr("pump", attributes={where: device.binding}), basic=basic)

    return await asyncio.to_thread(work)


@VERSIONS
@pytest.mark.parametrize("where", [CHALLENGE_PASSWORD, IDENTITY], ids=["challengePassword", "estIdentityLinking"])
async def test_a_request_bound_to_its_connection_is_taken_and_on_another_refused(
    folder: Path, tls: int, where: x509.ObjectIdentifier, capsys: pytest.CaptureFixture[str]
) -> None:
    async with lab(folder, endpoint("required")) as running:
        await keep(running.application.services.store, credential("otp", username="pump", uses_left=5))
        assert (await bound(running, tls, where)).status == 200
        kind = "tls-unique" if tls == SSL.TLS1_2_VERSION else "tls-exporter"
        assert f"linked={kind}" in "".join(capsys.readouterr())

        def replay() -> Answer:
            with Device(running.ports["https"], tls=tls) as one, Device(running.ports["https"], tls=tls) as other:
                request = csr("pump", attributes={where: one.binding})
                return other.post("simpleenroll", request, basic=("pump", "otp"))

        answer = await asyncio.to_thread(replay)
        assert answer.status == 400
        assert b"is not the channel binding of this TLS connection" in answer.body


@pytest.mark.parametrize("approval", ["none", "manual"])
async def test_a_profile_that_refuses_attributes_without_use_takes_those_that_are_read_here(
    folder: Path, approval: str
) -> None:
    """What csrattrs demands is not refused for being there, not when a person has approved it either."""
    file = folder / "policies" / "iot-device.yaml"
    head, _, _ = file.read_text().partition("\ntests:")
    text = head.replace("subject: same", "subject: any").replace("names: same", "names: any")
    file.write_text(f"{text}\n    unused: {{attributes: refuse}}\n    approval: {approval}\n")
    async with lab(folder, endpoint("required")) as running:
        services = running.application.services
        await keep(services.store, credential("otp", username="pump"))
        assert (await bound(running, SSL.TLS1_3_VERSION, IDENTITY)).status == (200 if approval == "none" else 202)
        if approval == "manual":
            (waiting,) = await services.store.read(list_requests)
            assert isinstance(await services.enrollment.approve(waiting.id, "admin:eve"), Issued)


async def test_where_linking_is_required_a_request_without_is_told_what_to_put(folder: Path) -> None:
    async with lab(folder, endpoint("required")) as running:
        await keep(running.application.services.store, credential("otp", id="o", username="pump"))
        answer = await running.post("simpleenroll", csr("pump"), basic=("pump", "otp"))
        assert answer.status == 400
        assert b"put base64 of tls-unique (TLS 1.2) or tls-exporter (TLS 1.3)" in answer.body
        assert (await kept(running.application.services.store, "o")).uses_left == 1


async def test_where_linking_is_off_a_stale_binding_does_not_matter(folder: Path) -> None:
    async with lab(folder, endpoint("off")) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        stale = csr("pump", attributes={IDENTITY: b64encode(b"the proxy's connection").decode()})
        assert (await running.post("simpleenroll", stale, basic=("pump", "otp"))).status == 200


@VERSIONS
async def test_automatic_tells_a_binding_from_a_password(folder: Path, tls: int) -> None:
    async with lab(folder, endpoint(meaning="automatic")) as running:
        store = running.application.services.store
        await keep(store, credential("basic", username="pump"), credential("in-csr", id="in", username="valve"))
        assert (await bound(running, tls, CHALLENGE_PASSWORD, basic=("pump", "basic"))).status == 200
        alone = csr("valve", attributes={CHALLENGE_PASSWORD: "in-csr"})
        assert (await running.post("simpleenroll", alone, tls=tls)).status == 200
        assert (await kept(store, "in")).uses_left == 0
        wrong = csr("valve", attributes={CHALLENGE_PASSWORD: "guess"})
        assert (await running.post("simpleenroll", wrong, tls=tls)).status == 401


async def test_where_both_are_wanted_a_renewal_may_carry_its_password_inside(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    async with lab(folder, endpoint()) as running:
        store = running.application.services.store
        await keep(store, credential("first", username="pump"), credential("second", id="second", device="pump"))
        first = await running.post("simpleenroll", csr("pump", key=key), basic=("pump", "first"))
    async with lab(folder, BOTH) as running:
        holder, store = Holder(key, (first.certificate,)), running.application.services.store
        assert (await running.post("simplereenroll", csr("pump"), holder=holder)).status == 401
        wrong = csr("pump", attributes={OTP: "guess"})
        assert (await running.post("simplereenroll", wrong, holder=holder)).status == 401
        right = csr("pump", attributes={OTP: "second"})
        assert (await running.post("simplereenroll", right, holder=holder)).status == 200
        assert (await kept(store, "second")).uses_left == 0


@pytest.mark.parametrize(("oid", "meaning"), [(OTP, "binding"), (CHALLENGE_PASSWORD, "one-time-password")])
async def test_a_password_in_the_request_is_enough_bound_to_its_device_and_never_on_record(
    folder: Path, oid: x509.ObjectIdentifier, meaning: str
) -> None:
    async with lab(folder, endpoint(meaning=meaning)) as running:
        store = running.application.services.store
        await keep(store, credential("sesame-1", id="otp", device="pump-17"))

        other = await running.post("simpleenroll", csr("pump-18", attributes={oid: "sesame-1"}))
        right = await running.post("simpleenroll", csr("pump-17", attributes={oid: "sesame-1"}))
        again = await running.post("simpleenroll", csr("pump-17", attributes={oid: "sesame-1"}))

        assert [other.status, right.status, again.status] == [403, 200, 401]
        records = await store.read(list_requests)
        assert [record.requester for record in records] == ["password:pump-17"] * 3
        for record in records:
            assert record.csr is not None
            assert b"sesame-1" not in record.csr
            assert read_recorded_csr(record.csr).challenge_password is None


async def test_of_many_requests_with_one_password_inside_one_is_granted(folder: Path) -> None:
    async with lab(folder, endpoint()) as running:
        await keep(running.application.services.store, credential("otp"))
        answers = await asyncio.gather(
            *(running.post("simpleenroll", csr(f"pump-{n}", attributes={OTP: "otp"})) for n in range(20))
        )
        assert sorted(answer.status for answer in answers) == [200] + [401] * 19


async def test_nobody_is_asked_to_authenticate_as_before(folder: Path) -> None:
    async with lab(folder, endpoint()) as running:
        answer = await running.post("simpleenroll", csr("pump"))
        assert (answer.status, answer.body) == (401, b"")
        assert await running.application.services.store.read(list_requests) == ()


async def test_a_password_inside_where_none_are_taken_is_refused(folder: Path) -> None:
    (folder / "secrets" / "est-passwords.yaml").write_text(f'pump: "{PasswordHasher().hash("static")}"')
    async with lab(folder, endpoint().replace("one_time_passwords: true, ", "")) as running:
        request = csr("pump", attributes={OTP: "otp"})
        assert (await running.post("simpleenroll", request, basic=("pump", "static"))).status == 401
        assert (await running.post("simpleenroll", csr("pump"), basic=("pump", "static"))).status == 200


async def test_a_revocation_challenge_is_kept_as_a_hash_and_revokes_that_certificate(folder: Path) -> None:
    async with lab(folder, endpoint()) as running:
        services = running.application.services
        await keep(services.store, credential("otp", username="pump"))
        key = ec.generate_private_key(ec.SECP256R1())
        request = csr("pump", key=key, attributes={REVOCATION: "stop it"})
        first = await running.post("simpleenroll", request, basic=("pump", "otp"))
        again = await running.post("simpleenroll", request, basic=("pump", "otp"))
        serial = first.certificate.serial_number
        assert again.certificate.serial_number == serial

        (one,) = await services.store.read(lambda connection: find_for_certificate(connection, serial))
        assert one.kind is CredentialKind.REVOCATION
        assert (one.argon2 or "").startswith("$argon2id$")
        assert b"stop it" not in (folder / "certwright.db-wal").read_bytes()
    serials = {"right": f"{serial:x}", "unknown": f"{serial + 1:x}"}
    for which, typed, says in (
        ("unknown", "stop it", "no revocation challenge came with"),
        ("right", "go on", "that is not the revocation challenge"),
        ("right", "stop it", "is revoked"),
    ):
        arguments = ["revoke", serials[which], "--challenge", "--config", str(folder / "server.yaml")]
        done = await asyncio.to_thread(CliRunner().invoke, cert.app, arguments, input=f"{typed}\n")
        assert says in done.output
        assert done.exit_code == (0 if says == "is revoked" else 1)


@pytest.mark.parametrize("basic", [("pump", "otp"), ("pump", "wrong"), None], ids=["right", "wrong", "none"])
async def test_where_both_are_wanted_no_password_makes_up_for_a_certificate(
    folder: Path, basic: tuple[str, str] | None
) -> None:
    """A 401 would ask for the password again; whether it is right is not told to who has no certificate."""
    async with lab(folder, BOTH) as running:
        services = running.application.services
        await keep(services.store, credential("otp", username="pump", uses_left=2))
        answer = await running.post("simpleenroll", csr("pump"), basic=basic)
        assert (answer.status, answer.body) == (403, problems.explanation(problems.CERTIFICATE_FIRST))
        assert "WWW-Authenticate" not in answer.fields
        (record,) = await services.store.read(list_requests)
        assert record.message == problems.CERTIFICATE_FIRST.message
        answer = await running.post("simplereenroll", csr("pump"), basic=basic)
        assert (answer.status, answer.body) == (403, problems.explanation(gate.NOTHING_TO_RENEW))


@pytest.mark.parametrize("basic", [("pump", "more"), ("pump", "wrong"), None], ids=["right", "wrong", "none"])
@pytest.mark.parametrize("operation", ["simpleenroll", "simplereenroll"])
async def test_where_both_are_wanted_the_reason_against_a_certificate_is_told(
    folder: Path, operation: str, basic: tuple[str, str] | None
) -> None:
    async with where_both_are_wanted(folder) as (running, device):
        services = running.application.services
        serial = device.chain[0].serial_number
        await services.enrollment.revoke(serial, x509.ReasonFlags.unspecified, by="admin:test")
        answer = await running.post(operation, csr("pump"), holder=device, basic=basic)
        assert (answer.status, answer.body) == (403, b"the presented certificate is revoked\n")
        record, _ = await services.store.read(list_requests)
        assert record.requester == f"certificate:{serial:x}"


async def test_where_both_are_wanted_a_certificate_alone_is_asked_for_the_password(folder: Path) -> None:
    """libest sends its password after a 401 only."""
    async with where_both_are_wanted(folder) as (running, device):
        answer = await running.post("simpleenroll", csr("pump"), holder=device)
        assert (answer.status, answer.body) == (401, b"")
        assert answer.fields["WWW-Authenticate"] == 'Basic realm="est/default"'
        assert (await running.post("simpleenroll", csr("pump"), holder=device, basic=("pump", "more"))).status == 200


# --- reading the claims ------------------------------------------------------------------------------------------


def with_attributes(*attributes: RequestedAttribute) -> Csr:
    found = parse_csr(csr("pump"))
    return Csr(**{name: getattr(found, name) for name in Csr.__slots__} | {"attributes": attributes})


def claims(found: Csr, **fields: Any) -> Any:
    usual: dict[str, Any] = {"binding": b"b", "linking": Linking.OPTIONAL, "meaning": Meaning.BINDING, "foreign": False}
    return read_claims(found, **(usual | fields))


@given(st.lists(st.tuples(st.sampled_from(sorted(linking.READ_HERE)), st.lists(st.binary(max_size=300), max_size=3))))
def test_any_attributes_are_read_or_malformed(found: list[tuple[str, list[bytes]]]) -> None:
    try:
        claims(with_attributes(*(RequestedAttribute(oid, tuple(values)) for oid, values in found)))
    except Malformed as error:
        assert error.reason is Reason.MALFORMED  # noqa: PT017 - a Malformed is one of two right results


@pytest.mark.parametrize("text", ["", "x" * 256])
def test_a_secret_of_no_or_too_many_characters_is_malformed(text: str) -> None:
    with pytest.raises(Malformed, match="no or too many characters"):
        claims(with_attributes(RequestedAttribute(linking.OTP_CHALLENGE, (der.utf8(text),))))


@pytest.mark.parametrize("text", ["x", "x" * 255])
def test_a_secret_has_255_characters_at_most(text: str) -> None:
    found = claims(with_attributes(RequestedAttribute(linking.OTP_CHALLENGE, (der.utf8(text),))))
    assert found.one_time_password == text


def test_a_request_that_says_nothing_of_its_connection_is_not_bound_to_it() -> None:
    for binding in (b"unique", None):
        assert not claims(parse_csr(csr("pump")), binding=binding).is_linked


@pytest.mark.parametrize(
    ("oid", "name"),
    [
        (linking.OTP_CHALLENGE, "otpChallenge"),
        (linking.REVOCATION_CHALLENGE, "revocationChallenge"),
        (linking.IDENTITY_LINKING, "estIdentityLinking"),
    ],
)
@pytest.mark.parametrize("values", [[1, 1], [2], [0]], ids=["two attributes", "two values", "no value"])
def test_what_is_there_twice_is_not_the_first_of_both(oid: str, name: str, values: list[int]) -> None:
    """RFC 7894 section 3: each has a single value; who reads another one than we do must not find us agreeing."""
    texts = iter((der.utf8("one"), der.utf8("two")))
    attributes = [RequestedAttribute(oid, tuple(next(texts) for _ in range(count))) for count in values]
    with pytest.raises(Malformed, match=f"not exactly one {name}") as refused:
        claims(with_attributes(*attributes))
    assert refused.value.reason is Reason.MALFORMED


@pytest.mark.parametrize("wrong", [CHALLENGE_PASSWORD, IDENTITY], ids=["challengePassword", "estIdentityLinking"])
def test_of_two_bindings_both_must_be_right(wrong: x509.ObjectIdentifier) -> None:
    right = b64encode(b"unique").decode()
    both = {CHALLENGE_PASSWORD: right, IDENTITY: right}
    assert claims(parse_csr(csr("pump", attributes=both)), binding=b"unique").is_linked
    asked = parse_csr(csr("pump", attributes={**both, wrong: b64encode(b"another").decode()}))
    with pytest.raises(Malformed, match="is not the channel binding of this TLS connection") as refused:
        claims(asked, binding=b"unique")
    assert refused.value.reason is Reason.BAD_PROOF
    assert not claims(asked, binding=b"unique", linking=Linking.OFF).is_linked


def test_two_different_passwords_are_malformed() -> None:
    request = parse_csr(csr("pump", attributes={OTP: "one", CHALLENGE_PASSWORD: "two"}))
    with pytest.raises(Malformed, match="two different one-time passwords"):
        claims(request, meaning=Meaning.ONE_TIME_PASSWORD)
    same = parse_csr(csr("pump", attributes={OTP: "one", CHALLENGE_PASSWORD: "one"}))
    assert claims(same, meaning=Meaning.ONE_TIME_PASSWORD).one_time_password == "one"


@pytest.mark.parametrize("binding", [None, b"", b"another"])
def test_a_claim_without_its_binding_is_refused_but_for_a_registration_authority(binding: bytes | None) -> None:
    request = parse_csr(csr("pump", attributes={IDENTITY: b64encode(b"unique").decode()}))
    with pytest.raises(Malformed) as refused:
        claims(request, binding=binding)
    assert refused.value.reason is Reason.BAD_PROOF
    assert ("nothing to bind to" in refused.value.message) is not bool(binding)
    assert not claims(request, binding=binding, foreign=True).is_linked
    assert claims(request, binding=b"unique", foreign=True).is_linked


@pytest.mark.parametrize("binding", [None, b"unique"])
def test_what_can_not_be_bound_is_not_told_to_be_bound(binding: bytes | None) -> None:
    """Without Extended Master Secret, and behind most proxies, who obeyed would be refused all the same."""
    with pytest.raises(Malformed, match="must be bound to its TLS connection") as refused:
        claims(parse_csr(csr("pump")), binding=binding, linking=Linking.REQUIRED)
    assert ("put base64 of" in refused.value.message) is bool(binding)
    assert ("nothing to bind to" in refused.value.message) is not bool(binding)
