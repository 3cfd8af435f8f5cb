from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from ca.names import Attribute, DistinguishedName, DnsName, IpAddress, MalformedName
from server.store.certificates import identity_in, key_in
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

_SUBJECT = x509.Name(
    [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Größer"), x509.NameAttribute(NameOID.COMMON_NAME, "pump-17")]
)
_NAMES = x509.SubjectAlternativeName([x509.DNSName("Pump.example"), x509.IPAddress(IPv4Address("192.0.2.1"))])
_CONSTRAINTS = x509.BasicConstraints(ca=False, path_length=None)


def _certificate(
    key: CertificatePublicKeyTypes, *extensions: x509.ExtensionType, subject: x509.Name = _SUBJECT
) -> bytes:
    builder = x509.CertificateBuilder(issuer_name=_SUBJECT, subject_name=subject, public_key=key, serial_number=5)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.DER)


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
        dsa.generate_private_key(2048).public_key(),  # which no request can have here, but a certificate from elsewhere
    ],
)
def test_a_recorded_certificate_names_whom_and_which_key_it_is_for(key: CertificatePublicKeyTypes) -> None:
    found = identity_in(_certificate(key, _CONSTRAINTS, _NAMES))
    assert found.subject == DistinguishedName(((Attribute("2.5.4.10", "Größer"),), (Attribute("2.5.4.3", "pump-17"),)))
    assert found.names == (DnsName("pump.example"), IpAddress(IPv4Address("192.0.2.1")))
    assert found.spki == _spki(key)


@pytest.mark.parametrize("extensions", [(), (_CONSTRAINTS,)])
def test_a_recorded_certificate_without_names_names_its_subject_alone(
    extensions: tuple[x509.ExtensionType, ...],
) -> None:
    found = identity_in(_certificate(ec.generate_private_key(ec.SECP256R1()).public_key(), *extensions))
    assert (len(found.subject.rdns), found.names) == (2, ())


def test_a_recorded_certificate_of_another_ca_may_have_a_subject_that_is_not_signed_here() -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\x01b")])
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert identity_in(_certificate(key, _NAMES, subject=subject)).subject.common_names == ("a\x01b",)


def test_a_key_can_be_told_from_others_whatever_the_names_beside_it_are() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    odd = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("http://*.plant.example/")])
    with pytest.raises(MalformedName):
        identity_in(_certificate(key, odd))
    assert key_in(_certificate(key, odd)) == identity_in(_certificate(key, _NAMES)).spki == _spki(key)
