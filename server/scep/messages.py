"""SCEP messages as values (RFC 8894 section 3): what a request says, what a reply will say."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from server.cms.algorithms import Cipher, Digest, KeyTransport

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric import rsa

    from server.cms.certificates import BagCertificate
    from server.cms.passwords import Password
    from server.cms.recipients import EcKey
    from server.cms.signed import SignedMessage


T = TypeVar("T")


class MessageType(StrEnum):
    """The messageType attribute by its wire text (RFC 8894 section 3.2.1.2)."""

    CERT_REP = "3"
    RENEWAL_REQ = "17"
    PKCS_REQ = "19"
    CERT_POLL = "20"
    GET_CERT = "21"
    GET_CRL = "22"


class PkiStatus(StrEnum):
    """The pkiStatus attribute by its wire text (RFC 8894 section 3.2.1.3)."""

    SUCCESS = "0"
    FAILURE = "2"
    PENDING = "3"


class FailInfo(StrEnum):
    """The failInfo attribute by its wire text (RFC 8894 section 3.2.1.4)."""

    BAD_ALG = "0"
    BAD_MESSAGE_CHECK = "1"
    BAD_REQUEST = "2"
    BAD_TIME = "3"
    BAD_CERT_ID = "4"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The algorithms that an endpoint takes, and mirrors in its replies.

    Attributes:
        digests: what messages and certification requests may be signed with.
        ciphers: what contents may be encrypted with.
        ec_requesters: whether requesters may have EC keys, so that the challenge password encrypts the reply.
        key_agreement: whether replies to those who gave no password are encrypted by key agreement.
    """

    digests: frozenset[Digest]
    ciphers: frozenset[Cipher]
    ec_requesters: bool = False
    key_agreement: bool = False


_AES = frozenset({Cipher.AES128, Cipher.AES192, Cipher.AES256})
_SHA2 = frozenset({Digest.SHA256, Digest.SHA384, Digest.SHA512})

_COMPATIBLE = Accepted(_SHA2 | {Digest.SHA1}, _AES | {Cipher.DES3})
PRESETS = {
    "modern": Accepted(_SHA2, _AES),
    "compatible": _COMPATIBLE,
    "legacy-des": Accepted(_COMPATIBLE.digests | {Digest.MD5}, _COMPATIBLE.ciphers | {Cipher.DES}),
}
"""What each word of an endpoint's ``compatibility`` means. ``legacy-des`` breaks section 2.9: MUST NOT."""


def accepted(preset: str, switches: Mapping[str, bool | None]) -> Accepted:
    """Return what an endpoint takes.

    Args:
        preset: the word of its ``compatibility``.
        switches: ``sha1``, ``des3``, ``danger_md5`` and ``danger_des``, where it differs from that; None does not.
    """
    digests, ciphers = set(PRESETS[preset].digests), set(PRESETS[preset].ciphers)
    for name, digest in (("sha1", Digest.SHA1), ("danger_md5", Digest.MD5)):
        _switch(digests, digest, on=switches.get(name))
    for name, cipher in (("des3", Cipher.DES3), ("danger_des", Cipher.DES)):
        _switch(ciphers, cipher, on=switches.get(name))
    return Accepted(frozenset(digests), frozenset(ciphers))


def _switch(taken: set[T], algorithm: T, *, on: bool | None) -> None:
    if on is not None:
        (taken.add if on else taken.discard)(algorithm)


class PkiMessage(NamedTuple):
    """A request as received; nothing is verified yet.

    Attributes:
        transaction: the transactionID as text, 1 to 255 printable characters.
        transaction_id: its encoding, for the reply: same octets, same string type.
        type_text: the messageType as sent, empty when it is absent or not text.
        message_type: what it means, None when RFC 8894 does not define it.
        sender_nonce: the senderNonce, None when it is absent or of a length that nobody sends.
        signer: the certificate of the signer, None when it is not in the message.
        signed: the CMS message around all that.
    """

    transaction: str
    transaction_id: bytes
    type_text: str
    message_type: MessageType | None
    sender_nonce: bytes | None
    signer: BagCertificate | None
    signed: SignedMessage


class Recipient(NamedTuple):
    """Whom a SUCCESS reply is encrypted to, and how: the signer of the request and the algorithms that it used."""

    certificate: BagCertificate
    key: rsa.RSAPublicKey
    cipher: Cipher
    transport: KeyTransport


class AgreedRecipient(NamedTuple):
    """A signer with an EC key, with whom the key of a SUCCESS reply is agreed (RFC 5753), and the cipher."""

    key: EcKey
    cipher: Cipher


class Success(NamedTuple):
    """What was asked for, and to whom it goes.

    Attributes:
        recipient: whom the reply is encrypted to; a password, or what a key agrees, where the key can't decrypt.
        certificates: DER certificates, the leaf first.
        crls: DER certificate revocation lists, for GetCRL.
    """

    recipient: Recipient | AgreedRecipient | Password
    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What GetCert or GetCRL asked for (RFC 8894 section 3.3.4), public and issued to whomever.

    Attributes:
        certificates: the certificate, for GetCert.
        crls: the revocation list, for GetCRL.
    """

    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is none.

    Attributes:
        fail_info: the code.
        text: a sentence for people (failInfoText).
        hresult: Microsoft's error code, None to leave it out.
    """

    fail_info: FailInfo
    text: str
    hresult: int | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A person must approve; the client polls."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """The server can't judge the request now: said by HTTP, because a FAILURE would be final for the client."""

    status: int
    text: str
    retry_after: int | None


CertRep = Success | Failure | Waiting


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out by HTTP.

    Attributes:
        status: the HTTP status; 200 for every CertRep, also for a FAILURE.
        content_type: written exactly so, without charset (clients compare it as a whole).
        body: the whole body.
        retry_after: seconds, for temporary refusals.
        notes: fields for the request's event.
        max_age: seconds for which it may be kept on the way; None: not at all.
    """

    status: int
    content_type: str
    body: bytes
    retry_after: int | None = None
    notes: Mapping[str, object] = field(default_factory=dict)
    max_age: int | None = None


TEXT = "text/plain"
CA_CERTIFICATE = "application/x-x509-ca-cert"
CA_CERTIFICATES = "application/x-x509-ca-ra-cert"
PKI_MESSAGE = "application/x-pki-message"
NEXT_CA_CERTIFICATES = "application/x-x509-next-ca-cert"
