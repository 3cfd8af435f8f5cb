"""CRLs of other CAs, kept in files that something else brings up to date (RFC 5280 sections 5 and 6.3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes


class MalformedCrl(ValueError):
    """A file that holds no CRL."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A CRL that was read, and what is known of it as long as it is the one in its file.

    Attributes:
        version: when the file was changed, and its size.
        crl: the CRL.
        signers: SHA-256 of the certificates of those who have signed it.
    """

    version: tuple[int, int]
    crl: x509.CertificateRevocationList
    signers: set[bytes] = field(default_factory=set)


class CrlFiles:
    """Looks certificates up; every doubt is an objection.

    A file is read again when it has changed. Only full CRLs of the issuer itself count.

    Args:
        files: PEM or DER, one CRL each.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._read: dict[Path, _Kept] = {}

    def check(self) -> None:
        """Raise MalformedCrl or OSError when a file can't be used."""
        for file in self._files:
            self._load(file)

    def objection(self, certificate: x509.Certificate, issuer: x509.Certificate, now: datetime) -> str | None:
        """Return why a certificate does not stand, None when a CRL of its issuer, in force now, does not name it."""
        found = None
        for file in self._files:
            try:
                kept = self._load(file)
            except (OSError, MalformedCrl):
                continue  # if this was the one, none will be found
            crl = kept.crl
            if _counts(kept, issuer) and (found is None or crl.last_update_utc > found.last_update_utc):
                found = crl
        if found is None:
            return "the presented certificate can't be checked for revocation: there is no CRL of its issuer here"
        if found.next_update_utc is None or not found.last_update_utc <= now < found.next_update_utc:
            return "the presented certificate can't be checked for revocation: the CRL of its issuer is out of date"
        if found.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            return "the presented certificate, or one above it, is revoked"
        return None

    def _load(self, file: Path) -> _Kept:
        status = file.stat()
        version = (status.st_mtime_ns, status.st_size)
        known = self._read.get(file)
        if known is not None and known.version == version:
            return known
        octets = file.read_bytes()
        try:
            pem = octets.lstrip().startswith(b"-----BEGIN")
            crl = x509.load_pem_x509_crl(octets) if pem else x509.load_der_x509_crl(octets)
        except ValueError as error:
            raise MalformedCrl(f"{file} holds no CRL") from error
        self._read[file] = kept = _Kept(version, crl)
        return kept


def _counts(kept: _Kept, issuer: x509.Certificate) -> bool:
    """Tell whether this is a full CRL that the issuer signed."""
    crl = kept.crl
    if crl.issuer != issuer.subject:
        return False
    fingerprint = issuer.fingerprint(SHA256())
    if fingerprint in kept.signers:
        return True
    try:
        whole = not any(extension.critical for extension in crl.extensions)  # delta, partial or indirect
        key: CertificateIssuerPublicKeyTypes = issuer.public_key()  # type: ignore[assignment] # else a TypeError
        good = whole and _may_sign_crls(issuer) and crl.is_signature_valid(key)
    except (ValueError, TypeError):
        return False
    if good:
        kept.signers.add(fingerprint)
    return good


def _may_sign_crls(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True
