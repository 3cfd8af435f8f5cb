from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from pkilint.loader import RFC5280CertificateDocumentLoader

from ca import ceremony
from ca.lint import STRICTER_THAN_RFC
from ca.names import DistinguishedName, dns_name, ip_address, names_of
from ca.pkix_rules import PkixRules
from tests.fakes.issuer import NOW

NAME = DistinguishedName.from_text
ROOT = ceremony.make_root(NAME("CN=Root,O=Test"), now=NOW)
ISSUING = ceremony.make_issuing_ca(ROOT, NAME("CN=Issuing,O=Test"), now=NOW)
RA = ceremony.make_ra_certificate(ISSUING, NAME("CN=RA,O=Test"), now=NOW)
TLS = ceremony.make_tls_certificate(
    ISSUING, NAME("CN=localhost"), [dns_name("localhost"), ip_address(b"\x7f\0\0\1")], now=NOW
)


def usage(certificate: x509.Certificate) -> x509.KeyUsage:
    extension = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert extension.critical
    return extension.value


def constraints(certificate: x509.Certificate) -> tuple[bool, int | None]:
    extension = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert extension.critical
    return extension.value.ca, extension.value.path_length


@pytest.mark.parametrize("credential", [ROOT, ISSUING, RA, TLS], ids=["root", "issuing", "ra", "tls"])
def test_what_a_ceremony_makes_keeps_the_rules(credential: ceremony.Credential) -> None:
    octets = credential.certificate.public_bytes(serialization.Encoding.DER)
    document = RFC5280CertificateDocumentLoader().load_der_document(octets)
    serious = {
        found.finding.code
        for result in PkixRules().container.validate(document.root)
        for found in result.finding_descriptions
        if found.finding.severity.name in {"ERROR", "FATAL", "WARNING"}
    }
    assert serious <= STRICTER_THAN_RFC.keys()
    assert credential.certificate.public_key() == credential.key.public_key()
    assert credential.certificate.not_valid_before_utc == NOW - ceremony.BACKDATE


def test_each_is_issued_by_the_one_above() -> None:
    for below, above in pairwise([TLS, ISSUING, ROOT, ROOT]):
        below.certificate.verify_directly_issued_by(above.certificate)
        identifier = below.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        own = above.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        assert identifier.key_identifier == own.digest
    RA.certificate.verify_directly_issued_by(ISSUING.certificate)


def test_ca_certificates_sign_and_others_do_not() -> None:
    assert [constraints(c.certificate) for c in (ROOT, ISSUING, RA, TLS)] == [
        (True, 1),
        (True, 0),
        (False, None),
        (False, None),
    ]
    assert [usage(c.certificate).key_cert_sign for c in (ROOT, ISSUING, RA, TLS)] == [True, True, False, False]


def test_the_ra_signs_and_is_encrypted_for() -> None:
    assert isinstance(RA.key, rsa.RSAPrivateKey)
    bits = usage(RA.certificate)
    assert (bits.digital_signature, bits.key_encipherment, bits.key_cert_sign) == (True, True, False)


def test_the_tls_certificate_has_its_names_and_the_purposes_of_est() -> None:
    assert names_of(TLS.certificate) == (dns_name("localhost"), ip_address(b"\x7f\0\0\1"))
    purposes = TLS.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH, ceremony.CMC_RA]


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "ed25519", "rsa:2048"])
def test_every_kind_of_key_makes_a_ca(kind: str) -> None:
    root = ceremony.make_root(NAME("CN=Root"), now=NOW, key=ceremony.generate_key(kind), serial_number=lambda: 17)
    below = ceremony.make_issuing_ca(root, NAME("CN=Issuing"), now=NOW, key=ceremony.generate_key(kind))
    below.certificate.verify_directly_issued_by(root.certificate)
    assert root.certificate.serial_number == 17


@pytest.mark.parametrize("kind", ["", "P-192", "dsa", "rsa:many", "rsa:1"])
def test_an_unknown_kind_of_key_is_refused(kind: str) -> None:
    with pytest.raises(ValueError):
        ceremony.generate_key(kind)


def test_nothing_outlives_what_it_is_issued_by() -> None:
    long = timedelta(days=100000)
    issuing = ceremony.make_issuing_ca(ROOT, NAME("CN=Issuing"), now=NOW, lifetime=long)
    tls = ceremony.make_tls_certificate(issuing, NAME("CN=x"), [dns_name("x.test")], now=NOW, lifetime=long)
    assert tls.certificate.not_valid_after_utc == ROOT.certificate.not_valid_after_utc


def test_keys_are_written_encrypted_with_a_passphrase_and_plain_without() -> None:
    plain = serialization.load_pem_private_key(ISSUING.key_pem(), None)
    assert plain.public_key() == ISSUING.key.public_key()
    encrypted = ISSUING.key_pem(b"secret")
    assert b"ENCRYPTED" in encrypted
    again = serialization.load_pem_private_key(encrypted, b"secret")
    assert again.public_key() == ISSUING.key.public_key()
    assert x509.load_pem_x509_certificate(ISSUING.certificate_pem()) == ISSUING.certificate
