"""A CA's files: ``NAME.pem``, ``NAME.key`` (encrypted), ``NAME.passphrase``, ``NAME-chain.pem``, ``NAME.csr``."""

from __future__ import annotations

import secrets
from errno import EEXIST
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ca.ceremony import Credential, key_pem
from ca.tbs import SigningKey
from server.deployment.files import write_public, write_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")


class CaFilesUnusable(Exception):
    """The files are not there, or are not what they should be. The text says what is wrong."""


def write_key(folder: Path, name: str, key: SigningKey) -> None:
    """Write a key, encrypted, and its passphrase. Raises FileExistsError."""
    passphrase = secrets.token_urlsafe(32)
    pem = key_pem(key, passphrase.encode())
    write_secret(folder / f"{name}.key", pem)
    write_secret(folder / f"{name}.passphrase", f"{passphrase}\n".encode())


def write_certificates(folder: Path, name: str, chain: Sequence[x509.Certificate]) -> None:
    """Write a CA's certificate, and it with those above it. Raises FileExistsError."""
    write_public(folder / f"{name}.pem", _pem(chain[:1]))
    write_public(folder / f"{name}-chain.pem", _pem(chain))


def write_certificate(folder: Path, name: str, certificate: x509.Certificate) -> None:
    """Write one certificate. Raises FileExistsError."""
    write_public(folder / f"{name}.pem", _pem([certificate]))


def expect_free(folder: Path, *names: str) -> None:
    """Raise FileExistsError when there is a CA of one of these names, or its key."""
    for path in (folder / f"{name}{suffix}" for name in names for suffix in (".key", ".pem")):
        if path.exists():
            raise FileExistsError(EEXIST, "is there already", str(path))


def read_key(folder: Path, name: str) -> SigningKey:
    """Read a CA's key. Raises CaFilesUnusable."""
    path, passphrase = folder / f"{name}.key", folder / f"{name}.passphrase"
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase.read_bytes().rstrip(b"\r\n") or None)
    except OSError as error:
        raise CaFilesUnusable(f"{error.filename}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CaFilesUnusable(f"{path} can't be opened with {passphrase}") from error
    if not isinstance(key, SigningKey):
        raise CaFilesUnusable(f"{path} is no key that signs certificates")
    return key


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read the certificates of a PEM file. Raises CaFilesUnusable."""
    return _read(path, x509.load_pem_x509_certificates, "certificate")


def read_request(path: Path) -> x509.CertificateSigningRequest:
    """Read a PEM request for a certificate; whether its key has signed it is not looked at. Raises CaFilesUnusable."""
    return _read(path, x509.load_pem_x509_csr, "certificate request")


def _read(path: Path, load: Callable[[bytes], T], what: str) -> T:
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise CaFilesUnusable(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise CaFilesUnusable(f"{path} holds no PEM {what}") from error


def read_credential(folder: Path, name: str) -> Credential:
    """Read a CA's key and certificate. Raises CaFilesUnusable."""
    certificate = read_certificates(folder / f"{name}.pem")[0]
    key = read_key(folder, name)
    if key.public_key() != certificate.public_key():
        raise CaFilesUnusable(f"{name}.key does not belong to {name}.pem")
    return Credential(key, certificate)


def is_root(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is signed by its own key."""
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def objection(certificate: x509.Certificate, key: SigningKey, above: Sequence[x509.Certificate]) -> str | None:
    """Return what stands against a certificate that a root gave for our request; None when it is right."""
    if certificate.public_key() != key.public_key():
        return "the certificate is for another key than the one the request was made with"
    return _powerless(certificate) or _unchained(certificate, above)


def _powerless(certificate: x509.Certificate) -> str | None:
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return "the certificate is not a CA's"
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        return f"the certificate lacks an extension that a CA's has: {error}"
    if not (usage.key_cert_sign and usage.crl_sign):
        return "the certificate's key may not sign certificates and revocation lists (keyCertSign, cRLSign)"
    return None


def _unchained(certificate: x509.Certificate, above: Sequence[x509.Certificate]) -> str | None:
    for lower, upper in zip((certificate, *above), above, strict=False):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            return f"{lower.subject.rfc4514_string()} is not signed by {upper.subject.rfc4514_string()}"
    if not above or not is_root(above[-1]):
        return "the chain does not end in a root: give the certificates above, root last, by --chain"
    return None


def _pem(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)
