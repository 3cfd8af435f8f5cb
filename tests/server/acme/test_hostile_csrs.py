"""CSRs that try to smuggle something in: each is refused, or what it brings is not in the certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import der
from tests.fakes.acme import new_key

if TYPE_CHECKING:
    from tests.server.acme.lab import Lab

HOST = "csr.localhost"
UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def request(*extensions: x509.ExtensionType, subject: dict[x509.ObjectIdentifier, str] | None = None) -> bytes:
    """A CSR for the host, with more extensions and subject attributes."""
    name = x509.Name([x509.NameAttribute(oid, text, _validate=False) for oid, text in (subject or {}).items()])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    if not any(isinstance(each, x509.SubjectAlternativeName) or _oid(each) == "2.5.29.17" for each in extensions):
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    for each in extensions:
        builder = builder.add_extension(each, critical=False)
    return builder.sign(new_key(), SHA256()).public_bytes(Encoding.DER)


def _oid(extension: x509.ExtensionType) -> str:
    return extension.oid.dotted_string


def names(*encoded: bytes) -> bytes:
    """A CSR with these general names, as they are, in subjectAltName."""
    return request(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), der.sequence(*encoded)))


def general(tag: int, value: bytes) -> bytes:
    return der.tlv(0x80 | tag, value)


OWN = general(2, HOST.encode())
REFUSED = {
    "an address of a user": names(OWN, general(1, b"root@csr.localhost")),
    "a user principal name": request(
        x509.SubjectAlternativeName([x509.DNSName(HOST), x509.OtherName(UPN, der.utf8("admin@corp.test"))])
    ),
    "a device": request(
        x509.SubjectAlternativeName(
            [x509.DNSName(HOST), x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.3"), b"\x30\x03\x0c\x01a")]
        )
    ),
    "a directory name": names(OWN, der.tlv(0xA4, der.sequence())),
    "a registered identifier": names(OWN, general(8, b"*\x03")),
    "a name with a zero octet": names(general(2, b"csr.localhost\0.evil.test")),
    "a name with a trailing dot": names(OWN, general(2, b"csr.localhost.evil.")),
    "a name with a blank": names(general(2, b"csr.localhost evil.test")),
    "a name that is not ASCII": names(OWN, general(2, "evil\u0456.test".encode())),
    "an empty name": names(OWN, general(2, b"")),
    "an address of three octets": names(OWN, general(7, b"\x0a\0\0")),
    "an address with a mask": names(OWN, general(7, b"\x0a\0\0\0\xff\0\0\0")),
    "names that are none": names(b"\x05\0"),
    "a second common name": request(subject={NameOID.COMMON_NAME: HOST, NameOID.PSEUDONYM: "x"}).replace(
        b"\x06\x03\x55\x04\x41", b"\x06\x03\x55\x04\x03"
    ),
    "a common name of somebody else": request(subject={NameOID.COMMON_NAME: "evil.test"}),
}
CLEANED = {
    "a CA": request(x509.BasicConstraints(ca=True, path_length=None)),
    "code signing": request(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
    "any purpose": request(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])),
    "an OCSP responder": request(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), x509.OCSPNoCheck()),
    "no purposes at all": request(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.37"), b"\x30\0")),
    "a certificate policy": request(
        x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.1"), None)])
    ),
    "an extension of its own": request(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")),
    "an organization": request(subject={NameOID.ORGANIZATION_NAME: "Bank", NameOID.COUNTRY_NAME: "DE"}),
    "a mail address in the subject": request(subject={NameOID.EMAIL_ADDRESS: "root@bank.test"}),
    "capital letters": names(general(2, b"CSR.LocalHost")),
    "a name twice": names(OWN, OWN),
}
EXPECTED = {
    "2.5.29.14",  # subjectKeyIdentifier
    "2.5.29.15",  # keyUsage
    "2.5.29.17",  # subjectAltName
    "2.5.29.19",  # basicConstraints
    "2.5.29.35",  # authorityKeyIdentifier
    "2.5.29.37",  # extKeyUsage
}


def smuggled(certificate: x509.Certificate) -> list[Any]:
    """What is in a certificate that the profile and the order do not put there."""
    found: list[Any] = sorted({each.oid.dotted_string for each in certificate.extensions} - EXPECTED)
    by_class = certificate.extensions.get_extension_for_class
    if by_class(x509.BasicConstraints).value.ca:
        found.append("a CA")
    if set(by_class(x509.ExtendedKeyUsage).value) != {ExtendedKeyUsageOID.SERVER_AUTH}:
        found.append("purposes")
    if list(by_class(x509.SubjectAlternativeName).value) != [x509.DNSName(HOST)]:
        found.append("names")
    return [*found, *certificate.subject.rdns]


async def test_a_csr_that_asks_for_other_names_is_refused_and_the_order_stays_ready(lab: Lab) -> None:
    client = await lab.client()
    order = await client.ready(HOST)
    for what, csr in REFUSED.items():
        answer = await client.finalize(order, csr)
        assert (answer.status, answer.error) == (400, "badCSR"), (what, answer.body)
        assert (await client.post(order.location)).body["status"] == "ready", what
    assert lab.issuer.issued == []


async def test_what_else_a_csr_asks_for_is_refused_or_not_in_the_certificate(lab: Lab) -> None:
    client = await lab.client()
    issued = 0
    for what, csr in CLEANED.items():
        answer = await client.finalize(await client.ready(HOST), csr)
        if answer.status == 400 and answer.error == "badCSR":
            continue
        assert answer.body["status"] == "valid", (what, answer.body)
        pem = (await client.post(answer.body["certificate"])).body
        assert smuggled(x509.load_pem_x509_certificates(pem)[0]) == [], what
        issued += 1
    assert issued
