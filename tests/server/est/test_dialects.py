"""Requests octet by octet as clients in the field write them, over TLS as they speak it.

The clients are libest 3.2.0 and an older one, aziot-certd, globalsign's estclient and hostap's hs20-osu-client; none
of them is packaged for Debian, so these are replicas after notes on their behaviour, not recordings.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode, encodebytes
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier
from OpenSSL import SSL

from server.store.certificates import list_certificates
from tests.fakes.credential import credential, keep
from tests.server.est.lab import Answer, Device, Holder, csr, lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.est.lab import Lab

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {one_time_passwords: true, certificates: true}
"""
BASIC = b"Basic " + b64encode(b"pump:otp")


@pytest.fixture
async def running(folder: Path) -> AsyncIterator[Lab]:
    async with lab(folder, ENDPOINTS) as made:
        await keep(made.application.services.store, credential("otp", username="pump", uses_left=9))
        yield made


async def say(running: Lab, *said: bytes, holder: Holder | None = None, tls: int = SSL.TLS1_3_VERSION) -> Answer:
    """Send these octets, each in a write of its own, on one new connection."""

    def work() -> Answer:
        with Device(running.ports["https"], holder, tls=tls) as device:
            for part in said:
                device.tls.sendall(part)
            return device.answer()

    return await asyncio.to_thread(work)


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


async def test_libest_posts_without_a_password_first_and_reads_wrapped_base64_alone(running: Lab) -> None:
    body = encodebytes(csr("pump"))

    def request(*more: bytes) -> bytes:
        return head(
            b"POST /.well-known/est/simpleenroll HTTP/1.1",
            b"User-Agent: libest 3.2.0p",
            b"Connection: close",
            b"Host: localhost:8443",
            *more,
            b"Content-Type: application/pkcs10",
            b"Content-Length: %d" % len(body),
        )

    first = await say(running, request() + body, tls=SSL.TLS1_2_VERSION)
    assert (first.status, first.body) == (401, b"")
    assert first.fields["WWW-Authenticate"] == 'Basic realm="est/default"'
    second = await say(running, request(b"Authorization: " + BASIC) + body, tls=SSL.TLS1_2_VERSION)
    assert second.certificate.subject.rfc4514_string() == "CN=pump"
    assert max(map(len, second.body.splitlines())) == 76
    assert second.fields["Content-Transfer-Encoding"] == "base64"
    assert second.fields["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    assert "Transfer-Encoding" not in second.fields


@pytest.mark.parametrize("more", ["", "    extensions: {certificate_policies: {1.3.6.1.4.1.32473.7: null}}\n"])
async def test_libest_renews_with_every_extension_of_its_certificate_in_the_request(folder: Path, more: str) -> None:
    file = folder / "policies" / "iot-device.yaml"
    policy, _, _ = file.read_text().partition("\ntests:")
    file.write_text(f"{policy}\n{more}")
    async with lab(folder, ENDPOINTS) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        key = ec.generate_private_key(ec.SECP256R1())
        asked = csr("pump", dns=("pump.example",), key=key)
        first = (await running.post("simpleenroll", asked, basic=("pump", "otp"))).certificate
        builder = x509.CertificateSigningRequestBuilder(first.subject)
        for extension in first.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        copied = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        answer = await running.post("simplereenroll", copied, holder=Holder(key, (first,)), tls=SSL.TLS1_2_VERSION)
        assert answer.status == 200, answer


async def test_iot_edge_enrolls_with_its_base_address_and_renews_through_simpleenroll_with_both(running: Lab) -> None:
    """It knows 200 alone, sends everything in lower case, and shows password and certificate when it renews."""
    key, store = ec.generate_private_key(ec.SECP256R1()), running.application.services.store

    def request(octets: bytes) -> bytes:
        body = b64encode(octets)
        lines = head(
            b"POST /.well-known/est/simpleenroll/ HTTP/1.1",
            b"content-type: application/pkcs10",
            b"content-transfer-encoding: base64",
            b"authorization: " + BASIC,
            b"content-length: %d" % len(body),
            b"host: localhost",
        )
        return lines + body

    first = await say(running, request(csr("pump", key=key)))
    holder = Holder(key, (first.certificate,))
    renewed = await say(running, request(csr("pump")), holder=holder)
    assert renewed.status == 200
    newest = (await store.read(list_certificates))[0]
    assert newest.renews == first.certificate.serial_number


async def test_globalsigns_client_sends_chunks_and_takes_no_compression_for_an_answer(running: Lab) -> None:
    body = encodebytes(csr("pump")).replace(b"\n", b"\r\n")
    chunks = [body[place : place + 200] for place in range(0, len(body), 200)]
    lines = head(
        b"POST /.well-known/est/simpleenroll HTTP/1.1",
        b"Host: localhost:8443",
        b"User-Agent: Go-http-client/1.1",
        b"Transfer-Encoding: chunked",
        b"Accept: application/pkcs7-mime",
        b"Authorization: " + BASIC,
        b"Content-Transfer-Encoding: base64",
        b"Content-Type: application/pkcs10",
        b"Accept-Encoding: gzip",
    )
    answer = await say(running, lines, *(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks), b"0\r\n\r\n")
    assert answer.certificate.subject.rfc4514_string() == "CN=pump"
    assert "Content-Encoding" not in answer.fields


async def test_passpoint_asks_for_usages_of_its_own_and_gets_what_the_profile_gives(running: Lab) -> None:
    """hs20-osu-client asks for nonRepudiation and a purpose of the Wi-Fi Alliance, by curl that waits for 100."""
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cert-user-1")]))
        .add_extension(usage, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ObjectIdentifier("1.3.6.1.4.1.40808.1.1.2")]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    body = encodebytes(made.public_bytes(Encoding.DER))
    lines = head(
        b"POST /.well-known/est/simpleenroll HTTP/1.1",
        b"Host: localhost:8443",
        b"Authorization: " + BASIC,
        b"Accept: */*",
        b"Content-Type: application/pkcs10",
        b"Content-Transfer-Encoding: base64",
        b"Content-Length: %d" % len(body),
        b"Expect: 100-continue",
    )

    def work() -> tuple[bytes, Answer]:
        with Device(running.ports["https"]) as device:
            device.tls.sendall(lines)
            go_on = device.tls.recv(4096)
            device.tls.sendall(body)
            return go_on, device.answer()

    go_on, answer = await asyncio.to_thread(work)
    assert go_on == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.certificate.subject.rfc4514_string() == "CN=cert-user-1"
    purposes = answer.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [purpose.dotted_string for purpose in purposes] == ["1.3.6.1.5.5.7.3.2"]


async def test_ios_asks_under_a_label_for_a_name_with_its_own_attributes_and_is_told_what_is_wrong(
    running: Lab,
) -> None:
    """Its subject has unstructuredName, which this profile does not have."""
    name = x509.Name(
        [
            x509.NameAttribute(ObjectIdentifier("1.2.840.113549.1.9.2"), "router.example"),
            x509.NameAttribute(NameOID.COMMON_NAME, "router"),
        ]
    )
    made = x509.CertificateSigningRequestBuilder(name).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    body = encodebytes(made.public_bytes(Encoding.DER))
    lines = head(
        b"POST /.well-known/est/default/simpleenroll HTTP/1.1",
        b"User-Agent: libEST 1.2.3",
        b"Connection: close",
        b"Host: localhost",
        b"Authorization: " + BASIC,
        b"Content-Type: application/pkcs10",
        b"Content-Length: %d" % len(body),
    )
    answer = await say(running, lines + body, tls=SSL.TLS1_2_VERSION)
    assert answer.status == 403
    assert b"unstructuredName" in answer.body
