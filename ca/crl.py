"""Certificate revocation lists (RFC 5280 section 5): complete, delta, or of one shard.

An entry is encoded once, when a certificate is revoked, and kept; a list is those octets joined, so that half a
million entries take a fraction of a second besides the signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.x509 import ReasonFlags

from ca import der

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ca.tbs import IssuerProfile

REASONS = {
    ReasonFlags.unspecified: 0,
    ReasonFlags.key_compromise: 1,
    ReasonFlags.ca_compromise: 2,
    ReasonFlags.affiliation_changed: 3,
    ReasonFlags.superseded: 4,
    ReasonFlags.cessation_of_operation: 5,
    ReasonFlags.certificate_hold: 6,
    ReasonFlags.remove_from_crl: 8,
    ReasonFlags.privilege_withdrawn: 9,
    ReasonFlags.aa_compromise: 10,
}
"""CRLReason, RFC 5280 section 5.3.1."""

_CRL_NUMBER = "2.5.29.20"
_REASON_CODE = "2.5.29.21"
_INVALIDITY_DATE = "2.5.29.24"
_DELTA_INDICATOR = "2.5.29.27"
_DISTRIBUTION_POINT = "2.5.29.28"
_FRESHEST = "2.5.29.46"
_VERSION_2 = der.integer(1)
_URI = 0x86
_ONLY_USER_CERTIFICATES = der.tlv(der.context(1, constructed=False), b"\xff")


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What a CRL says besides who issued it.

    Attributes:
        number: the CRLNumber; grows with each list of the same scope.
        this_update, next_update: aware UTC times.
        entries: DER of each entry, from `write_entry`.
        base: the BaseCRLNumber of a delta CRL; None for a complete list.
        shard_url: the address at which certificates name this list, when it covers only those that do; the
            issuingDistributionPoint then says so, critically. None for the list of everything that the CA issued.
        delta_url: where the delta CRL of this list is (freshestCRL); None without one.
    """

    number: int
    this_update: datetime
    next_update: datetime
    entries: Sequence[bytes]
    base: int | None = None
    shard_url: str | None = None
    delta_url: str | None = None


def write_entry(serial: int, at: datetime, reason: ReasonFlags, invalid_since: datetime | None = None) -> bytes:
    """Return the DER of an entry of revokedCertificates (RFC 5280 section 5.3).

    Args:
        serial: the certificate's serial number.
        at: since when it is revoked.
        reason: why; ``unspecified`` is left out, as RFC 5280 section 5.3.1 asks.
        invalid_since: since when the certificate should not have been trusted, None when that is not known.
    """
    extensions = []
    if reason is not ReasonFlags.unspecified:
        extensions.append(_extension(_REASON_CODE, der.tlv(der.ENUMERATED, bytes((REASONS[reason],)))))
    if invalid_since is not None:
        extensions.append(_extension(_INVALIDITY_DATE, der.generalized_time(invalid_since)))
    rest = (der.sequence(*extensions),) if extensions else ()
    return der.sequence(der.integer(serial), der.time(at), *rest)


def write_crl(content: RevocationList, issuer: IssuerProfile, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the DER of the signed CertificateList.

    Args:
        content: what it says.
        issuer: the CA.
        sign: signs the octets of the TBSCertList with the CA's key and algorithm.
    """
    revoked = (der.sequence(*content.entries),) if content.entries else ()  # absent when there are none
    tbs = der.sequence(
        _VERSION_2,
        issuer.algorithm,
        issuer.name,
        der.time(content.this_update),
        der.time(content.next_update),
        *revoked,
        der.tlv(der.context(0), der.sequence(*_extensions(content, issuer))),
    )
    return der.sequence(tbs, issuer.algorithm, der.bit_string(sign(tbs)))


def _extensions(content: RevocationList, issuer: IssuerProfile) -> list[bytes]:
    extensions = [issuer.authority_key_identifier, _extension(_CRL_NUMBER, der.integer(content.number))]
    if content.base is not None:
        extensions.append(_extension(_DELTA_INDICATOR, der.integer(content.base), critical=True))
    if content.shard_url is not None:
        # the octets of the name must be those in the certificates (RFC 5280 section 6.3.3 (b) (2) (i))
        place = der.sequence(der.tlv(der.context(0), _full_name(content.shard_url)), _ONLY_USER_CERTIFICATES)
        extensions.append(_extension(_DISTRIBUTION_POINT, place, critical=True))
    if content.delta_url is not None and content.base is None:
        extensions.append(_extension(_FRESHEST, write_distribution_points(content.delta_url)))
    return extensions


def write_distribution_points(url: str) -> bytes:
    """Return the DER of a CRLDistributionPoints with one point: this address (RFC 5280 section 4.2.1.13)."""
    return der.sequence(der.sequence(der.tlv(der.context(0), _full_name(url))))


def _full_name(url: str) -> bytes:
    return der.tlv(der.context(0), der.tlv(_URI, url.encode("ascii")))


def _extension(oid: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = (der.boolean(True),) if critical else ()  # noqa: FBT003 - a BOOLEAN is what it writes
    return der.sequence(der.oid(oid), *flag, der.octet_string(value))
