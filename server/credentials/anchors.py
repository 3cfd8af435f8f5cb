"""Certificates of other CAs, such as those that manufacturers put into devices: paths, validity, revocation.

These trust anchors are kept apart from our own CA (RFC 7030 section 3.3.2: implicit and explicit): a certificate under
them is never one of ours, whatever is written in it.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto

from ca.names import MalformedName, names_of, subject_of
from policies.request import CertificateEvidence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime, timedelta

    from server.credentials.crls import CrlFiles

_NOT_UNDER_THESE = frozenset({2, 18, 19, 20, 21, 27})
"""OpenSSL's codes for a path that does not lead here: no issuer, self-signed, untrusted."""


class AnchorConfigurationError(Exception):
    """Trust anchors that can't be used; the text says why."""


class Rejected(Exception):
    """A certificate under these anchors that does not stand. The text is for the requester.

    Attributes:
        by_name: whether it is under them by its issuer's name alone: it may be under others of that name.
    """

    def __init__(self, message: str, *, by_name: bool = False) -> None:
        super().__init__(message)
        self.by_name = by_name


class ThirdParty(NamedTuple):
    """A certificate under these anchors that stands.

    Attributes:
        identity: the name of its holder, as `Requester.identity`: ``certificate:NAME.ISSUER.SERIAL``. A serial number
            is unique within one issuer alone (RFC 5280 section 4.1.2.2), and there may be many below one anchor.
        evidence: what it proves.
    """

    identity: str
    evidence: CertificateEvidence


class TrustAnchors:
    """The CAs of one other party.

    Args:
        name: what policies and records call it.
        anchors: the CAs that are trusted, roots or not.
        intermediates: CAs below them, for devices that do not present theirs.
        crls: where revocation is looked up; None: nowhere.
        grace: how long after its end a certificate still counts.
        own: our CAs. What they have issued is judged by our record alone, also where a CA of the other party has
            certified one of them: it may be revoked.

    Attributes:
        trusted: the anchors.

    Raises:
        AnchorConfigurationError: an anchor is no CA.
    """

    def __init__(
        self,
        name: str,
        anchors: Sequence[x509.Certificate],
        *,
        intermediates: Sequence[x509.Certificate],
        crls: CrlFiles | None,
        grace: timedelta,
        own: Iterable[x509.Certificate] = (),
    ) -> None:
        for certificate in (*anchors, *intermediates):
            if not _is_ca(certificate):
                subject = certificate.subject.rfc4514_string()
                raise AnchorConfigurationError(f"{subject} is no CA: its basicConstraints do not say so")
        self.name = name
        self.trusted = tuple(anchors)
        self._intermediates = tuple(intermediates)
        self._loaded = {one: crypto.X509.from_cryptography(one) for one in (*anchors, *intermediates)}
        self._crls = crls
        self._grace = grace
        self._own = frozenset(map(_spki, own))

    def judge(self, presented: Sequence[x509.Certificate], now: datetime) -> ThirdParty | None:
        """Return what a certificate proves, None when it is not under these anchors. Reads CRL files: for a thread.

        Args:
            presented: what was presented, leaf first; the leaf's key was proven elsewhere.
            now: the time.

        Raises:
            Rejected: it is under these anchors and does not stand.
        """
        leaf = presented[0]
        chain = self._path(presented, now)
        if chain is None or not self._own.isdisjoint(map(_spki, chain[1:])):
            return None
        if _is_ca(leaf):  # also an anchor itself, each of which is one
            raise Rejected("the presented certificate is that of a CA")
        for certificate in chain[:-1]:  # an anchor's own signature does not matter
            if isinstance(certificate.signature_hash_algorithm, MD5 | SHA1):
                raise Rejected("the presented certificate, or one above it, is signed with a broken hash")
        if self._crls is not None:
            for certificate, issuer in pairwise(chain):
                objection = self._crls.objection(certificate, issuer, now)
                if objection is not None:
                    raise Rejected(objection)
        try:
            subject, names = subject_of(leaf), names_of(leaf)
        except MalformedName as error:
            raise Rejected("the names of the presented certificate can't be read") from error
        evidence = CertificateEvidence(
            subject=subject,
            names=names,
            serial=leaf.serial_number,
            not_after=leaf.not_valid_after_utc,
            anchor=self.name,
            profile=None,
            endpoint=None,
        )
        return ThirdParty(f"certificate:{self.name}.{_issuer(leaf, chain[1])}.{leaf.serial_number:x}", evidence)

    def _path(self, presented: Sequence[x509.Certificate], now: datetime) -> tuple[x509.Certificate, ...] | None:
        """Return the path from the leaf to an anchor, None when there is none. Raises Rejected.

        The purposes in the certificates do not matter: devices were given theirs for other things than EST.
        """
        end = presented[0].not_valid_after_utc
        # The grace moves the end alone: at the end of its validity the leaf must have been good in every other way.
        moment = end if end < now <= end + self._grace else now
        above = (*presented[1:], *self._intermediates)
        try:
            return self._verified(presented[0], above, self.trusted, moment)
        except crypto.X509StoreContextError as error:
            failure = error
        # OpenSSL looks for issuers by name, and of several of one name it takes any: now those alone that have signed.
        issuers = _issuers(presented[0], (*above, *self.trusted))
        trusted = [one for one in self.trusted if one in issuers]
        if trusted:
            try:
                return self._verified(presented[0], [one for one in above if one in issuers], trusted, moment)
            except crypto.X509StoreContextError as error:
                failure = error
        code, _, text = failure.errors
        if code in _NOT_UNDER_THESE:
            return None
        raise Rejected(f"the presented certificate does not stand: {text}", by_name=not trusted) from failure

    def _verified(
        self,
        leaf: x509.Certificate,
        above: Iterable[x509.Certificate],
        trusted: Iterable[x509.Certificate],
        moment: datetime,
    ) -> tuple[x509.Certificate, ...]:
        """Return the path that OpenSSL finds. Raises X509StoreContextError and Rejected."""
        store = crypto.X509Store()
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        store.set_time(moment)
        for one in trusted:
            store.add_cert(self._loaded[one])
        try:
            first, *rest = (self._loaded.get(one) or crypto.X509.from_cryptography(one) for one in (leaf, *above))
        except crypto.Error as error:  # OpenSSL looks closer at names than the parser that they have passed
            raise Rejected("the presented certificate, or one beside it, can't be read") from error
        context = crypto.X509StoreContext(store, first, rest)
        return tuple(one.to_cryptography() for one in context.get_verified_chain())


def refuse_own(anchors: TrustAnchors, own: Collection[x509.Certificate]) -> None:
    """Raise AnchorConfigurationError when a CA of ours is among them: it would pass for another party's."""
    keys = {_spki(certificate) for certificate in own}
    for certificate in anchors.trusted:
        if _spki(certificate) in keys:
            subject = certificate.subject.rfc4514_string()
            raise AnchorConfigurationError(f"{subject} is our own CA; its certificates are taken by certificates: true")


def _issuers(leaf: x509.Certificate, candidates: Sequence[x509.Certificate]) -> frozenset[x509.Certificate]:
    """Return those of the candidates that have signed the leaf, or one above it."""
    found: set[x509.Certificate] = set()
    children = [leaf]
    while children:
        child = children.pop()
        signers = {one for one in candidates if one not in found and _has_signed(one, child)}
        found |= signers
        children += signers
    return frozenset(found)


def _has_signed(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError):
        return False  # what can't be read is refused when its names are looked for


def _issuer(leaf: x509.Certificate, above: x509.Certificate) -> str:
    """Return what tells apart who issued a certificate: 64 bits of the hash of the name in it and of the key.

    Not of the name alone, which makers may have given to several CAs, and not of the CA's certificate, of which there
    may be several. Whoever could make two CAs with the same bits could name its devices as it likes anyway.
    """
    return sha256(leaf.issuer.public_bytes() + _spki(above)).hexdigest()[:16]


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
