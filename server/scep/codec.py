"""SCEP between bytes and messages (RFC 8894 sections 3 and 4). Pure; `Malformed` is the only exception."""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import TYPE_CHECKING

from ca import der
from server.cms.algorithms import Cipher, Digest, MalformedCms
from server.cms.certificates import DATA, degenerate
from server.cms.enveloped import seal
from server.cms.passwords import Password
from server.cms.recipients import seal_for
from server.cms.signed import SIGNING_TIME, read_signed
from server.cms.signing import attribute, octets_attribute, signed_attributes
from server.scep.messages import CertRep, Failure, MessageType, PkiMessage, PkiStatus, Recipient, Success, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from server.cms.signed import SignerInfo
    from server.scep.messages import Accepted

MESSAGE_TYPE = "2.16.840.1.113733.1.9.2"
PKI_STATUS = "2.16.840.1.113733.1.9.3"
FAIL_INFO = "2.16.840.1.113733.1.9.4"
SENDER_NONCE = "2.16.840.1.113733.1.9.5"
RECIPIENT_NONCE = "2.16.840.1.113733.1.9.6"
TRANSACTION_ID = "2.16.840.1.113733.1.9.7"
FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"
HRESULT = "1.3.6.1.4.1.311.21.33"
"""NDES writes the cause of a failure here, as a signed decimal number."""

_TRANSACTION_CHARACTERS = 255
_NONCE_OCTETS = range(1, 65)  # 16 says the RFC; old clients send 8, and more does no harm
_UNDO_FORM_ENCODING = bytes.maketrans(b" -_", b"++/")


class Malformed(ValueError):
    """Not a SCEP message that a CertRep could answer. The text is safe to show to the requester."""


def read_message_parameter(value: bytes) -> bytes:
    """Return the message that the ``message`` parameter of a GET carries (RFC 8894 section 4.1).

    Args:
        value: the parameter, percent-decoded: base64, with or without line breaks and padding. A space is taken for
            a plus sign that a form decoder turned into one, and for nothing where that gives no base64.

    Raises:
        Malformed: it is not base64.
    """
    joined = value.translate(None, b"\r\n\t")
    for candidate in (joined.strip(b" ").translate(_UNDO_FORM_ENCODING), joined.replace(b" ", b"")):
        bare = candidate.rstrip(b"=")
        try:
            return binascii.a2b_base64(bare + b"=" * (-len(bare) % 4), strict_mode=True)
        except binascii.Error:
            continue
    raise Malformed("the message parameter is not base64")


def read_pki_message(data: bytes) -> PkiMessage:
    """Read a pkiMessage (RFC 8894 section 3.2) as far as a reply needs it. Raises Malformed."""
    try:
        signed = read_signed(data)
        if signed.content_type != DATA:
            raise Malformed("the signed content is not of type data")
        transaction, transaction_id = _transaction(signed.signer)
        type_text = _text(signed.signer, MESSAGE_TYPE)
        return PkiMessage(
            transaction=transaction,
            transaction_id=transaction_id,
            type_text=type_text,
            message_type=_MESSAGE_TYPES.get(type_text),
            sender_nonce=_sender_nonce(signed.signer),
            signer=signed.signer_certificate(),
            signed=signed,
        )
    except (MalformedCms, der.MalformedDer) as error:
        raise Malformed(f"not a SCEP message: {error}") from error


def read_issuer_and_serial(content: bytes) -> tuple[bytes, int]:
    """Read the IssuerAndSerialNumber of GetCert and GetCRL (RFC 8894 section 3.3.4). Raises Malformed.

    Returns:
        The encoded name of the issuer, and the serial number.
    """
    try:
        parts = der.inside(der.read(content, ber=True), der.SEQUENCE, ber=True)
        if len(parts) != 2:
            raise Malformed("not an IssuerAndSerialNumber")
        return der.expect(parts[0], der.SEQUENCE).raw, der.read_integer(der.expect(parts[1], der.INTEGER))
    except der.MalformedDer as error:
        raise Malformed("not an IssuerAndSerialNumber") from error


_MESSAGE_TYPES = {message_type.value: message_type for message_type in MessageType}


def _transaction(signer: SignerInfo) -> tuple[str, bytes]:
    element = signer.attribute(TRANSACTION_ID)
    if element is None:
        raise Malformed("the message has no transactionID")
    text = der.read_text(element)
    if not 0 < len(text) <= _TRANSACTION_CHARACTERS or not text.isprintable():
        raise Malformed("the transactionID is empty, too long or not printable")
    return text, der.tlv(element.tag, element.content)


def _text(signer: SignerInfo, oid: str) -> str:
    """Return an attribute's text, empty when there is none: the dispatch table knows no empty type."""
    element = signer.attribute(oid)
    if element is None:
        return ""
    try:
        return der.read_text(element)
    except der.MalformedDer:
        return ""


def _sender_nonce(signer: SignerInfo) -> bytes | None:
    element = signer.attribute(SENDER_NONCE)
    if element is None or element.tag != der.OCTET_STRING or len(element.content) not in _NONCE_OCTETS:
        return None
    return element.content


_IS_CERT_REP = attribute(MESSAGE_TYPE, der.printable(MessageType.CERT_REP))
_IS_SUCCESS, _IS_FAILURE, _IS_PENDING = (
    attribute(PKI_STATUS, der.printable(status)) for status in (PkiStatus.SUCCESS, PkiStatus.FAILURE, PkiStatus.PENDING)
)


def write_success(success: Success, random: Callable[[int], bytes]) -> bytes:
    """Return the pkcsPKIEnvelope of a SUCCESS reply, encrypted to the requester.

    Takes a while for a password: that is what deriving a key from one is for.

    Args:
        success: certificates or CRL, and the recipient.
        random: returns that many random octets.
    """
    recipient, content = success.recipient, degenerate(success.certificates, success.crls)
    if isinstance(recipient, Recipient):
        return seal(
            content,
            recipient.certificate,
            recipient.key,
            cipher=recipient.cipher,
            transport=recipient.transport,
            random=random,
        )
    who = recipient if isinstance(recipient, Password) else recipient.key
    return seal_for(content, DATA, who, cipher=recipient.cipher, random=random)


def write_reply_attributes(
    message: PkiMessage, reply: CertRep, content: bytes | None, *, digest: Digest, nonce: bytes, now: datetime
) -> bytes:
    """Return the signed attributes of a CertRep (RFC 8894 section 3.3.2), as a SET in DER order.

    Args:
        message: the request.
        reply: the answer.
        content: what `write_success` returned; None or empty for other answers.
        digest: what the reply is signed with.
        nonce: a fresh senderNonce; the RFC no longer asks for it, certmonger does.
        now: the signing time.
    """
    attributes = [
        attribute(TRANSACTION_ID, message.transaction_id),
        _IS_CERT_REP,
        _status(reply),
        octets_attribute(SENDER_NONCE, nonce),
        _signing_time(now.replace(microsecond=0)),
    ]
    if message.sender_nonce is not None:
        attributes.append(octets_attribute(RECIPIENT_NONCE, message.sender_nonce))
    if isinstance(reply, Failure):
        attributes.append(attribute(FAIL_INFO, der.printable(reply.fail_info)))
        attributes.append(attribute(FAIL_INFO_TEXT, der.utf8(reply.text)))
        if reply.hresult is not None:
            attributes.append(attribute(HRESULT, der.printable(str(reply.hresult))))
    return signed_attributes(attributes, content, digest)


@lru_cache(maxsize=4)
def _signing_time(second: datetime) -> bytes:
    return attribute(SIGNING_TIME, der.time(second))


def _status(reply: CertRep) -> bytes:
    match reply:
        case Success():
            return _IS_SUCCESS
        case Failure():
            return _IS_FAILURE
        case Waiting():
            return _IS_PENDING


def write_next_ca_attributes(content: bytes, *, digest: Digest, now: datetime) -> bytes:
    """Return the signed attributes of a GetNextCACert response (RFC 8894 section 4.7.1), as a SET in DER order."""
    return signed_attributes([_signing_time(now.replace(microsecond=0))], content, digest)


def write_capabilities(accepted: Accepted, *, renewal: bool) -> bytes:
    """Return the body of GetCACaps (RFC 8894 section 3.5.2): one keyword a line, only what works.

    MD5 and single DES have no keyword: who has nothing better uses them anyway, and nobody else may be led to them.

    Args:
        accepted: the algorithms that the endpoint takes.
        renewal: whether a certificate may sign its own renewal.
    """
    # SHA-384 is no keyword of the RFC: strongSwan before 5.9.11 misreads all others unless it is there.
    words = ["AES", "GetNextCACert", "POSTPKIOperation", "SCEPStandard", "SHA-256", "SHA-384", "SHA-512"]
    if renewal:
        words.append("Renewal")
    if Cipher.DES3 in accepted.ciphers:
        words.append("DES3")
    if Digest.SHA1 in accepted.digests:
        words.append("SHA-1")
    return "".join(f"{word}\n" for word in sorted(words)).encode()
