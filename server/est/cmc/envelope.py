"""The SignedData around a full request: opened, and its signature verified (RFC 5272 section 3.2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from ca import der
from server.cms.algorithms import Digest, MalformedCms, UnsupportedAlgorithm
from server.cms.signed import (
    NO_SIGNATURE,
    SIGNING_TIME,
    BadSignature,
    load_signer_key,
    message_digest_algorithm,
    read_signed,
    verify,
    verify_unsigned,
)
from server.est.cmc.messages import PKI_DATA, CmcFault, FailInfo, malformed, unsupported_algorithm
from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from server.cms.certificates import BagCertificate
    from server.cms.signed import SignedMessage

_WEAK = frozenset({Digest.MD5, Digest.SHA1})


@dataclass(frozen=True, slots=True)
class Signer:
    """Whoever signed the message.

    Attributes:
        presented: the signer's certificate and what else is in the bag; empty when it is signed otherwise.
        own_key: the SubjectPublicKeyInfo of the request that is signed with its own key, None when it is not.
        unreadable: whether there is a certificate that can't be read: it must be refused, not overlooked.
        time: when it was signed, as it says itself.
    """

    presented: tuple[x509.Certificate, ...] = ()
    own_key: bytes | None = None
    unreadable: bool = False
    time: datetime | None = None


def open_envelope(data: bytes) -> tuple[SignedMessage, bytes]:
    """Return the message and the PKIData in it, nothing verified yet. Raises CmcFault."""
    try:
        message = read_signed(data)
    except MalformedCms as error:
        raise malformed(f"The body is not a full PKI request (RFC 5272 section 3.2): {error}.") from error
    if message.content_type != PKI_DATA or message.content is None:
        raise malformed("The body is not a full PKI request: the signed content is no PKIData (RFC 5272 section 3.2).")
    return message, message.content


def verify_signer(message: SignedMessage, keys: Sequence[bytes]) -> Signer:
    """Verify the signature: by a certificate in the message, or by the key of a request.

    Args:
        message: what `open_envelope` returned.
        keys: SubjectPublicKeyInfos of requests, whose keys may sign (section 3.2; named by subject key identifier).

    Raises:
        CmcFault: it is not signed by any of them, or with an algorithm that is not taken.
    """
    try:
        if message_digest_algorithm(message) in _WEAK:
            raise unsupported_algorithm("The message is signed with MD5 or SHA-1.")
        time = _signing_time(message)
        if message.signer.signature_algorithm.oid == NO_SIGNATURE:
            verify_unsigned(message)
            return Signer(time=time)
        certificate, own = _signer(message, keys)
        verify(message, load_signer_key(certificate.spki if certificate is not None else own or b""))
    except UnsupportedAlgorithm as error:
        raise unsupported_algorithm(f"The message can't be verified: {error}.") from error
    except BadSignature as error:
        raise _unverified(f"The message's signature does not hold: {error}.") from error
    if certificate is None:
        return Signer(own_key=own, time=time)
    leaf = _loaded(certificate)
    if leaf is None:
        return Signer(unreadable=True, time=time)
    above = (_loaded(each) for each in message.certificates if each is not certificate)
    return Signer((leaf, *(each for each in above if each is not None)), time=time)


def _signer(message: SignedMessage, keys: Sequence[bytes]) -> tuple[BagCertificate | None, bytes | None]:
    """Return the certificate of the signer, or the key that signs in its own cause."""
    certificate = message.signer_certificate()
    if certificate is not None and certificate.self_issued and certificate.spki in keys:
        return None, certificate.spki  # it says nothing but the key
    if certificate is not None:
        return certificate, None
    identifier = message.signer.key_identifier
    named = [key for key in keys if identifier is not None and identifier in _identifiers(key)]
    if not named and len(set(keys)) == 1:
        named = [keys[0]]  # an identifier of its own making: the signature decides
    if not named:
        raise _unverified("The message does not hold the certificate that it is signed with.")
    return None, named[0]


def _identifiers(spki: bytes) -> Iterable[bytes]:
    """Yield what a key may be called: methods 1 of RFC 5280 section 4.2.1.2 and of RFC 7093 section 2."""
    try:
        _, bits = der.read_bits(der.children(der.read(spki))[1])
    except der.MalformedDer:
        return
    yield hashlib.sha1(bits, usedforsecurity=False).digest()
    yield hashlib.sha256(bits).digest()[:20]


def _signing_time(message: SignedMessage) -> datetime | None:
    try:
        found = message.signer.attribute(SIGNING_TIME)
        return None if found is None else der.read_time(found)
    except (MalformedCms, der.MalformedDer) as error:
        raise malformed("The signing time can't be read.") from error


def _loaded(certificate: BagCertificate) -> x509.Certificate | None:
    try:
        loaded = x509.load_der_x509_certificate(certificate.der)
        # Lazy where it matters: what can't be read must be known here.
        _ = loaded.subject, loaded.issuer, loaded.extensions, loaded.public_key(), loaded.not_valid_after_utc
    except Exception:  # noqa: BLE001 - whatever a parser makes of it: it is no certificate to be judged
        return None
    return loaded


def _unverified(message: str) -> CmcFault:
    return CmcFault(FailInfo.BAD_MESSAGE_CHECK, Problem(Reason.MALFORMED, message))
