"""What is checked of a message before the private key is touched: algorithms, signature, envelope. Pure.

The order is the defence: nobody gets the RA key to work who has not signed the message, and all that is checked here
is visible to everybody, so that it may be named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from ca import der
from server.cms.algorithms import Digest, MalformedCms, UnsupportedAlgorithm
from server.cms.enveloped import Envelope, read_envelope
from server.cms.recipients import AES_CIPHERS, EcKey, agrees
from server.cms.signed import SIGNING_TIME, BadSignature, load_signer_key, message_digest_algorithm, verify
from server.outcome import Problem, Reason
from server.scep.messages import Accepted, AgreedRecipient, PkiMessage, Recipient
from server.scep.problems import (
    EC_REQUESTER,
    NONCE_MISSING,
    REPLY_TOO_LONG,
    SIGNER_MISSING,
    STALE,
    UNREADABLE,
    Rejected,
    not_accepted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from server.cms.algorithms import KeyTransport
    from server.cms.certificates import BagCertificate
    from server.cms.enveloped import KeyTransRecipient
    from server.cms.passwords import Password
    from server.cms.signed import SignerKey


class Authentic(NamedTuple):
    """A message whose signature holds.

    Attributes:
        message: the message.
        signer: the certificate of its signer, of which nothing is known yet but the key.
        key: the signer's key.
    """

    message: PkiMessage
    signer: BagCertificate
    key: SignerKey


class Sealed(NamedTuple):
    """An envelope that may be opened.

    Attributes:
        authentic: the message that it came in.
        envelope: the encrypted content.
        ours: the certificate of ours that it is addressed to.
        wrapped: the content key, wrapped for our key.
        transport: how it is wrapped.
        reply_to: whom a reply is encrypted to, with the algorithms of this envelope. Where the signer's key can't
            decrypt it is what the key agrees, if the endpoint does that, until a challenge password is known.
    """

    authentic: Authentic
    envelope: Envelope
    ours: BagCertificate
    wrapped: KeyTransRecipient
    transport: KeyTransport
    reply_to: Recipient | AgreedRecipient | Password | None


def reply_digest(message: PkiMessage, accepted: Accepted) -> Digest:
    """Return what to sign a reply with: the request's digest where it is accepted, else SHA-256.

    Some clients reject a reply with another digest than their own; nobody who did not use SHA-1 gets it.
    """
    try:
        digest = message_digest_algorithm(message.signed)
    except UnsupportedAlgorithm:
        return Digest.SHA256
    return digest if digest in accepted.digests else Digest.SHA256


def authenticate(message: PkiMessage, accepted: Accepted) -> Authentic:
    """Verify the signature with the key of the signer's certificate (RFC 8894 section 3.1). Raises Rejected."""
    try:
        digest = message_digest_algorithm(message.signed)
        if digest not in accepted.digests:
            raise Rejected(not_accepted(digest.label))
        if message.signer is None:
            raise Rejected(SIGNER_MISSING)
        key = load_signer_key(message.signer.spki)
        verify(message.signed, key)
    except UnsupportedAlgorithm as error:
        raise Rejected(Problem(Reason.BAD_ALGORITHM, str(error))) from error
    except BadSignature as error:
        raise Rejected(Problem(Reason.BAD_PROOF, str(error))) from error
    if not isinstance(key, rsa.RSAPublicKey) and not accepted.ec_requesters:
        raise Rejected(EC_REQUESTER)
    if message.sender_nonce is None:
        raise Rejected(NONCE_MISSING)
    return Authentic(message, message.signer, key)


def check_time(message: PkiMessage, now: datetime, tolerance: timedelta) -> None:
    """Compare the signingTime with the present (RFC 8894 section 3.2.1.4). Raises Rejected, also without one."""
    try:
        element = message.signed.signer.attribute(SIGNING_TIME)
        signed_at = None if element is None else der.read_time(element)
    except (MalformedCms, der.MalformedDer):
        signed_at = None
    if signed_at is None or not now - tolerance <= signed_at <= now + tolerance:
        raise Rejected(replace(STALE, detail=f"signed at {signed_at}"))


def sealed(authentic: Authentic, ours: Sequence[BagCertificate], accepted: Accepted) -> Sealed:
    """Read the pkcsPKIEnvelope (RFC 8894 section 3.2.2), without opening it. Raises Rejected.

    Args:
        authentic: the message.
        ours: the certificates whose keys can open envelopes, the current one first.
        accepted: the algorithms that the endpoint takes.
    """
    try:
        envelope = read_envelope(authentic.message.signed.content or b"")
        ra, wrapped = _addressed(envelope, ours)
        transport = wrapped.transport()
    except MalformedCms as error:
        raise Rejected(replace(UNREADABLE, detail=f"the envelope is malformed: {error}")) from error
    except UnsupportedAlgorithm as error:
        raise Rejected(Problem(Reason.BAD_ALGORITHM, str(error))) from error
    if envelope.cipher not in accepted.ciphers:
        raise Rejected(not_accepted(envelope.cipher.label))
    reply_to: Recipient | AgreedRecipient | None = None
    key = authentic.key
    if isinstance(key, rsa.RSAPublicKey):
        if not transport.holds(key, envelope.cipher.key_octets):
            raise Rejected(REPLY_TOO_LONG)
        reply_to = Recipient(authentic.signer, key, envelope.cipher, transport)
    elif accepted.key_agreement and agrees(key) and envelope.cipher in AES_CIPHERS:
        reply_to = AgreedRecipient(EcKey(authentic.signer, key), envelope.cipher)
    return Sealed(authentic, envelope, ra, wrapped, transport, reply_to)


def _addressed(envelope: Envelope, ours: Sequence[BagCertificate]) -> tuple[BagCertificate, KeyTransRecipient]:
    """Return which certificate of ours an envelope is for; of those that name none, the current one tries."""
    for certificate in ours:
        named = next((recipient for recipient in envelope.recipients if recipient.names(certificate)), None)
        if named is not None:
            return certificate, named
    wrapped = envelope.recipient(ours[0])
    if wrapped is None:
        raise Rejected(replace(UNREADABLE, detail="the envelope names another recipient"))
    return ours[0], wrapped
