from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.ceremony import CMC_RA
from ca.names import DnsName, IpAddress, MalformedName
from server.deployment import authorities
from server.deployment.folder import PROTECTED

if TYPE_CHECKING:
    from pathlib import Path

    from server.clock import Clock
    from server.deployment.folder import Deployment


def certificates(path: Path) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(path.read_bytes())


def test_the_chain_has_the_issuing_ca_first_and_the_root_last(made: Deployment) -> None:
    issuing, root = certificates(made.chain_pem)
    issuing.verify_directly_issued_by(root)
    root.verify_directly_issued_by(root)
    assert [root] == certificates(made.root_pem)
    assert [issuing] == certificates(made.folder / "ca" / "issuing.pem")


@pytest.mark.parametrize(("name", "kind"), [("ca/root", ec), ("ca/issuing", ec), ("ra/ra", rsa)])
def test_every_authority_has_an_encrypted_key_and_its_passphrase(made: Deployment, name: str, kind: object) -> None:
    stem = made.folder / name
    (certificate,) = certificates(stem.with_suffix(".pem"))
    encrypted = stem.with_suffix(".key").read_bytes()
    with pytest.raises(TypeError, match="encrypted"):
        load_pem_private_key(encrypted, None)
    key = load_pem_private_key(encrypted, stem.with_suffix(".passphrase").read_bytes().strip())
    assert key.public_key() == certificate.public_key()
    assert type(key.public_key()).__module__.endswith("rust.openssl." + ("rsa" if kind is rsa else "ec"))


def test_the_tls_certificate_is_for_every_host_and_comes_with_its_issuer(made: Deployment) -> None:
    server, issuing = certificates(made.folder / "tls" / "server.pem")
    server.verify_directly_issued_by(issuing)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["ca.example.com", "localhost"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]
    assert server.subject.rfc4514_string() == "CN=ca.example.com"
    usages = server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, CMC_RA}


def test_the_ra_certificate_may_sign_and_decrypt(made: Deployment) -> None:
    usage = certificates(made.ra_pem)[0].extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.key_encipherment


def test_a_host_name_too_long_for_a_subject_is_among_the_names_only(tmp_path: Path, clock: Clock) -> None:
    for name in PROTECTED:
        (tmp_path / name).mkdir()
    host = authorities.host_name(f"{'a' * 60}.example.com")
    authorities.make(tmp_path, [host], clock)
    server = certificates(tmp_path / "tls" / "server.pem")[0]
    assert not server.subject.rdns
    assert server.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_a_host_has_no_wildcard_name() -> None:
    with pytest.raises(MalformedName, match="without wildcards"):
        authorities.host_name("*.example.com")


def test_an_address_is_no_host_name() -> None:
    assert authorities.host_name("2001:db8::1") == IpAddress(ip_address("2001:db8::1"))
    assert authorities.host_name("CA.example") == DnsName("ca.example")
    with pytest.raises(MalformedName):
        authorities.host_name("no host")
