"""Looking up what was issued."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from ca.fields import EXTENSIONS, read_fields
from ca.keys import read_key
from ca.name_codec import read_general_names, read_name
from ca.names import names_of, subject_of
from policies.request import EndpointName, Renewed
from server.store.prepared import Prepared
from server.store.tables import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from ca.fields import Fields
    from ca.names import DistinguishedName, GeneralName


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """One certificate of the record.

    Attributes:
        serial: its serial number.
        issuer: the configured name of the issuer that signed it.
        der: the certificate.
        fingerprint: SHA-256 of `der`.
        endpoint: the endpoint it was issued through.
        profile: the profile it was issued under.
        requester: who asked, as `Requester.identity`.
        subject, names: what it says, as text for people; empty names when there are none.
        not_before, not_after: its validity.
        issued_at: when it was recorded.
        revoked_at: when it was revoked, None while it is good.
        revocation_reason: the CRLReason by its RFC 5280 name (``keyCompromise``), None while it is good.
        request_id: the request that it answers.
        renews: the serial number of the certificate that it renews.
        policy_digest: SHA-256, hex, of the policy file that approved it.
    """

    serial: int
    issuer: str
    der: bytes
    fingerprint: bytes
    endpoint: EndpointName
    profile: str
    requester: str
    subject: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    revoked_at: datetime | None
    revocation_reason: str | None
    request_id: str
    renews: int | None
    policy_digest: str | None = None


@dataclass(frozen=True, slots=True)
class CertificateFilter:
    """Which certificates to list; what is None does not restrict.

    Attributes:
        text: part of the subject, a name, the requester or the serial number in hex.
        endpoint: issued through this endpoint.
        profile: issued under this profile.
        revoked: only revoked ones, or only good ones.
        expires_before: only those that end before this time.
        limit: at most so many, the newest first.
    """

    text: str | None = None
    endpoint: EndpointName | None = None
    profile: str | None = None
    revoked: bool | None = None
    expires_before: datetime | None = None
    limit: int = 100


EVERYTHING = CertificateFilter()

_NAMES_COMPARED = 20
"""So many by the database, which does not take conditions without end."""


def _stored(row: sa.Row[Any]) -> StoredCertificate:
    values = row._asdict()
    del values["spki"]  # it is in the certificate
    values["endpoint"] = EndpointName.parse(row.endpoint)
    values["names"] = tuple(row.names.splitlines())
    return StoredCertificate(**values)


def _one_with(column: str) -> Prepared:
    return Prepared(sa.select(certificates).where(certificates.c[column] == sa.bindparam("wanted")))


_by_serial = _one_with("serial")
_by_request = _one_with("request_id")


def _one(connection: sa.Connection, query: Prepared, wanted: object) -> StoredCertificate | None:
    row = query.first(connection, wanted=wanted)
    return None if row is None else _stored(row)


def find_exactly(connection: sa.Connection, octets: bytes) -> StoredCertificate | None:
    """Return the certificate that has all these octets of DER, None for any other and for what is no certificate."""
    try:
        serial = der.read_integer(_fields(octets).serial)
    except ValueError:
        return None
    found = find_by_serial(connection, serial)
    return found if found is not None and found.der == octets else None


def find_presented(connection: sa.Connection, serial: int, fingerprint: bytes) -> StoredCertificate | None:
    """Return the certificate with this serial number, None when nothing is known of it or it has another SHA-256.

    No index is on fingerprints: they are random, and each enrollment would write a page of it.
    """
    found = find_by_serial(connection, serial)
    return found if found is not None and found.fingerprint == fingerprint else None


_REVOCATION = Prepared(
    sa.select(certificates.c.revoked_at, certificates.c.revocation_reason).where(
        certificates.c.serial == sa.bindparam("serial")
    )
)


def as_it_is_now(connection: sa.Connection, known: StoredCertificate) -> StoredCertificate | None:
    """Return a certificate that was looked up before with its revocation as it is now: nothing else ever changes.

    None when nothing is known of it any more.
    """
    row = _REVOCATION.first(connection, serial=known.serial)
    if row is None:
        return None
    if row.revoked_at == known.revoked_at and row.revocation_reason == known.revocation_reason:
        return known
    return replace(known, revoked_at=row.revoked_at, revocation_reason=row.revocation_reason)


def find_by_serial(connection: sa.Connection, serial: int) -> StoredCertificate | None:
    """Return the certificate with this serial number, None when nothing is known of it."""
    return _one(connection, _by_serial, serial)


def find_by_request(connection: sa.Connection, request_id: str) -> StoredCertificate | None:
    """Return the certificate that answered a request, None when none did."""
    return _one(connection, _by_request, request_id)


def find_named(connection: sa.Connection, subject: str, names: Sequence[str]) -> tuple[StoredCertificate, ...]:
    """Return the newest certificates with this subject, letters of either case, and these names, in any order.

    Both as `str` writes them. Names are compared here, not by who asks: any number of devices may have one subject,
    such as none at all.
    """
    table, text, wanted = certificates.c, "\n".join(names), Counter(names)
    same = sa.func.lower(table.subject) == sa.func.lower(subject)  # as the index has it: ASCII alone
    similar = (sa.func.instr(table.names, name) > 0 for name in names[:_NAMES_COMPARED])
    query = sa.select(certificates).where(same, sa.func.length(table.names) == len(text), *similar)
    rows = connection.execute(query.order_by(table.issued_at.desc(), table.serial).limit(100))
    return tuple(one for one in map(_stored, rows) if Counter(one.names) == wanted)


def list_certificates(
    connection: sa.Connection, wanted: CertificateFilter = EVERYTHING
) -> tuple[StoredCertificate, ...]:
    """Return the certificates that pass the filter, the newest first.

    Nothing indexes certificates by their age alone, which would cost every enrollment: those of each profile are, so
    each is read from its newest certificate until there are enough, and the newest of these are the answer. What
    hardly any certificate has, such as part of a name, takes reading all, a second for some 100,000.
    """
    table = certificates.c
    query = sa.select(certificates).order_by(table.issued_at.desc(), table.serial).limit(wanted.limit)
    if wanted.text is not None:
        text = wanted.text
        query = query.where(
            sa.or_(
                table.subject.icontains(text, autoescape=True),
                table.names.icontains(text, autoescape=True),
                table.requester.icontains(text, autoescape=True),
                sa.type_coerce(table.serial, sa.String).contains(text.lower(), autoescape=True),
            )
        )
    if wanted.endpoint is not None:
        query = query.where(table.endpoint == str(wanted.endpoint))
    if wanted.revoked is not None:
        query = query.where(table.revoked_at.is_not(None) if wanted.revoked else table.revoked_at.is_(None))
    if wanted.expires_before is not None:
        query = query.where(table.not_after < wanted.expires_before)
    profiles = _profiles(connection) if wanted.profile is None else (wanted.profile,)
    found = [row for profile in profiles for row in connection.execute(query.where(table.profile == profile))]
    if wanted.profile is None:
        found.sort(key=lambda row: format(row.serial, "x"))
        found.sort(key=lambda row: row.issued_at, reverse=True)
    return tuple(map(_stored, found[: wanted.limit]))


def _profiles(connection: sa.Connection) -> Iterator[str]:
    """Yield each profile that there are certificates of: one look into the index for each, not for each certificate."""
    table = certificates.c.profile
    first = sa.select(sa.func.min(table))
    profile = connection.scalar(first)
    while profile is not None:
        yield profile
        profile = connection.scalar(first.where(table > profile))


_ALTERNATIVE_NAME = der.oid("2.5.29.17")


class Identity(NamedTuple):
    """Whom a certificate of ours names, and its key as SubjectPublicKeyInfo."""

    subject: DistinguishedName
    names: tuple[GeneralName, ...]
    spki: bytes


@lru_cache(maxsize=1024)
def identity_in(octets: bytes) -> Identity:
    """Return whom a recorded certificate names; one request asks several times, and so does each on its connection.

    Raises MalformedName for names that were good once and are refused today: they must not come back as good.
    """
    try:
        return _read_identity(octets)
    except ValueError:  # of another CA, which may have signed what is not signed here
        certificate = x509.load_der_x509_certificate(octets)
        return Identity(subject_of(certificate), names_of(certificate), _key_of(certificate))


def key_in(octets: bytes) -> bytes:
    """Return the key of a recorded certificate as `Identity` has it, whatever its names are."""
    try:
        return read_key(_fields(octets).spki).spki
    except ValueError:
        return _key_of(x509.load_der_x509_certificate(octets))


def _key_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read_identity(octets: bytes) -> Identity:
    """Read no more of a certificate than is wanted: the library would make objects of all its extensions.

    Raises ValueError for what has no extensions, and for all that certification requests can't have.
    """
    fields = _fields(octets)
    (extensions,) = fields.more
    (listed,) = der.inside(extensions, EXTENSIONS)
    alternative = [each for each in der.inside(listed, der.SEQUENCE) if each.content.startswith(_ALTERNATIVE_NAME)]
    names: tuple[GeneralName, ...] = ()
    if alternative:
        (extension,) = alternative
        names = read_general_names(der.expect(der.children(extension)[-1], der.OCTET_STRING).content)
    return Identity(read_name(fields.subject), names, read_key(fields.spki).spki)


def _fields(octets: bytes) -> Fields:
    """Return the fields of a certificate. Raises ValueError."""
    tbs, _algorithm, _signature = der.inside(der.read(octets), der.SEQUENCE)
    return read_fields(tbs)


def renewed_from(stored: StoredCertificate) -> Renewed:
    """Return what a policy may know of a certificate that is to be renewed. Raises MalformedName as `identity_in`."""
    found = identity_in(stored.der)
    return Renewed(
        serial=stored.serial,
        subject=found.subject,
        names=found.names,
        spki=found.spki,
        not_before=stored.not_before,
        not_after=stored.not_after,
        profile=stored.profile,
        endpoint=stored.endpoint,
    )


class RevocationOutcome(StrEnum):
    """How a revocation ended."""

    REVOKED = "revoked"
    ALREADY_REVOKED = "already-revoked"
    UNKNOWN = "unknown"
