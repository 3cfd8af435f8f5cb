"""What is on record of every exchange, and what it looks like to a person."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ReasonFlags

from ca import der
from policies.request import EndpointName
from server.cms.algorithms import Cipher, Digest, KeyTransport
from server.commands.explaining import explain
from server.scep.exchanges import Exchange, find_exchanges, forget_exchanges, record_exchanges
from server.scep.observation import Carrier, fingerprint, looks_like
from tests.server.scep.device import NOW, SCEP, Message, common_name, csr, enrollment, envelope, rsa_key, self_signed
from tests.server.scep.test_replies import version_1

if TYPE_CHECKING:
    from server.scep.service import ScepEndpoint
    from tests.server.scep.lab import Lab

HRESULT = "1.3.6.1.4.1.311.21.33"


async def noted(lab: Lab, endpoint: ScepEndpoint, text: str = "transaction-1") -> tuple[Exchange, ...]:
    await endpoint.drain()
    return await lab.store.read(lambda connection: find_exchanges(connection, text))


async def told(lab: Lab, endpoint: ScepEndpoint, text: str = "transaction-1") -> list[dict[str, object]]:
    await endpoint.drain()
    found = await lab.store.read(lambda connection: explain(connection, text))
    return [dict(each.fields) for each in found]


async def test_what_the_client_sent_is_on_record(lab: Lab) -> None:
    endpoint = lab.endpoint(compatibility="compatible")
    oaep = KeyTransport((Digest.SHA1, Digest.SHA1))
    content = envelope(csr(rsa_key(), "device-1.test", "sesame", "device-1.test"), lab.ra_der, Cipher.DES3, oaep)
    message = enrollment(lab.ra_der, content=content, digest=Digest.SHA1).encode()
    await endpoint.pki_operation(message, "192.0.2.7", Carrier("POST", "Mozilla/4.0 (compatible; Win32; NDES client)"))
    (one,) = await noted(lab, endpoint)
    assert (one.outcome, one.reason, one.address, one.at) == ("issued", None, "192.0.2.7", NOW)
    seen = one.observed
    assert (seen["digest"], seen["cipher"], seen["key_transport"]) == ("SHA-1", "3DES-CBC", "OAEP SHA-1, MGF1 SHA-1")
    assert (seen["method"], looks_like(seen), seen["message_type"]) == ("POST", "Windows", "19")
    assert (seen["recipient_known"], seen["nonce_octets"], seen["certificates"]) == (True, 16, 1)
    assert seen["request"]["names"] == ["dns:device-1.test"]
    assert seen["signer"]["self_issued"]
    assert SCEP + "7" in seen["attributes"]
    assert len(fingerprint(seen)) == 12


async def test_no_secret_is_on_record(lab: Lab) -> None:
    endpoint = lab.endpoint()
    await lab.ask(enrollment(lab.ra_der), endpoint)
    await lab.ask(enrollment(lab.ra_der, content=envelope(csr(rsa_key(), "x", "wrong-sesame"), lab.ra_der)), endpoint)
    assert "sesame" not in repr(await noted(lab, endpoint))


async def test_a_refusal_is_explained_with_the_rule_and_its_place(lab: Lab) -> None:
    endpoint = lab.endpoint()
    await lab.ask(enrollment(lab.ra_der, content=envelope(csr(rsa_key(), "denied"), lab.ra_der)), endpoint)
    message, request = await told(lab, endpoint)
    assert message["message"] == "PKCSReq (19)"
    assert message["asks_for"] == "CN=denied"
    assert message["answer"] == "refused: policy"
    assert (request["state"], request["requester"]) == ("refused", "challenge:static")
    (found,) = [each for each in await lab.store.read(lambda c: explain(c, "transaction-1")) if each.findings]
    assert found.findings[0][:3] == ("subject.cn", "script.yaml:7:3", "this name is not allowed")


async def test_an_issued_certificate_and_its_retry_are_explained(lab: Lab) -> None:
    endpoint = lab.endpoint()
    for _ in range(2):
        await lab.ask(enrollment(lab.ra_der), endpoint)
    first, again, request = await told(lab, endpoint)
    assert first["request"] == again["request"] == request["request"]
    assert "CN=device-1.test" in str(request["certificate"])
    by_request = await told(lab, endpoint, str(request["request"]))
    assert [each.get("message") for each in by_request] == ["PKCSReq (19)", "PKCSReq (19)", None]


async def test_what_is_refused_early_is_explained_as_far_as_it_was_seen(lab: Lab) -> None:
    endpoint = lab.endpoint()
    others = tuple(self_signed(rsa_key(name), name) for name in ("one", "two"))
    unknown = enrollment(lab.ra_der, certificate=others[0], extra_certificates=others[1:], key_identifier=b"nobody")
    await lab.ask(unknown, endpoint)
    await lab.ask(enrollment(lab.ra_der, kind=der.printable("18")), endpoint)
    await lab.ask(enrollment(lab.ra_der, content=b"no envelope"), endpoint)
    stranger = envelope(csr(rsa_key()), self_signed(rsa_key("stranger"), "stranger"))
    await lab.ask(enrollment(lab.ra_der, content=stranger), endpoint)
    messages = [each for each in await told(lab, endpoint) if "message" in each]
    assert messages[0]["signed_by"] == "a certificate that is not in the message"
    assert "UpdateReq" in str(messages[1]["message"])
    assert messages[2]["encrypted"] == ""
    assert "none of our certificates" in str(messages[3]["encrypted_for"])


async def test_a_revoked_certificate_and_a_renewal_are_explained(lab: Lab) -> None:
    endpoint = lab.endpoint()
    old = await lab.enroll(endpoint)
    lab.pass_time(timedelta(hours=1))
    content = envelope(csr(rsa_key("new"), "device-1.test", None), lab.ra_der)
    await lab.ask(Message(content, rsa_key(), old.public_bytes(Encoding.DER), kind=der.printable("17")), endpoint)
    await lab.enrollment.revoke(old.serial_number, ReasonFlags.superseded, "admin:test")
    requests = [each for each in await told(lab, endpoint) if "state" in each]
    assert str(requests[0]["revoked"]).startswith("superseded")
    assert requests[1]["renews"] == f"{old.serial_number:x}"


async def test_a_diary_that_can_not_be_written_does_not_disturb_the_answer(lab: Lab) -> None:
    with closing(sqlite3.connect(lab.database)) as database, database:
        database.execute("ALTER TABLE scep_exchanges RENAME TO elsewhere")
    endpoint = lab.endpoint()
    assert (await lab.ask(enrollment(lab.ra_der), endpoint)).status == "0"
    await endpoint.drain()


async def test_the_oldest_exchanges_are_forgotten(lab: Lab) -> None:
    here = EndpointName.parse("scep/default")
    many = [Exchange(NOW, here, f"t{number}", None, None, "refused", "policy", {}) for number in range(10)]
    await lab.store.write(lambda connection: record_exchanges(connection, many))
    await lab.store.write(lambda connection: forget_exchanges(connection, 3))
    found = [await lab.store.read(lambda c, text=f"t{n}": find_exchanges(c, text)) for n in range(10)]  # type: ignore[misc]
    assert [bool(each) for each in found] == [False] * 7 + [True] * 3


@pytest.mark.parametrize(
    ("seen", "client"),
    [
        ({"signer": {"subject": common_name("SCEP SIGNER").public_bytes().hex()}}, "micromdm"),
        ({"agent": "CFNetwork/1.0 Darwin/1"}, "Apple"),
        ({"transaction_form": "decimal"}, "certmonger"),
        ({"signer": {"version": 1}, "digest": "SHA-1"}, ""),
        ({"signer": {"version": 1}, "digest": "MD5"}, "Cisco IOS"),
        ({"transaction_form": "40 hexadecimal capitals"}, "strongSwan"),
        ({"attributes": ["1.2.840.113549.1.9.52"]}, "jscep"),
        ({}, ""),
    ],
    ids=str,
)
def test_clients_are_known_by_their_habits(seen: dict[str, Any], client: str) -> None:
    assert looks_like(
        {"agent": "", "digest": "SHA-256", "attributes": [], "transaction_form": "other", **seen}
    ).startswith(client)


async def test_a_version_1_signer_is_known(lab: Lab) -> None:
    endpoint = lab.endpoint()
    await lab.ask(enrollment(lab.ra_der, certificate=version_1()), endpoint)
    assert "version 1" in str((await told(lab, endpoint))[0]["signed_by"])


@pytest.mark.parametrize(("on", "value"), [(True, b"-2146877420"), (False, None)])
async def test_microsofts_error_code_is_there_where_it_is_asked_for(lab: Lab, on: bool, value: bytes | None) -> None:  # noqa: FBT001 - parameter
    message = enrollment(lab.ra_der, content=envelope(csr(rsa_key(), "denied"), lab.ra_der))
    reply = await lab.ask(message, lab.endpoint(switches={"hresult": on}))
    element = reply.signed.signer.attribute(HRESULT)
    assert (None if element is None else element.content) == value
    assert reply.text, "failInfoText is always there"
