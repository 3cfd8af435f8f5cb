"""Requesters with EC keys: the challenge password encrypts the reply (RFC 8894 section 3.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7
from pydantic import ValidationError

from ca import der
from server.cms.algorithms import Cipher, Digest
from server.cms.signed import read_signed
from server.config import ScepEndpointConfig
from tests.server.scep.device import Message, common_name, csr, envelope, read_reply, self_signed
from tests.server.scep.lab import FILES
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from pathlib import Path

    from server.scep.service import ScepEndpoint
    from tests.server.scep.device import Reply
    from tests.server.scep.lab import Lab

SECRET = "5MQX-7TR2-9KDW"
KEY = ec.generate_private_key(ec.SECP256R1())
ONE_TIME = {"one_time": True}


def message(
    lab: Lab, name: str = "device-1.test", challenge: str | None = SECRET, cipher: Cipher = Cipher.AES128
) -> Message:
    return Message(envelope(csr(KEY, name, challenge), lab.ra_der, cipher), KEY, self_signed(KEY, name))


async def ask(lab: Lab, asked: Message, endpoint: ScepEndpoint, password: str = SECRET) -> Reply:
    return read_reply((await lab.send(asked, endpoint)).body, asked.key, password)


@pytest.mark.parametrize("cipher", [Cipher.AES128, Cipher.AES256])
@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
async def test_a_device_with_an_ec_key_gets_its_certificate_under_its_one_time_challenge(
    lab: Lab, curve: ec.EllipticCurve, cipher: Cipher
) -> None:
    await lab.make_challenge(SECRET)
    key = ec.generate_private_key(curve)
    content = envelope(csr(key, "device-1.test", SECRET), lab.ra_der, cipher)
    asked = Message(content, key, self_signed(key), digest=Digest.SHA384)
    reply = await ask(lab, asked, lab.endpoint(challenge=ONE_TIME))
    assert reply.status == "0", reply.text
    certificate = x509.load_der_x509_certificate(reply.certificates[0])
    assert certificate.public_key() == key.public_key()
    assert certificate.subject == common_name("device-1.test")


async def test_a_retry_gets_the_same_certificate_under_the_spent_challenge(lab: Lab) -> None:
    await lab.make_challenge(SECRET)
    endpoint = lab.endpoint(challenge=ONE_TIME)
    first = await ask(lab, message(lab), endpoint)
    assert (await ask(lab, message(lab), endpoint)).certificates == first.certificates
    assert await lab.issued() == 1


async def test_a_wrong_challenge_gets_a_failure_and_no_envelope(lab: Lab) -> None:
    await lab.make_challenge(SECRET)
    reply = await ask(lab, message(lab, challenge="a guess"), lab.endpoint(challenge=ONE_TIME))
    assert (reply.status, reply.signed.content) == ("2", None)


async def test_without_a_challenge_there_is_nothing_to_encrypt_with(lab: Lab) -> None:
    reply = await ask(lab, message(lab, challenge=None), lab.endpoint(challenge=ONE_TIME))
    assert (reply.status, reply.fail_info) == ("2", "0")
    assert "RSA" in (reply.text or "")


async def test_a_poll_tells_the_state_and_the_request_sent_again_gets_the_certificate(lab: Lab) -> None:
    await lab.make_challenge(SECRET)
    endpoint = lab.endpoint(challenge=ONE_TIME)
    asked = message(lab, "deferred")
    poll = replace(asked, content=envelope(der.sequence(), lab.ra_der), kind=der.printable("20"))
    assert (await ask(lab, asked, endpoint)).status == "3"
    assert (await ask(lab, poll, endpoint)).status == "3"
    (request,) = await lab.requests()
    await lab.enrollment.approve(request.id, "an admin")
    told = await ask(lab, poll, endpoint)
    assert (told.status, told.fail_info) == ("2", "0")
    assert "send the request again" in (told.text or "")
    assert (await ask(lab, asked, endpoint)).status == "0"


async def test_a_renewal_names_the_password_for_its_reply(lab: Lab) -> None:
    await lab.make_challenge(SECRET)
    endpoint = lab.endpoint(challenge=ONE_TIME)
    first = await ask(lab, message(lab), endpoint)
    renewal = replace(message(lab, challenge="for this reply"), certificate=first.certificates[0])
    second = await ask(lab, replace(renewal, kind=der.printable("17")), endpoint, "for this reply")
    assert second.status == "0", second.text
    assert second.certificates != first.certificates
    silent = replace(message(lab, challenge=None), certificate=first.certificates[0], kind=der.printable("17"))
    assert (await ask(lab, silent, endpoint)).fail_info == "0"


async def test_a_certificate_is_not_looked_up_for_who_has_no_password(lab: Lab) -> None:
    await lab.make_challenge(SECRET)
    asked = replace(message(lab), kind=der.printable("21"))
    reply = await ask(lab, asked, lab.endpoint(challenge=ONE_TIME, get_cert=True))
    assert (reply.status, reply.fail_info) == ("2", "0")


# --- key agreement -----------------------------------------------------------------------------------------------

AGREES: dict[str, Any] = {"challenge": ONE_TIME, "switches": {"ec_key_agreement": True}}


async def opened_by_openssl(lab: Lab, asked: Message, endpoint: ScepEndpoint, folder: Path) -> list[x509.Certificate]:
    """Return what openssl finds in a reply, by the signer's key and certificate alone."""
    sent = await lab.send(asked, endpoint)
    content = read_signed(sent.body).content
    assert content, sent.notes
    (folder / "reply.der").write_bytes(content)
    key = asked.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(key)
    (folder / "signer.der").write_bytes(asked.certificate)
    program = require_program("openssl")
    run(program, "x509", "-inform", "DER", "-in", folder / "signer.der", "-out", folder / "signer.pem")
    how = ("-inform", "DER", "-in", folder / "reply.der", "-inkey", folder / "key.pem", "-recip", folder / "signer.pem")
    run(program, "cms", "-decrypt", *how, "-out", folder / "opened.der")
    return pkcs7.load_der_pkcs7_certificates((folder / "opened.der").read_bytes())


def deferred(lab: Lab, key: ec.EllipticCurvePrivateKey) -> tuple[Message, Message]:
    """Return a request that a person must approve, and the poll for it."""
    asked = Message(envelope(csr(key, "deferred", SECRET), lab.ra_der), key, self_signed(key, "deferred"))
    return asked, replace(asked, content=envelope(der.sequence(), lab.ra_der), kind=der.printable("20"))


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
async def test_a_poll_brings_the_certificate_by_key_agreement_where_that_is_switched_on(
    lab: Lab, tmp_path: Path, curve: ec.EllipticCurve
) -> None:
    await lab.make_challenge(SECRET)
    endpoint, key = lab.endpoint(**AGREES), ec.generate_private_key(curve)
    asked, poll = deferred(lab, key)
    assert (await ask(lab, asked, endpoint)).status == "3"
    (request,) = await lab.requests()
    await lab.enrollment.approve(request.id, "an admin")
    (certificate,) = await opened_by_openssl(lab, poll, endpoint, tmp_path)
    assert certificate.public_key() == key.public_key()


async def test_a_request_with_a_challenge_gets_its_reply_under_the_challenge_all_the_same(lab: Lab) -> None:
    await lab.make_challenge(SECRET)
    reply = await ask(lab, message(lab), lab.endpoint(**AGREES))
    assert (reply.status, len(reply.certificates)) == ("0", 1)


async def test_a_renewal_needs_no_password_for_its_reply_then(lab: Lab, tmp_path: Path) -> None:
    await lab.make_challenge(SECRET)
    endpoint = lab.endpoint(**AGREES)
    first = await ask(lab, message(lab), endpoint)
    silent = replace(message(lab, challenge=None), certificate=first.certificates[0], kind=der.printable("17"))
    (second,) = await opened_by_openssl(lab, silent, endpoint, tmp_path)
    assert second.serial_number != x509.load_der_x509_certificate(first.certificates[0]).serial_number


async def test_with_another_cipher_than_aes_no_key_is_agreed_and_the_poll_brings_no_certificate(lab: Lab) -> None:
    await lab.make_challenge(SECRET)
    endpoint = lab.endpoint(**AGREES, compatibility="compatible")
    asked, poll = deferred(lab, KEY)
    assert (await ask(lab, asked, endpoint)).status == "3"
    (request,) = await lab.requests()
    await lab.enrollment.approve(request.id, "an admin")
    poll = replace(poll, content=envelope(der.sequence(), lab.ra_der, Cipher.DES3))
    told = await ask(lab, poll, endpoint)
    assert (told.status, told.fail_info) == ("2", "0")


def test_key_agreement_is_for_endpoints_that_take_ec_requesters() -> None:
    with pytest.raises(ValidationError, match="ec_requesters: true"):
        ScepEndpointConfig.model_validate(
            {"profiles": ("p",), "ra": FILES, "challenge": {"static": "f"}, "switches": {"ec_key_agreement": True}}
        )


@pytest.mark.parametrize(
    ("settings", "taken"),
    [
        ({"challenge": {"one_time": True}}, True),
        ({"challenge": {"one_time": True, "static": "f"}}, False),
        ({"challenge": {"static": "f"}}, False),
        ({}, False),
        ({"challenge": {"one_time": True}, "switches": {"ec_requesters": False}}, False),
        ({"challenge": {"static": "f"}, "switches": {"ec_requesters": True}}, True),
    ],
)
def test_ec_keys_are_taken_where_no_reply_gives_a_lasting_password_away(
    settings: dict[str, object],
    taken: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    config = ScepEndpointConfig.model_validate({"profiles": ("scripted",), "ra": FILES, **settings})
    assert config.takes_ec_requesters() is taken
    warned = any("EC keys" in sentence for sentence in config.weaknesses())
    assert warned is (taken and "static" in settings.get("challenge", {}))  # type: ignore[operator] # a dict if any
