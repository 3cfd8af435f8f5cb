"""CMP messages as an RA's client needs them (RFC 4210, RFC 9810).

p10cr, kur, rr, certConf and pollReq go out, their answers come in; `ca.backends.cmp_protection` protects them.
Bytes in, values out; nothing is sent here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ca import der
from ca.backends.cmp_protection import BadProtection, members
from ca.crl import REASONS
from ca.name_codec import write_general_names, write_name

if TYPE_CHECKING:
    from cryptography import x509

    from ca.backends.cmp_protection import Protection
    from ca.plan import CertificatePlan

CR, CP, P10CR, KUR, KUP, RR, RP = 2, 3, 4, 7, 8, 11, 12
PKICONF, ERROR, CERT_CONF, POLL_REQ, POLL_REP = 19, 23, 24, 25, 26

ACCEPTED, GRANTED_WITH_MODS, REJECTION, WAITING, REVOKED_ALREADY = 0, 1, 2, 3, 5
BAD_CERT_ID, CERT_REVOKED, TRANSACTION_IN_USE = 4, 10, 21
NO_REQUEST = -1
"""The certReqId where a CertReqMsg is not what is meant (RFC 9483 section 4.4)."""
OURS = frozenset({1, 20, 23})
"""badMessageCheck, signerNotTrusted, notAuthorized: who we are is not taken; the requester can't help it."""
PASSING = frozenset({24, 25})
"""systemUnavail, systemFailure."""

_SUBJECT_ALT_NAME, _REASON_CODE, _OLD_CERT_ID = "2.5.29.17", "2.5.29.21", "1.3.6.1.5.5.7.5.1.5"


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
        status: of a certificate response, a revocation response or an error.
        request: the certReqId, of a certificate or poll response; none of an error.
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


def write_cr(plan: CertificatePlan) -> bytes:
    """Return the body that asks for what is planned (section 5.3.3); the key's possession was proven here."""
    return _crmf(CR, plan, b"")


def write_kur(plan: CertificatePlan, issuer: bytes, renews: int) -> bytes:
    """Return the body that asks for a successor of a certificate (section 5.3.5); the key's possession was proven here.

    Args:
        plan: what is asked for.
        issuer: DER of the name that issued the certificate before.
        renews: its serial number.
    """
    before = der.sequence(_field(4, issuer), der.integer(renews))
    return _crmf(KUR, plan, der.sequence(der.sequence(der.oid(_OLD_CERT_ID), before)))


def _crmf(body: int, plan: CertificatePlan, controls: bytes) -> bytes:
    """Return one CertReqMsg (RFC 4211 section 3) with raVerified; the body's number says what is asked for."""
    extensions = b""
    if plan.names:
        critical = () if plan.subject else (der.boolean(True),)  # noqa: FBT003 - a BOOLEAN is what it writes
        names = der.octet_string(write_general_names(plan.names))
        extensions = der.tlv(der.context(9), der.sequence(der.oid(_SUBJECT_ALT_NAME), *critical, names))
    key = der.tlv(der.context(6), der.read(plan.spki).content)
    template = der.sequence(_field(5, write_name(plan.subject)), key, extensions)
    request = der.sequence(der.integer(0), template, controls)
    ra_verified = der.tlv(der.context(0, constructed=False))
    return der.tlv(der.context(body), der.sequence(der.sequence(request, ra_verified)))


def write_rr(issuer: bytes, serial: int, reason: x509.ReasonFlags) -> bytes:
    """Return the body that asks for the revocation of a certificate (section 5.3.9).

    Args:
        issuer: DER of the name that issued it.
        serial: its serial number.
        reason: why; ``unspecified`` is left out.
    """
    number = der.tlv(der.context(1, constructed=False), der.read(der.integer(serial)).content)
    details = der.sequence(number, _field(3, issuer))
    code = REASONS[reason]
    value = der.octet_string(der.tlv(der.ENUMERATED, bytes((code,))))
    entry = (der.sequence(der.sequence(der.oid(_REASON_CODE), value)),) if code else ()
    return der.tlv(der.context(RR), der.sequence(der.sequence(details, *entry)))


def write_message(body: bytes, transaction: Transaction, recipient: bytes, protection: Protection) -> bytes:
    """Return a protected PKIMessage (section 5.1).

    Args:
        body: the PKIBody.
        transaction: what ties messages together.
        recipient: DER of the CA's name.
        protection: who we are for the CA.
    """
    algorithm, protect = protection.begin()
    header = der.sequence(
        der.integer(2),  # cmp2000
        _field(4, protection.sender),
        _field(4, recipient),
        _field(1, algorithm),
        _field(2, der.octet_string(protection.reference)) if protection.reference else b"",
        _field(4, der.octet_string(transaction.identifier)),
        _field(5, der.octet_string(transaction.nonce)),
        b"" if transaction.answers is None else _field(6, der.octet_string(transaction.answers)),
    )
    signature = protect(der.sequence(header, body))
    extra = _field(1, der.sequence(*protection.certificates)) if protection.certificates else b""
    return der.sequence(header, body, _field(0, der.bit_string(signature)), extra)


def _field(number: int, content: bytes) -> bytes:
    return der.tlv(der.context(number), content)


def read_message(data: bytes, protection: Protection) -> Reply:
    """Return a message of the CA.

    Raises:
        BadProtection: it is not protected as we expect of the CA.
        MalformedDer: it is not a message that is understood.
    """
    header, body, *rest = members(der.read(data), 2, 4)
    fields = {field.tag: field for field in members(header, 3, 12)[3:]}
    protections = [field for field in rest if field.tag == der.context(0)]
    if len(protections) != 1 or der.context(1) not in fields:
        raise BadProtection("the CA's message is not protected")
    unused, octets = der.read_bits(der.expect(_only(protections[0]), der.BIT_STRING))
    if unused:
        raise BadProtection("the protection of the CA's message is not a whole number of octets")
    protection.verify(_only(fields[der.context(1)]), octets, der.sequence(header.raw, body.raw))
    if not der.context(0) <= body.tag <= der.context(30):
        raise der.MalformedDer("not a PKIBody")
    kind = body.tag - der.context(0)
    known = {number: _octets(fields.get(der.context(number))) for number in (4, 5, 6)}
    reply = Reply(kind, known[5], known[6], known[4], _is_implicit(fields.get(der.context(8))))
    return _read_body(reply, _only(body))


def _read_body(reply: Reply, content: der.Tlv) -> Reply:
    if reply.body in {CP, KUP}:
        parts = members(content, 1, 2)
        (response,) = members(parts[-1], 1, 1)
        number, status, *pair = members(response, 2, 4)
        certificate = _certificate(pair[0]) if pair and pair[0].tag == der.SEQUENCE else None
        request = der.read_integer(der.expect(number, der.INTEGER))
        return replace(reply, status=_status(status), request=request, certificate=certificate)
    if reply.body == RP:
        (status,) = members(members(content, 1, 3)[0], 1, 1)
        return replace(reply, status=_status(status))
    if reply.body == ERROR:
        return replace(reply, status=_status(members(content, 1, 3)[0]), request=NO_REQUEST)
    if reply.body == POLL_REP:
        (response,) = members(content, 1, 1)
        numbers = [der.read_integer(der.expect(each, der.INTEGER)) for each in members(response, 2, 3)[:2]]
        return replace(reply, request=numbers[0], check_after=numbers[1])
    return reply


def _certificate(pair: der.Tlv) -> bytes:
    """Return the certificate of a CertifiedKeyPair; an encrypted one is not for us."""
    choice = members(pair, 1, 3)[0]
    return _only(der.expect(choice, der.context(0))).raw


def _status(element: der.Tlv) -> Status:
    number, *rest = members(element, 1, 3)
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
    kinds = (members(each, 1, 2)[0] for each in der.inside(_only(general), der.SEQUENCE))
    return any(der.dotted(kind) == "1.3.6.1.5.5.7.4.13" for kind in kinds)


def _octets(field: der.Tlv | None) -> bytes:
    return b"" if field is None else der.expect(_only(field), der.OCTET_STRING).content


def _only(element: der.Tlv) -> der.Tlv:
    parts = der.children(element)
    if len(parts) != 1:
        raise der.MalformedDer("a tag with nothing or several things in it")
    return parts[0]
