"""CMC's octets: full requests in, full responses out (RFC 5272 sections 3.2 and 4.2)."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING

from ca import der
from ca.csr import BadProof, Csr, MalformedCsr, UnsupportedKey, UnsupportedSignature, parse_csr, without_attributes
from server.est.cmc import controls
from server.est.cmc.crmf import read_request
from server.est.cmc.messages import (
    WHOLE,
    CertificationRequest,
    CmcFault,
    FailInfo,
    PkiData,
    PkiResponse,
    StatusInfo,
    Witness,
    malformed,
    unsupported_algorithm,
)
from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

_PKCS10, _CRMF = 0xA0, 0xA1
_MOST = 32
"""Requests in a message."""
_SPACES = b" \t\r\n"
_NOT_ONE = "The body is not a full PKI request (RFC 5272 section 3.2)"


def unwrap(body: bytes) -> bytes:
    """Return the DER or BER of a body: base64 (RFC 8951 section 3), or the octets themselves. Raises CmcFault."""
    if body.startswith(b"\x30"):  # a SEQUENCE; as base64 a "0" would begin no SEQUENCE
        return body
    try:
        return b64decode(body.translate(None, _SPACES), validate=True)
    except binascii.Error as error:
        raise malformed("The body is neither base64 (RFC 8951 section 3) nor DER.") from error


def decode_pki_data(content: bytes) -> PkiData:
    """Decode a PKIData. What is wrong with one request is that request's fault alone. Raises CmcFault alone."""
    try:
        return _pki_data(content)
    except CmcFault:
        raise
    except ValueError as error:  # MalformedDer, or not as many elements as there must be
        reason = f": {error}" if isinstance(error, der.MalformedDer) else ""
        raise malformed(f"{_NOT_ONE}{reason}.") from error


def _pki_data(content: bytes) -> PkiData:
    fields = der.inside(der.read(content, ber=True), der.SEQUENCE, ber=True)
    control_sequence, request_sequence, cms_sequence, others = (der.expect(each, der.SEQUENCE) for each in fields)
    if cms_sequence.content or others.content:
        raise malformed("Messages inside of the message are not supported here: put the requests into reqSequence.")
    found = controls.read_controls(der.children(control_sequence, ber=True))
    tagged = der.children(request_sequence, ber=True)
    if len(tagged) > _MOST:
        raise malformed(f"There are more than {_MOST} requests.")
    read = [_request(each) for each in tagged]
    parts = [*found.parts, *(part for part, _ in read)]
    if len(set(parts)) != len(parts):
        raise malformed("A body part identifier is there twice (RFC 5272 section 3.2.2).")
    if not (read or found.queries or found.revocations or found.crl_query):
        raise malformed("The message asks for nothing.")
    return PkiData(
        requests=tuple(each for _, each in read if isinstance(each, CertificationRequest)),
        faults=tuple(each for _, each in read if isinstance(each, CmcFault)),
        request_sequence=request_sequence.raw,
        queries=tuple(found.queries),
        revocations=tuple(found.revocations),
        crl_query=found.crl_query,
        transaction=found.transaction,
        sender_nonce=found.sender_nonce,
        data_return=found.data_return,
        identification=found.identification,
        proof=found.proof,
        link_random=found.link_random,
    )


def read_echo(content: bytes) -> PkiData:
    """Return what an answer repeats of a PKIData that can't be granted as a whole: who asked must know it for theirs.

    transactionId, senderNonce and dataReturn (RFC 5272 sections 6.4 and 6.6), each where it can be read.
    """
    try:
        sequence = der.inside(der.read(content, ber=True), der.SEQUENCE, ber=True)[0]
        found = controls.read_echo(der.children(der.expect(sequence, der.SEQUENCE), ber=True))
    except (ValueError, IndexError):
        found = controls.Controls()
    return PkiData(
        requests=(),
        faults=(),
        request_sequence=b"",
        transaction=found.transaction,
        sender_nonce=found.sender_nonce,
        data_return=found.data_return,
    )


def _request(element: der.Tlv) -> tuple[int, CertificationRequest | CmcFault]:
    """Read one TaggedRequest; only what does not even say which part it is breaks the whole message."""
    part = _part(element)
    try:
        issuer = None
        if element.tag == _PKCS10:
            _, request = der.children(element)
            csr = parse_csr(der.expect(request, der.SEQUENCE).raw)
        elif element.tag == _CRMF:
            _, csr, issuer = read_request(element)
        else:
            raise malformed("A request is neither PKCS#10 nor CRMF.", part)
        link = _link(csr, part)
        bare = without_attributes(csr, {controls.POP_LINK_WITNESS_V2})
        return part, CertificationRequest(part, bare, link, issuer)
    except CmcFault as fault:
        return part, replace_parts(fault, part)
    except ValueError as error:
        return part, _fault(error, part)


def _part(element: der.Tlv) -> int:
    inside = der.children(element, ber=True)
    if element.tag == _CRMF:
        inside = der.children(inside[0], ber=True) if inside else []
    if not inside:
        raise der.MalformedDer("a request is empty")
    return controls.read_part(inside[0])


def replace_parts(fault: CmcFault, part: int) -> CmcFault:
    """Return the fault as one of this part."""
    return CmcFault(fault.fail, fault.problem, (part,), fault.status)


def _fault(error: ValueError, part: int) -> CmcFault:
    match error:
        case UnsupportedKey() | UnsupportedSignature():
            return unsupported_algorithm(f"The request has {error}.", part)
        case BadProof():
            problem = Problem(Reason.BAD_PROOF, "The request is not signed with its own key: no proof of possession.")
            return CmcFault(FailInfo.POP_FAILED, problem, (part,))
        case MalformedCsr() | der.MalformedDer():
            return malformed(f"The request can't be read: {error}.", part)
        case _:  # not as many elements as there must be
            return malformed("The request can't be read.", part)


def _link(csr: Csr, part: int) -> Witness | None:
    """Return the POP link witness of a request (section 6.3.1), None without."""
    found = [each for each in csr.attributes if each.oid in {controls.POP_LINK_WITNESS, controls.POP_LINK_WITNESS_V2}]
    if not found:
        return None
    if len(found) > 1 or len(found[0].values) != 1:
        raise malformed("The request has not exactly one POP link witness.", part)
    if found[0].oid == controls.POP_LINK_WITNESS:
        raise unsupported_algorithm("A POP link witness with SHA-1 is not taken: use popLinkWitnessV2.", part)
    return controls.read_witness(der.read(found[0].values[0]))


# --- responses ---------------------------------------------------------------------------------------------------


def encode_response(response: PkiResponse) -> bytes:
    """Return the DER of a PKIResponse."""
    values: list[tuple[str, bytes]] = [(controls.STATUS_INFO_V2, _status(each)) for each in response.statuses]
    if response.transaction is not None:
        values.append((controls.TRANSACTION, der.integer(response.transaction)))
    values.append((controls.SENDER_NONCE, der.octet_string(response.sender_nonce)))
    if response.recipient_nonce is not None:
        values.append((controls.RECIPIENT_NONCE, der.octet_string(response.recipient_nonce)))
    if response.data_return is not None:
        values.append((controls.DATA_RETURN, der.octet_string(response.data_return)))
    return der.sequence(_tagged(values), der.sequence(), der.sequence())


def _tagged(values: Sequence[tuple[str, bytes]]) -> bytes:
    return der.sequence(
        *(
            der.sequence(der.integer(part), der.oid(oid), der.tlv(der.SET, value))
            for part, (oid, value) in enumerate(values, WHOLE + 1)
        )
    )


def _status(info: StatusInfo) -> bytes:
    fields = [der.integer(info.status), der.sequence(*map(der.integer, info.parts))]
    if info.text:
        fields.append(der.utf8(info.text))
    if info.fail is not None:
        fields.append(der.integer(info.fail))
    elif info.pending is not None:
        token, when = info.pending
        fields.append(der.sequence(der.octet_string(token), der.generalized_time(when)))
    return der.sequence(*fields)
