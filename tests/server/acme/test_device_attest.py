"""device-attest-01: from an order for a device to a certificate for the key that lies in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ca.csr import parse_csr
from server.acme.challenges.device_attest01 import DeviceAttest01
from server.acme.codec.device_identifiers import device_fault, from_other_name, to_other_name
from server.acme.messages import Identifier
from tests.fakes.acme import b64, new_key
from tests.fakes.attestation import Device, Maker, encoded
from tests.fakes.issuer import NOW
from tests.server.acme.lab import make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Answer, Client, Lab

SERIAL = "C02-1"
PERMANENT = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.3")


@pytest.fixture
def maker() -> Maker:
    return Maker(NOW)


@pytest_asyncio.fixture
async def client(lab: Lab, maker: Maker) -> Client:
    """A client of an endpoint where devices of the maker attest, and hosts answer http-01."""
    plain = lab.endpoint()
    attest = DeviceAttest01({"step": (maker.root,), "apple": (maker.root,)}, ["permanent-identifier:C02*"])
    await lab.serve(lab.endpoint(challenges=(*plain.challenges, attest)))
    return await lab.client()


async def order(client: Client, *values: str, hosts: tuple[str, ...] = ()) -> Answer:
    identifiers = [{"type": "permanent-identifier", "value": value} for value in values]
    identifiers += [{"type": "dns", "value": host} for host in hosts]
    return await client.post(client.url("/new-order"), {"identifiers": identifiers})


async def challenge_of(client: Client, made: Answer, index: int = 0) -> dict[str, Any]:
    (challenge,) = (await client.post(made.body["authorizations"][index])).body["challenges"]
    return dict(challenge)


def device(client: Client, maker: Maker, token: str, serial: str = SERIAL, key: Any = None) -> Device:
    authorization = f"{token}.{client.signer.thumbprint}"
    return Device(maker, serial, key or new_key(), token=token, key_authorization=authorization)


async def attested(client: Client, maker: Maker, made: Answer, index: int = 0, serial: str = SERIAL) -> Device:
    """Attest for an authorization of an order; the device whose key may be certified now."""
    challenge = await challenge_of(client, made, index)
    own = device(client, maker, challenge["token"], serial)
    answer = await client.post(challenge["url"], {"attObj": b64(encoded("step", own.step())), "more": 1})
    assert answer.body["status"] == "valid", answer.body
    return own


async def certificate(client: Client, made: Answer, csr: bytes) -> x509.Certificate:
    done = await client.finalize(made, csr)
    assert done.body["status"] == "valid", done.body
    return x509.load_pem_x509_certificates((await client.post(done.body["certificate"])).body)[0]


async def test_a_device_gets_a_certificate_for_its_key_that_need_not_name_it(client: Client, maker: Maker) -> None:
    made = await order(client, SERIAL)
    assert made.status == 201
    challenge = await challenge_of(client, made)
    assert challenge["type"] == "device-attest-01"
    assert len(challenge["token"]) >= 22
    own = await attested(client, maker, made)
    assert (await client.post(made.location)).body["status"] == "ready"
    found = await certificate(client, made, make_csr(cn=SERIAL, key=own.key))
    assert found.public_key() == own.key.public_key()
    assert found.subject.rfc4514_string() == f"CN={SERIAL}"


async def test_the_key_of_the_csr_must_be_the_attested_one(client: Client, maker: Maker) -> None:
    made = await order(client, SERIAL)
    own = await attested(client, maker, made)
    refused = await client.finalize(made, make_csr(cn=SERIAL))
    assert refused.error == "badCSR"
    assert "attested" in refused.body["detail"]
    assert (await client.post(made.location)).body["status"] == "ready"
    await certificate(client, made, make_csr(cn=SERIAL, key=own.key))


async def test_a_csr_names_no_other_device(client: Client, maker: Maker) -> None:
    made = await order(client, SERIAL)
    own = await attested(client, maker, made)
    other = to_other_name(Identifier("permanent-identifier", "C02-2"))
    named = x509.OtherName(PERMANENT, other.value)
    for csr in (make_csr(cn="C02-2", key=own.key), make_csr(key=own.key, extra=(named,))):
        assert (await client.finalize(made, csr)).error == "badCSR"


async def test_one_order_may_have_a_device_and_hosts_and_the_key_is_the_devices(client: Client, maker: Maker) -> None:
    made = await order(client, SERIAL, hosts=("a.localhost",))
    host = await challenge_of(client, made, 1)
    client.lab.served[host["token"]] = f"{host['token']}.{client.signer.thumbprint}"
    await client.post(host["url"], {})
    await client.until(made.body["authorizations"][1], "valid")
    own = await attested(client, maker, made)
    assert (await client.finalize(made, make_csr("a.localhost"))).error == "badCSR"
    found = await certificate(client, made, make_csr("a.localhost", key=own.key))
    assert found.public_key() == own.key.public_key()


async def test_two_devices_can_not_share_a_key_that_only_one_has(client: Client, maker: Maker) -> None:
    made = await order(client, SERIAL, "C02-2")
    own = await attested(client, maker, made)
    await attested(client, maker, made, 1, "C02-2")
    assert (await client.finalize(made, make_csr(cn=SERIAL, key=own.key))).error == "badCSR"


async def test_a_bad_statement_ends_the_challenge_with_its_reason(client: Client, maker: Maker, lab: Lab) -> None:
    made = await order(client, SERIAL)
    challenge = await challenge_of(client, made)
    wrong = device(client, maker, challenge["token"], "C02-2")
    answer = await client.post(challenge["url"], {"attObj": b64(encoded("step", wrong.step()))})
    assert (answer.status, answer.error) == (400, "badAttestationStatement")
    assert "another device" in answer.body["detail"]
    decided = (await client.post(challenge["url"])).body
    assert (decided["status"], decided["error"]) == ("invalid", answer.body)
    assert (await client.post(made.location)).body["status"] == "invalid"
    right = device(client, maker, challenge["token"])
    again = await client.post(challenge["url"], {"attObj": b64(encoded("step", right.step()))})
    assert again.body["status"] == "invalid"
    assert "C02-1 was not validated" in (await lab.refusals())[0].problem.message  # type: ignore[union-attr]


async def test_a_statement_is_good_for_one_challenge_of_one_account(client: Client, maker: Maker, lab: Lab) -> None:
    made = await order(client, SERIAL)
    own = device(client, maker, (await challenge_of(client, made))["token"])
    said = {"attObj": b64(encoded("step", own.step()))}
    thief = await lab.client()
    stolen = await order(thief, SERIAL)
    for victim, target in ((client, await order(client, SERIAL)), (thief, stolen)):
        challenge = await challenge_of(victim, target)
        assert (await victim.post(challenge["url"], said)).error == "badAttestationStatement"
    foreign = await challenge_of(client, made)
    assert (await thief.post(foreign["url"], said)).status == 404
    assert (await client.post(foreign["url"], said)).body["status"] == "valid"


@pytest.mark.parametrize("payload", [{}, {"attObj": 1}, {"attObj": "a+b"}, {"error": "no"}])
async def test_an_answer_without_statement_is_malformed_and_decides_nothing(
    client: Client, maker: Maker, payload: Any
) -> None:
    made = await order(client, SERIAL)
    challenge = await challenge_of(client, made)
    assert (await client.post(challenge["url"], payload)).error == "malformed"
    await attested(client, maker, made)


async def test_reading_starts_nothing_and_an_answer_again_changes_nothing(client: Client, maker: Maker) -> None:
    made = await order(client, SERIAL)
    challenge = await challenge_of(client, made)
    assert (await client.post(challenge["url"])).body["status"] == "pending"
    await attested(client, maker, made)
    again = await client.post(challenge["url"], {"attObj": "AA"})
    assert again.body["status"] == "valid"


@pytest.mark.parametrize(
    ("identifier", "error"),
    [
        (("permanent-identifier", "D03-1"), "rejectedIdentifier"),
        (("hardware-module", "C02-1/1.2.3"), "rejectedIdentifier"),
        (("permanent-identifier", ""), "malformed"),
        (("permanent-identifier", "C02/x"), "malformed"),
        (("permanent-identifier", "C02/1.2/3"), "malformed"),
        (("permanent-identifier", "C02\n"), "malformed"),
        (("permanent-identifier", "C02" + "x" * 200), "malformed"),
        (("hardware-module", "C02"), "malformed"),
        (("x-device", "C02"), "unsupportedIdentifier"),
    ],
)
async def test_a_device_that_can_not_be_is_refused_at_once(
    client: Client, identifier: tuple[str, str], error: str
) -> None:
    type_, value = identifier
    answer = await client.post(client.url("/new-order"), {"identifiers": [{"type": type_, "value": value}]})
    assert answer.error == error


async def test_where_devices_do_not_attest_their_orders_are_refused(lab: Lab) -> None:
    assert (await order(await lab.client(), SERIAL)).error == "rejectedIdentifier"


async def test_a_challenge_that_is_no_longer_offered_is_not_there(client: Client, lab: Lab) -> None:
    challenge = await challenge_of(client, await order(client, SERIAL))
    await lab.serve(lab.endpoint())
    assert (await client.post(challenge["url"], {"attObj": "AA"})).status == 404


async def test_the_account_that_holds_the_device_may_revoke_its_certificate(
    client: Client, maker: Maker, lab: Lab
) -> None:
    made = await order(client, SERIAL)
    own = await attested(client, maker, made)
    found = await certificate(client, made, make_csr(cn=SERIAL, key=own.key))
    request = {"certificate": b64(found.public_bytes(Encoding.DER))}
    assert (await (await lab.client()).post(client.url("/revoke-cert"), request)).error == "unauthorized"
    assert (await client.post(client.url("/revoke-cert"), request)).status == 200


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("permanent-identifier", "C02"),
        ("permanent-identifier", "é-ü 7/1.2.840.113556"),
        ("hardware-module", "serial/2.999.3"),
    ],
)
def test_identifiers_are_the_same_in_orders_and_certificates(type_: str, value: str) -> None:
    identifier = Identifier(type_, value)
    assert not device_fault(type_, value)
    name = to_other_name(identifier)
    assert from_other_name(name.type_id, name.value) == identifier
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    san = x509.SubjectAlternativeName([x509.OtherName(x509.ObjectIdentifier(name.type_id), name.value)])
    csr = builder.add_extension(san, critical=False).sign(new_key(), SHA256())
    assert parse_csr(csr.public_bytes(Encoding.DER)).names == (name,)


@pytest.mark.parametrize(
    ("type_id", "value"),
    [
        ("1.2.3", b"\x30\x00"),
        (PERMANENT.dotted_string, b""),
        (PERMANENT.dotted_string, b"\x30\x00"),
        (PERMANENT.dotted_string, b"\x30\x03\x0c\x01/"),
        (PERMANENT.dotted_string, b"\x30\x03\x0c\x01\xff"),
        (PERMANENT.dotted_string, b"\x30\x06\x0c\x01a\x0c\x01b"),
        ("1.3.6.1.5.5.7.8.4", b"\x30\x03\x06\x01*"),
        ("1.3.6.1.5.5.7.8.4", b"\x30\x06\x06\x01*\x04\x01\xff"),
    ],
)
def test_other_names_that_stand_for_no_device_are_none(type_id: str, value: bytes) -> None:
    assert from_other_name(type_id, value) is None
