"""Making a CA: a root, an issuing CA, and the certificates that the server itself needs.

This is the one place that signs without a policy, because a person runs it: ``certwright init`` and tests. The server
never imports it to answer a request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.keys import MlDsaPublicKey
from ca.names import to_x509
from ca.tbs import MlDsaPrivateKey, SigningKey, key_identifier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ca.names import DistinguishedName, GeneralName

BACKDATE = timedelta(hours=1)
"""How long before now validity begins, for clients whose clocks are slow."""

CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")
"""id-kp-cmcRA: an EST server that is not the CA itself shows it in its TLS certificate (RFC 7030 section 3.6.1)."""

_PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | MlDsaPublicKey
_LEAST_RSA_BITS = 2048
_CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}
_MLDSA: dict[str, type[MlDsaPrivateKey]] = {
    "ml-dsa-44": mldsa.MLDSA44PrivateKey,
    "ml-dsa-65": mldsa.MLDSA65PrivateKey,
    "ml-dsa-87": mldsa.MLDSA87PrivateKey,
}
_HASHES: dict[int, hashes.SHA256 | hashes.SHA384 | hashes.SHA512] = {
    256: hashes.SHA256(),
    384: hashes.SHA384(),
    521: hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Credential:
    """A private key with its certificate."""

    key: SigningKey
    certificate: x509.Certificate

    def certificate_pem(self) -> bytes:
        """Return the certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self, passphrase: bytes = b"") -> bytes:
        """Return the private key, PKCS#8 PEM, encrypted unless the passphrase is empty."""
        return key_pem(self.key, passphrase)


def key_pem(key: SigningKey, passphrase: bytes = b"") -> bytes:
    """Return a private key, PKCS#8 PEM, encrypted unless the passphrase is empty."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def generate_key(kind: str) -> SigningKey:
    """Return a new key. Raises ValueError for a kind that is not known.

    Args:
        kind: ``P-256``, ``P-384``, ``P-521``, ``ed25519``, ``ml-dsa-44``, ``ml-dsa-65``, ``ml-dsa-87``, or ``rsa:``
            with its bits.
    """
    if kind in _MLDSA:
        return _MLDSA[kind].generate()
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind]())
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa:"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[4:]))
    raise ValueError(f"not a kind of key: {kind!r}")


def make_root(
    subject: DistinguishedName,
    *,
    now: datetime,
    lifetime: timedelta = timedelta(days=3650),
    key: SigningKey | None = None,
    serial_number: Callable[[], int] = x509.random_serial_number,
) -> Credential:
    """Make a self-signed root CA, above issuing CAs only; a P-256 key unless one is given."""
    key = key or generate_key("P-256")
    own = key.public_key()
    builder = _builder(subject.to_x509(), subject.to_x509(), own, (now - BACKDATE, now + lifetime), serial_number())
    return Credential(key, _signed(_as_ca(builder, path_length=1), own, key))


def make_issuing_ca(
    root: Credential,
    subject: DistinguishedName,
    *,
    now: datetime,
    lifetime: timedelta = timedelta(days=1825),
    key: SigningKey | None = None,
    serial_number: Callable[[], int] = x509.random_serial_number,
) -> Credential:
    """Make a CA that issues to end entities only; a P-256 key unless one is given.

    Its validity ends with the root's at the latest.
    """
    key = key or generate_key("P-256")
    validity = _within(root, now, lifetime)
    return Credential(key, _issuing_ca(root, subject.to_x509(), key.public_key(), validity, serial_number()))


def certify_issuing_ca(
    root: Credential,
    request: x509.CertificateSigningRequest,
    *,
    now: datetime,
    lifetime: timedelta = timedelta(days=1825),
    serial_number: Callable[[], int] = x509.random_serial_number,
) -> x509.Certificate:
    """Make the certificate of an issuing CA whose key is elsewhere, such as in an HSM: like `make_issuing_ca`.

    Of the request count its subject and key only. Raises ValueError: its key has not signed it, or can't be a CA's.
    """
    try:
        holds, key = request.is_signature_valid, request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("the request's key or signature is of a kind that is not known here") from error
    if not holds:
        raise ValueError("the request is not signed by its own key")
    if not isinstance(key, _PublicKey) or not _is_strong(key):
        raise ValueError("a CA's key is RSA of 2048 bits or more, EC on a NIST curve, Ed25519 or ML-DSA")
    return _issuing_ca(root, request.subject, key, _within(root, now, lifetime), serial_number())


def make_cross_certificate(
    of: x509.Certificate,
    by: Credential,
    *,
    now: datetime,
    serial_number: Callable[[], int] = x509.random_serial_number,
) -> x509.Certificate:
    """Certify the key of one CA certificate by another CA, under the same name (RFC 4210 section 4.4).

    Of an old root by its successor this is OldWithNew, of the successor by the old one NewWithOld. It is valid while
    both certificates are, its constraints and key identifier are those of `of`.
    """
    start = max(now - BACKDATE, of.not_valid_before_utc, by.certificate.not_valid_before_utc)
    end = min(of.not_valid_after_utc, by.certificate.not_valid_after_utc)
    builder = x509.CertificateBuilder().issuer_name(by.certificate.subject).subject_name(of.subject)
    builder = builder.public_key(of.public_key()).serial_number(serial_number())
    builder = builder.not_valid_before(start.replace(microsecond=0)).not_valid_after(end)
    for kind in (x509.BasicConstraints, x509.KeyUsage, x509.SubjectKeyIdentifier):
        extension = of.extensions.get_extension_for_class(kind)
        builder = builder.add_extension(extension.value, critical=extension.critical)
    above = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_identifier(by.key.public_key()))
    return builder.add_extension(above, critical=False).sign(by.key, _hash(by.key))


def make_ca_request(key: SigningKey, subject: DistinguishedName) -> x509.CertificateSigningRequest:
    """Make a request for the certificate of an issuing CA, for a root that is elsewhere (RFC 2986)."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject.to_x509())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)
    return builder.sign(key, _hash(key))


def make_ra_certificate(
    issuing: Credential,
    subject: DistinguishedName,
    *,
    now: datetime,
    lifetime: timedelta = timedelta(days=1825),
    key: rsa.RSAPrivateKey | None = None,
    serial_number: Callable[[], int] = x509.random_serial_number,
) -> Credential:
    """Make the RSA key with which a SCEP server signs and for which clients encrypt (RFC 8894 section 2.1.2).

    No extended key usage: clients look at keyUsage alone, and some verify CMS as S/MIME would.
    """
    ra_key: SigningKey = key or generate_key("rsa:2048")
    usage = _key_usage("digital_signature", "key_encipherment")
    validity = _within(issuing, now, lifetime)
    own = ra_key.public_key()
    builder = _builder(subject.to_x509(), issuing.certificate.subject, own, validity, serial_number())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return Credential(ra_key, _signed(builder, own, issuing.key, issuing.certificate))


def make_tls_certificate(
    issuing: Credential,
    subject: DistinguishedName,
    names: Sequence[GeneralName],
    *,
    now: datetime,
    lifetime: timedelta = timedelta(days=397),
    key: SigningKey | None = None,
    serial_number: Callable[[], int] = x509.random_serial_number,
) -> Credential:
    """Make the server's own TLS certificate for these names, good for EST too (RFC 7030 section 3.6.1)."""
    key = key or generate_key("P-256")
    validity = _within(issuing, now, lifetime)
    own = key.public_key()
    builder = _builder(subject.to_x509(), issuing.certificate.subject, own, validity, serial_number())
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage("digital_signature"), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, CMC_RA]), critical=False)
    san = x509.SubjectAlternativeName(map(to_x509, names))
    builder = builder.add_extension(san, critical=not subject)
    return Credential(key, _signed(builder, own, issuing.key, issuing.certificate))


def _is_strong(key: _PublicKey) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= _LEAST_RSA_BITS
    return not isinstance(key, ec.EllipticCurvePublicKey) or isinstance(key.curve, tuple(_CURVES.values()))


def _issuing_ca(
    root: Credential, subject: x509.Name, key: _PublicKey, validity: tuple[datetime, datetime], serial: int
) -> x509.Certificate:
    builder = _builder(subject, root.certificate.subject, key, validity, serial)
    return _signed(_as_ca(builder, path_length=0), key, root.key, root.certificate)


def _within(issuer: Credential, now: datetime, lifetime: timedelta) -> tuple[datetime, datetime]:
    """Return a validity inside of the issuer's."""
    own = issuer.certificate
    return max(now - BACKDATE, own.not_valid_before_utc), min(now + lifetime, own.not_valid_after_utc)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: _PublicKey, validity: tuple[datetime, datetime], serial: int
) -> x509.CertificateBuilder:
    not_before, not_after = (moment.replace(microsecond=0) for moment in validity)
    builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject)
    builder = builder.public_key(key).serial_number(serial)
    return builder.not_valid_before(not_before).not_valid_after(not_after)


def _as_ca(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    return builder.add_extension(_key_usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)


def _key_usage(*bits: str) -> x509.KeyUsage:
    known = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in bits for bit in known})


def _signed(
    builder: x509.CertificateBuilder, key: _PublicKey, by: SigningKey, issuer: x509.Certificate | None = None
) -> x509.Certificate:
    own = _identifier(key)
    above = own
    if issuer is not None:
        above = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(own, critical=False)
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above), critical=False
    )
    return builder.sign(by, _hash(by))


def _identifier(key: _PublicKey) -> x509.SubjectKeyIdentifier:
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return x509.SubjectKeyIdentifier(key_identifier(key.public_bytes(encoding, form)))


def _hash(key: SigningKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey | MlDsaPrivateKey):
        return None
    return _HASHES[key.key_size if isinstance(key, ec.EllipticCurvePrivateKey) else 256]
