"""What single clients do on the wire, one test for each that no recording and no other test shows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AttributeOID, NameOID, ObjectIdentifier

from ca import der
from server.cms.algorithms import RSA_ENCRYPTION, Cipher, Digest, KeyTransport
from server.cms.enveloped import read_envelope
from server.cms.signed import CONTENT_TYPE, SIGNING_TIME
from tests.server.scep.device import (
    DATA,
    NOW,
    SIGNED_DATA,
    Message,
    common_name,
    csr,
    enrollment,
    envelope,
    indefinite,
    read_reply,
    rsa_key,
    self_signed,
)

if TYPE_CHECKING:
    from tests.server.scep.device import Reply
    from tests.server.scep.lab import Lab

KEY = rsa_key()
UNSTRUCTURED_NAME = ObjectIdentifier("1.2.840.113549.1.9.2")
ALGORITHM_PROTECTION = "1.2.840.113549.1.9.52"


async def ask(lab: Lab, octets: bytes, **settings: object) -> Reply:
    endpoint = lab.endpoint(**settings)  # type: ignore[arg-type] # of the test's choice
    return read_reply((await lab.send(octets, endpoint)).body, KEY)


def version_1(certificate: bytes) -> bytes:
    """Return the certificate without version and extensions, signed by nobody: its key is all that counts."""
    body, algorithm, signature = der.children(der.read(certificate))
    fields = [field.raw for field in der.children(body) if field.tag not in {0xA0, 0xA3}]
    return der.sequence(der.sequence(*fields), algorithm.raw, signature.raw)


async def test_jscep_writes_ber_and_protects_its_algorithms(lab: Lab) -> None:
    """BouncyCastle: indefinite lengths inside and outside, SHA-512 by its full name, CMSAlgorithmProtection."""
    digest = Digest.SHA512
    rsa = der.sequence(der.oid(digest.rsa_oid), der.null())
    protection = der.sequence(der.sequence(der.oid(digest.oid)), der.tlv(0xA1, der.oid(digest.rsa_oid), der.null()))
    more = (der.sequence(der.oid(ALGORITHM_PROTECTION), der.set_of(protection)),)
    content = indefinite(envelope(csr(KEY), lab.ra_der), 4)
    message = enrollment(lab.ra_der, content=content, digest=digest, algorithm=rsa, more=more)
    reply = await ask(lab, indefinite(message.encode(), 4))
    assert reply.status == "0", reply.text
    assert reply.signed.signer.attribute(CONTENT_TYPE) is not None, "jscep can't read a CertRep without it"


async def test_asa_certmonger_and_micromdm_sign_under_another_name_than_they_ask_for(lab: Lab) -> None:
    message = enrollment(lab.ra_der, certificate=self_signed(KEY, "SCEP SIGNER"))
    assert (await lab.ask(message)).status == "0"


async def test_cisco_ios_has_a_version_1_certificate_short_nonces_and_an_unstructured_name(lab: Lab) -> None:
    name = x509.Name([x509.NameAttribute(UNSTRUCTURED_NAME, "router-1.test")])
    builder = x509.CertificateSigningRequestBuilder(name).add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"sesame")
    request = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    message = Message(
        envelope(request, lab.ra_der, Cipher.DES),
        KEY,
        version_1(self_signed(KEY)),
        digest=Digest.MD5,
        nonce=der.octet_string(bytes(8)),
    )
    reply = await ask(lab, message.encode(), compatibility="legacy-des", status_content="omit")
    assert reply.status == "0", reply.text
    assert reply.signed.signer.digest_algorithm.oid == Digest.MD5.oid, "it takes no other digest than its own"
    assert reply.signed.content is not None
    assert read_envelope(reply.signed.content).cipher is Cipher.DES
    assert lab.policy.seen[0].csr.subject.rdns[0][0].value == "router-1.test"


async def test_cisco_ios_may_send_its_request_again_and_again(lab: Lab) -> None:
    """Each time with another self-signed certificate of the same key."""
    first = await lab.ask(enrollment(lab.ra_der))
    for name in ("router", "ROUTER"):
        again = await lab.ask(enrollment(lab.ra_der, certificate=self_signed(KEY, name)))
        assert again.certificates == first.certificates
    assert await lab.issued() == 1


async def test_apple_renews_by_a_pkcs_req_in_ber_and_takes_the_first_certificate(lab: Lab) -> None:
    first = await lab.ask(enrollment(lab.ra_der))
    content = indefinite(envelope(csr(rsa_key("next"), "device-1.test", None), lab.ra_der), 5)
    renewal = enrollment(lab.ra_der, content=content, certificate=first.certificates[0])
    renewed = await ask(lab, renewal.encode())
    assert renewed.status == "0", renewed.text
    (leaf,) = renewed.certificates
    assert x509.load_der_x509_certificate(leaf).public_key() == rsa_key("next").public_key()


async def test_windows_uses_oaep_an_odd_certificate_and_a_long_challenge(lab: Lab) -> None:
    """CNG wants OAEP back; old certificates have negative serial numbers; Intune's challenges have over 1000 octets."""
    serial = der.tlv(der.INTEGER, b"\xff\x01")
    body = der.children(der.read(self_signed(KEY)))
    fields = [field.raw for field in der.children(body[0])]
    fields[1] = serial
    odd = der.sequence(der.sequence(*fields), body[1].raw, body[2].raw)
    long = "sesame".ljust(1500, "x")
    await lab.make_challenge(long)
    oaep = KeyTransport((Digest.SHA1, Digest.SHA1))
    endpoint = lab.endpoint(challenge={"one_time": True})
    message = Message(envelope(csr(KEY, "device-1.test", long), lab.ra_der, Cipher.AES256, oaep), KEY, odd)
    cut = replace(message, content=envelope(csr(KEY, "device-1.test", long[:-1]), lab.ra_der, Cipher.AES256, oaep))
    assert (await lab.ask(cut, endpoint)).status == "2", "it is read as a whole"
    reply = await lab.ask(message, endpoint)
    assert reply.status == "0", reply.text
    assert reply.signed.content is not None
    assert read_envelope(reply.signed.content).recipients[0].transport() == oaep


async def test_chromeos_sends_its_content_in_pieces_and_digests_them_joined(lab: Lab) -> None:
    message = enrollment(lab.ra_der)
    content = message.content or b""
    pieces = b"".join(der.octet_string(content[i : i + 64]) for i in range(0, len(content), 64))
    parts = [part.raw for part in der.children(der.children(der.children(der.read(message.encode()))[1])[0])]
    parts[2] = b"\x30\x80" + der.oid(DATA) + b"\xa0\x80\x24\x80" + pieces + bytes(6)
    chunked = der.sequence(der.oid(SIGNED_DATA), b"\xa0\x80\x30\x80" + b"".join(parts) + bytes(4))
    assert (await ask(lab, chunked)).status == "0"


async def test_fortigate_and_certmonger_send_the_spent_challenge_with_a_renewal(lab: Lab) -> None:
    await lab.make_challenge("once")
    endpoint = lab.endpoint(challenge={"one_time": True})
    content = envelope(csr(KEY, "device-1.test", "once"), lab.ra_der)
    first = await lab.ask(enrollment(lab.ra_der, content=content), endpoint)
    assert first.status == "0"
    renewed = await lab.ask(enrollment(lab.ra_der, content=content, certificate=first.certificates[0]), endpoint)
    assert renewed.status == "0", renewed.text
    assert renewed.certificates != first.certificates, "NDES would give the old one again: same transaction and key"


async def test_ndes_tested_printers_use_3des_and_sha_1_and_get_both_back(lab: Lab) -> None:
    content = envelope(csr(KEY), lab.ra_der, Cipher.DES3)
    message = enrollment(lab.ra_der, content=content, digest=Digest.SHA1)
    reply = await ask(lab, message.encode(), compatibility="compatible")
    assert reply.status == "0"
    assert reply.signed.signer.digest_algorithm.oid == Digest.SHA1.oid
    assert reply.signed.content is not None
    assert read_envelope(reply.signed.content).cipher is Cipher.DES3


@pytest.mark.parametrize("cipher", [Cipher.DES3, Cipher.AES128, Cipher.AES256])
async def test_stormshield_chooses_among_three_ciphers_and_gets_its_choice_back(lab: Lab, cipher: Cipher) -> None:
    content = envelope(csr(KEY), lab.ra_der, cipher)
    reply = await ask(lab, enrollment(lab.ra_der, content=content).encode(), compatibility="compatible")
    assert reply.status == "0"
    assert read_envelope(reply.signed.content or b"").cipher is cipher


@pytest.mark.parametrize("digest", [Digest.SHA256, Digest.SHA384, Digest.SHA512])
async def test_rhel_9_gets_no_sha_1_that_it_has_not_used(lab: Lab, digest: Digest) -> None:
    reply = await ask(lab, enrollment(lab.ra_der, digest=digest).encode(), compatibility="compatible")
    assert reply.signed.signer.digest_algorithm.oid == digest.oid
    assert reply.signed.signer.signature_algorithm.oid == RSA_ENCRYPTION


async def test_devices_without_a_clock_are_served(lab: Lab) -> None:
    """OpenXPKI's list of old clients: a signingTime of 1993, a certificate that ended long ago."""
    more = (der.sequence(der.oid(SIGNING_TIME), der.set_of(der.utc_time(NOW.replace(year=1993)))),)
    assert (await lab.ask(enrollment(lab.ra_der, more=more))).status == "0"


@pytest.mark.parametrize("tag", [der.PRINTABLE_STRING, der.UTF8_STRING, der.IA5_STRING, der.T61_STRING, der.BMP_STRING])
async def test_challenges_of_any_string_type_are_read(lab: Lab, tag: int) -> None:
    """jscep writes PrintableString, Cisco T61String, .NET clients BMPString."""
    text = "sesame".encode("utf-16-be") if tag == der.BMP_STRING else b"sesame"
    challenge = der.sequence(der.oid("1.2.840.113549.1.9.7"), der.set_of(der.tlv(tag, text)))
    info = der.children(der.children(der.read(csr(KEY, challenge=None)))[0])
    body = der.sequence(*(part.raw for part in info[:3]), der.tlv(0xA0, challenge))
    rsa = der.sequence(der.oid(Digest.SHA256.rsa_oid), der.null())
    signature = enrollment(lab.ra_der).signature(body)
    request = der.sequence(body, rsa, der.bit_string(signature))
    assert (await lab.ask(enrollment(lab.ra_der, content=envelope(request, lab.ra_der)))).status == "0"


async def test_names_of_devices_stay_what_they_are(lab: Lab) -> None:
    """ASA and IOS put serialNumber and unstructuredName beside the common name; the order is theirs."""
    attributes = [(NameOID.SERIAL_NUMBER, "FTX1840ABCD"), (UNSTRUCTURED_NAME, "asa.test"), (NameOID.COMMON_NAME, "asa")]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
    builder = x509.CertificateSigningRequestBuilder(subject).add_attribute(AttributeOID.CHALLENGE_PASSWORD, b"sesame")
    request = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    reply = await lab.ask(enrollment(lab.ra_der, content=envelope(request, lab.ra_der)))
    assert reply.status == "0", reply.text
    issued = x509.load_der_x509_certificate(reply.certificates[0]).subject
    assert [(one.oid, one.value) for one in issued] == attributes
    assert issued != common_name("asa")
