"""CMP messages as an RA's client needs them (RFC 4210, RFC 9810): p10cr, certConf and pollReq out, their answers in.

Protected by a shared secret: PasswordBasedMac (RFC 9810 section 5.1.3.1). Bytes in, values out; nothing is sent here.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace

from ca import der

PASSWORD_BASED_MAC = "1.2.840.113533.7.66.13"  # noqa: S105 - an object identifier
_HASHES = {"1.3.14.3.2.26": "sha1", "2.16.840.1.101.3.4.2.1": "sha256", "2.16.840.1.101.3.4.2.3": "sha512"}
_MACS = {
    "1.3.6.1.5.5.8.1.2": "sha1",
    "1.2.840.113549.2.7": "sha1",
    "1.2.840.113549.2.9": "sha256",
    "1.2.840.113549.2.11": "sha512",
}
_SHA256, _HMAC_SHA256 = "2.16.840.1.101.3.4.2.1", "1.2.840.113549.2.9"
_ITERATIONS = 2048
ITERATION_LIMIT = 100_000
"""More iterations than this would be work that another can impose on us."""

P10CR, CP, PKICONF, ERROR, CERT_CONF, POLL_REQ, POLL_REP = 4, 3, 19, 23, 24, 25, 26

ACCEPTED, GRANTED_WITH_MODS, REJECTION, WAITING = 0, 1, 2, 3
TRANSACTION_IN_USE = 21
OURS = frozenset({1, 20, 23})
"""badMessageCheck, signerNotTrusted, notAuthorized: our secret is not taken; the requester can't help it."""
PASSING = frozenset({24, 25})
"""systemUnavail, systemFailure."""


class BadProtection(ValueError):
    """A message is not protected with our secret: whoever sent it, it is not the CA."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What we share with the CA.

    Attributes:
        reference: names the secret; the senderKID of our messages.
        value: the secret.
    """

    reference: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Transaction:
    """What ties messages together.

    Attributes:
        identifier: the transactionID.
        nonce: our senderNonce, new for each message.
        answers: the senderNonce of the message that this one answers, None for the first.
    """

    identifier: bytes
    nonce: bytes
    answers: bytes | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """A PKIStatusInfo: the status, the failure bits that are set, and the text."""

    status: int
    failures: frozenset[int]
    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A message of the CA, its protection verified.

    Attributes:
        body: the number of the body's kind.
        sender_nonce: its nonce.
        recipient_nonce: ours, as it came back.
        transaction: the transactionID.
        implicit: whether no confirmation is wanted.
        status: of a certificate response or an error.
        request: the certReqId, of a certificate or poll response.
        certificate: DER, of a certificate response.
        check_after: seconds, of a poll response.
    """

    body: int
    sender_nonce: bytes
    recipient_nonce: bytes
    transaction: bytes
    implicit: bool
    status: Status | None = None
    request: int = 0
    certificate: bytes | None = None
    check_after: int = 0


def write_p10cr(csr: bytes) -> bytes:
    """Return the body that passes on a PKCS #10 request (section 5.3.4)."""
    return der.tlv(der.context(P10CR), csr)


def write_cert_conf(certificate_hash: bytes, request: int) -> bytes:
    """Return the body that takes a certificate (section 5.3.18)."""
    status = der.sequence(der.octet_string(certificate_hash), der.integer(request))
    return der.tlv(der.context(CERT_CONF), der.sequence(status))


def write_poll_req(request: int) -> bytes:
    """Return the body that asks whether the certificate is there (section 5.3.22)."""
    return der.tlv(der.context(POLL_REQ), der.sequence(der.sequence(der.integer(request))))


def write_message(body: bytes, transaction: Transaction, recipient: bytes, secret: Secret, salt: bytes) -> bytes:
    """Return a protected PKIMessage (section 5.1).

    Args:
        body: the PKIBody.
        transaction: what ties messages together.
        recipient: DER of the CA's name.
        secret: what we share with the CA.
        salt: 16 unpredictable octets.
    """
    parameters = der.sequence(
        der.octet_string(salt),
        der.sequence(der.oid(_SHA256), der.null()),
        der.integer(_ITERATIONS),
        der.sequence(der.oid(_HMAC_SHA256), der.null()),
    )
    header = der.sequence(
        der.integer(2),  # cmp2000
        der.tlv(der.context(4), der.sequence()),  # sender: the NULL-DN, as the secret has no name
        der.tlv(der.context(4), recipient),
        _field(1, der.sequence(der.oid(PASSWORD_BASED_MAC), parameters)),
        _field(2, der.octet_string(secret.reference)),
        _field(4, der.octet_string(transaction.identifier)),
        _field(5, der.octet_string(transaction.nonce)),
        b"" if transaction.answers is None else _field(6, der.octet_string(transaction.answers)),
    )
    mac = _mac(secret.value + salt, _ITERATIONS, der.sequence(header, body))
    return der.sequence(header, body, _field(0, der.bit_string(mac)))


def _field(number: int, content: bytes) -> bytes:
    return der.tlv(der.context(number), content)


def _mac(secret: bytes, iterations: int, data: bytes, *, owf: str = "sha256", mac: str = "sha256") -> bytes:
    """Return the MAC; `secret` ends with the salt."""
    key = secret
    for _ in range(iterations):
        key = hashlib.new(owf, key).digest()
    return hmac.digest(key, data, mac)


def read_message(data: bytes, secret: Secret) -> Reply:
    """Return a message of the CA.

    Raises:
        BadProtection: it is not protected with our secret.
        MalformedDer: it is not a message that is understood.
    """
    header, body, *rest = _parts(der.read(data), 2, 4)
    fields = {field.tag: field for field in _parts(header, 3, 12)[3:]}
    protections = [field for field in rest if field.tag == der.context(0)]
    if len(protections) != 1 or der.context(1) not in fields:
        raise BadProtection("the CA's message is not protected")
    _verify(fields[der.context(1)], protections[0], der.sequence(header.raw, body.raw), secret)
    if not der.context(0) <= body.tag <= der.context(30):
        raise der.MalformedDer("not a PKIBody")
    kind = body.tag - der.context(0)
    octets = {number: _octets(fields.get(der.context(number))) for number in (4, 5, 6)}
    reply = Reply(kind, octets[5], octets[6], octets[4], _is_implicit(fields.get(der.context(8))))
    return _read_body(reply, _only(body))


def _verify(algorithm: der.Tlv, protection: der.Tlv, protected: bytes, secret: Secret) -> None:
    oid, parameters = _parts(_only(algorithm), 1, 2) if len(der.children(_only(algorithm))) == 2 else (None, None)
    if oid is None or parameters is None or der.read_oid(oid.content) != PASSWORD_BASED_MAC:
        raise BadProtection("the CA's message is not protected with a shared secret")
    salt, owf, iterations, mac = _parts(parameters, 4, 4)
    names = [der.read_oid(der.expect(_parts(each, 1, 2)[0], der.OID).content) for each in (owf, mac)]
    count = der.read_integer(der.expect(iterations, der.INTEGER))
    if names[0] not in _HASHES or names[1] not in _MACS or not 0 < count <= ITERATION_LIMIT:
        raise BadProtection("the CA protects its messages in a way that is not known here")
    salted = secret.value + der.expect(salt, der.OCTET_STRING).content
    expected = _mac(salted, count, protected, owf=_HASHES[names[0]], mac=_MACS[names[1]])
    _, found = der.read_bits(der.expect(_only(protection), der.BIT_STRING))
    if not hmac.compare_digest(expected, found):
        raise BadProtection("the CA's message is not protected with our secret")


def _read_body(reply: Reply, content: der.Tlv) -> Reply:
    if reply.body == CP:
        parts = _parts(content, 1, 2)
        (response,) = _parts(parts[-1], 1, 1)
        number, status, *pair = _parts(response, 2, 4)
        certificate = _certificate(pair[0]) if pair and pair[0].tag == der.SEQUENCE else None
        request = der.read_integer(der.expect(number, der.INTEGER))
        return replace(reply, status=_status(status), request=request, certificate=certificate)
    if reply.body == ERROR:
        return replace(reply, status=_status(_parts(content, 1, 3)[0]))
    if reply.body == POLL_REP:
        (response,) = _parts(content, 1, 1)
        numbers = [der.read_integer(der.expect(each, der.INTEGER)) for each in _parts(response, 2, 3)[:2]]
        return replace(reply, request=numbers[0], check_after=numbers[1])
    return reply


def _certificate(pair: der.Tlv) -> bytes:
    """Return the certificate of a CertifiedKeyPair; an encrypted one is not for us."""
    choice = _parts(pair, 1, 3)[0]
    return _only(der.expect(choice, der.context(0))).raw


def _status(element: der.Tlv) -> Status:
    number, *rest = _parts(element, 1, 3)
    text, failures = "", frozenset[int]()
    for part in rest:
        if part.tag == der.SEQUENCE:
            text = "; ".join(der.read_text(line) for line in der.children(part))
        else:
            _, octets = der.read_bits(der.expect(part, der.BIT_STRING))
            bits = "".join(f"{octet:08b}" for octet in octets)
            failures = frozenset(position for position, bit in enumerate(bits) if bit == "1")
    return Status(der.read_integer(der.expect(number, der.INTEGER)), failures, text[:300])


def _is_implicit(general: der.Tlv | None) -> bool:
    """Whether id-it-implicitConfirm is among the generalInfo (section 5.1.1.1)."""
    if general is None:
        return False
    kinds = (_parts(each, 1, 2)[0] for each in der.children(der.expect(_only(general), der.SEQUENCE)))
    return any(der.read_oid(der.expect(kind, der.OID).content) == "1.3.6.1.5.5.7.4.13" for kind in kinds)


def _octets(field: der.Tlv | None) -> bytes:
    return b"" if field is None else der.expect(_only(field), der.OCTET_STRING).content


def _only(element: der.Tlv) -> der.Tlv:
    parts = der.children(element)
    if len(parts) != 1:
        raise der.MalformedDer("a tag with nothing or several things in it")
    return parts[0]


def _parts(element: der.Tlv, least: int, most: int) -> list[der.Tlv]:
    parts = der.children(der.expect(element, der.SEQUENCE))
    if not least <= len(parts) <= most:
        raise der.MalformedDer("a sequence has too few or too many elements")
    return parts
