"""Presets and switches, each with the device that needs it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding

from ca import der
from server.cms.algorithms import Cipher, Digest
from server.cms.enveloped import read_envelope
from server.config import ScepEndpointConfig
from tests.server.scep.device import csr, enrollment, envelope, read_reply, rsa_key, self_signed
from tests.server.scep.lab import FILES, ISSUING

if TYPE_CHECKING:
    from tests.server.scep.device import Message
    from tests.server.scep.lab import Lab

OLD = {
    "SHA-1": (Digest.SHA1, Cipher.AES128),
    "3DES": (Digest.SHA256, Cipher.DES3),
    "MD5": (Digest.MD5, Cipher.AES128),
    "DES": (Digest.SHA256, Cipher.DES),
}
TAKEN: dict[str, set[str]] = {"modern": set(), "compatible": {"SHA-1", "3DES"}, "legacy-des": set(OLD)}
SWITCHES = {"SHA-1": "sha1", "3DES": "des3", "MD5": "danger_md5", "DES": "danger_des"}


def request(lab: Lab, digest: Digest, cipher: Cipher) -> Message:
    return enrollment(lab.ra_der, content=envelope(csr(rsa_key()), lab.ra_der, cipher), digest=digest)


@pytest.mark.parametrize("preset", TAKEN)
@pytest.mark.parametrize("algorithm", OLD)
async def test_a_preset_takes_what_it_says(lab: Lab, preset: str, algorithm: str) -> None:
    digest, cipher = OLD[algorithm]
    reply = await lab.ask(request(lab, digest, cipher), lab.endpoint(compatibility=preset))
    if algorithm in TAKEN[preset]:
        assert reply.status == "0"
        assert reply.signed.signer.digest_algorithm.oid == digest.oid, "clients refuse another digest than their own"
        assert read_envelope(reply.signed.content or b"").cipher is cipher
    else:
        assert (reply.status, reply.fail_info) == ("2", "0")
        assert algorithm in (reply.text or "")
        assert reply.signed.signer.digest_algorithm.oid == Digest.SHA256.oid


@pytest.mark.parametrize(
    ("algorithm", "broken"), [("SHA-1", None), ("3DES", None), ("MD5", "MD5"), ("DES", Cipher.DES.label)]
)
async def test_each_use_of_what_is_broken_is_in_the_log(lab: Lab, algorithm: str, broken: str | None) -> None:
    message = request(lab, *OLD[algorithm])
    answer = await lab.send(message, lab.endpoint(compatibility="legacy-des"))
    assert answer.notes.get("broken") == broken


@pytest.mark.parametrize("algorithm", OLD)
async def test_a_switch_adds_one_algorithm_or_takes_it_away(lab: Lab, algorithm: str) -> None:
    message, switch = request(lab, *OLD[algorithm]), SWITCHES[algorithm]
    assert (await lab.ask(message, lab.endpoint(switches={switch: True}))).status == "0"
    without = lab.endpoint(compatibility="legacy-des", switches={switch: False})
    assert (await lab.ask(message, without)).fail_info == "0"


async def test_cisco_ios_as_it_comes_enrolls_where_all_that_is_accepted(lab: Lab) -> None:
    """MD5 for the message, single DES for its content."""
    endpoint = lab.endpoint(compatibility="legacy-des", switches={"ca_in_reply": True})
    reply = await lab.ask(request(lab, Digest.MD5, Cipher.DES), endpoint)
    assert reply.status == "0"
    issued, ca = map(x509.load_der_x509_certificate, reply.certificates)
    assert issued.public_key() == rsa_key().public_key()
    assert ca == ISSUING.certificate


async def test_a_reply_has_the_issued_certificate_alone_as_juniper_wants_it(lab: Lab) -> None:
    assert len((await lab.ask(enrollment(lab.ra_der))).certificates) == 1


def signed_with(digest: Digest) -> bytes:
    """Return a certification request whose own signature is an old one."""
    info = der.children(der.read(csr(rsa_key())))[0].raw
    signature = rsa_key().sign(info, padding.PKCS1v15(), digest.hash)
    return der.sequence(info, der.sequence(der.oid(digest.rsa_oid), der.null()), der.bit_string(signature))


@pytest.mark.parametrize("preset", TAKEN)
@pytest.mark.parametrize("digest", [Digest.SHA1, Digest.MD5])
async def test_the_signature_of_the_certification_request_counts_too(lab: Lab, preset: str, digest: Digest) -> None:
    message = enrollment(lab.ra_der, content=envelope(signed_with(digest), lab.ra_der))
    reply = await lab.ask(message, lab.endpoint(compatibility=preset))
    assert (reply.status == "0") is (digest.label in TAKEN[preset])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, set()),
        ({"compatibility": "compatible"}, {"DES3", "SHA-1"}),
        ({"compatibility": "legacy-des"}, {"DES3", "SHA-1"}),
        ({"switches": {"des3": True}}, {"DES3"}),
        ({"compatibility": "compatible", "switches": {"sha1": False}}, {"DES3"}),
    ],
)
def test_capabilities_name_what_is_taken_but_never_md5_and_des(
    lab: Lab, config: dict[str, Any], words: set[str]
) -> None:
    said = set(lab.endpoint(**config).advertising.capabilities().body.decode().split())
    assert said & {"DES", "MD5", "DES3", "SHA-1"} == words


def weaknesses(**config: Any) -> tuple[str, ...]:
    settings = {"profiles": ("p",), "ra": FILES, "challenge": {"one_time": True}, **config}
    return ScepEndpointConfig.model_validate(settings).weaknesses()


def test_what_is_weak_is_warned_about_and_what_is_dangerous_is_called_so() -> None:
    assert weaknesses() == ()
    assert weaknesses(challenge={"static": "c"}) == ("one static challenge password admits every device",)
    assert len(weaknesses(compatibility="compatible")) == 2
    assert sum(one.startswith("DANGER") for one in weaknesses(compatibility="legacy-des")) == 2
    assert sum(one.startswith("DANGER") for one in weaknesses(switches={"danger_des": True})) == 1


async def test_a_proxy_of_an_mdm_asks_for_keys_of_others(lab: Lab) -> None:
    """Jamf's proxy signs with a certificate of its own; the reply is for it alone."""
    proxy = rsa_key("proxy")
    certificate = self_signed(proxy, "MDM")
    message = enrollment(lab.ra_der, key=proxy, certificate=certificate)
    assert (await lab.ask(message)).fail_info == "1"
    lab.proxies = frozenset({sha256(certificate).digest()})
    reply = read_reply((await lab.send(message)).body, proxy)
    assert x509.load_der_x509_certificate(reply.certificates[0]).public_key() == rsa_key().public_key()


async def test_a_proxy_may_have_its_certificate_from_here(lab: Lab) -> None:
    """What it signs is then no renewal of that certificate, unless it says so."""
    proxy = rsa_key("proxy")
    theirs = envelope(csr(proxy, "MDM"), lab.ra_der)
    certificate = (
        await lab.ask(enrollment(lab.ra_der, content=theirs, key=proxy, certificate=self_signed(proxy)))
    ).certificates[0]
    lab.proxies = frozenset({sha256(certificate).digest()})
    reply = await lab.ask(enrollment(lab.ra_der, key=proxy, certificate=certificate))
    assert x509.load_der_x509_certificate(reply.certificates[0]).public_key() == rsa_key().public_key()
    assert lab.policy.seen[-1].renewed is None
    assert lab.policy.seen[-1].requester.identity == "challenge:static"
    without = envelope(csr(rsa_key(), "device-1.test", None), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=without, key=proxy, certificate=certificate))).status == "2"
    renewal = enrollment(lab.ra_der, content=theirs, key=proxy, certificate=certificate, kind=der.printable("17"))
    assert (await lab.ask(renewal)).status == "0"
    assert lab.policy.seen[-1].renewed is not None


async def test_a_proxy_is_known_by_its_certificate_and_needs_the_challenge(lab: Lab) -> None:
    proxy = rsa_key("proxy")
    certificate = self_signed(proxy, "MDM")
    lab.proxies = frozenset({sha256(certificate).digest()})
    another = self_signed(rsa_key("thief"), "MDM")
    assert (await lab.ask(enrollment(lab.ra_der, key=rsa_key("thief"), certificate=another))).fail_info == "1"
    content = envelope(csr(rsa_key(), "device-1.test", None), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content, key=proxy, certificate=certificate))).status == "2"
