"""CRMF requests (RFC 4211): read, and brought into the form in which every other request is judged and recorded."""

from __future__ import annotations

from ca import der
from ca.csr import Csr, Template, parse_template
from server.est.cmc.messages import CmcFault, FailInfo, malformed
from server.outcome import Problem, Reason

_SUBJECT, _PUBLIC_KEY, _EXTENSIONS, _ISSUER, _VERSION = 0xA5, 0xA6, 0xA9, 0xA3, 0x80
_SIGNATURE_POP, _POP_INPUT = 0xA1, 0xA0
# What the profile alone decides; who asks for it must not think that it was given.
_NOT_FOR_REQUESTERS = {
    0x81: "a serial number",
    0xA2: "a signature algorithm",
    0xA4: "a validity",
    0x87: "an issuer's unique identifier",
    0x88: "a subject's unique identifier",
}
_POP_NAMES = {
    0x80: "raVerified",
    0xA2: "keyEncipherment",
    0xA3: "keyAgreement",
}


def read_request(element: der.Tlv) -> tuple[int, Csr, bytes | None]:
    """Read a CertReqMsg whose tag is that of the choice around it.

    Returns:
        Its certReqId, which is its body part; the request, its proof of possession verified; DER of the issuer that it
        names, None when it names none.

    Raises:
        CmcFault: there is no proof that can be verified here, or something is asked for that nobody can ask for.
        MalformedDer, MalformedCsr, ValueError: it can't be read, or the proof does not hold.
    """
    request, *rest = der.children(element)
    number, template, *controls = der.inside(request, der.SEQUENCE)
    part = der.read_integer(der.expect(number, der.INTEGER))
    if len(controls) > 1:
        raise der.MalformedDer("not a CertRequest")
    fields = _template(der.expect(template, der.SEQUENCE), part)
    if _SUBJECT not in fields or _PUBLIC_KEY not in fields:
        raise malformed("The template must name subject and public key.", part)
    algorithm, signature = _proof(rest[0] if rest else None, part)
    attributes = tuple(map(_attribute, der.inside(controls[0], der.SEQUENCE))) if controls else ()
    csr = parse_template(
        Template(
            subject=_only(fields[_SUBJECT]).raw,
            spki=_as_sequence(fields[_PUBLIC_KEY]),
            extensions=_as_sequence(fields[_EXTENSIONS]) if _EXTENSIONS in fields else None,
            attributes=attributes,
            algorithm=algorithm.raw,
            signature=signature.raw,
            signed=request.raw,
        )
    )
    return part, csr, _only(fields[_ISSUER]).raw if _ISSUER in fields else None


def _template(element: der.Tlv, part: int) -> dict[int, der.Tlv]:
    fields: dict[int, der.Tlv] = {}
    for each in der.children(element):
        if each.tag in _NOT_FOR_REQUESTERS:
            raise malformed(
                f"The template asks for {_NOT_FOR_REQUESTERS[each.tag]}, which is not for requesters.", part
            )
        if each.tag in fields or each.tag not in {_SUBJECT, _PUBLIC_KEY, _EXTENSIONS, _ISSUER, _VERSION}:
            raise der.MalformedDer("not a CertTemplate")
        fields[each.tag] = each
    return fields


def _proof(element: der.Tlv | None, part: int) -> tuple[der.Tlv, der.Tlv]:
    """Return algorithm and signature of a POPOSigningKey (section 4.1). Raises CmcFault for other proofs and none."""
    if element is None:
        message = "The request proves nothing of its private key: sign it (POPOSigningKey)."
        raise CmcFault(FailInfo.POP_REQUIRED, Problem(Reason.BAD_PROOF, message), (part,))
    name = _POP_NAMES.get(element.tag)
    if name is not None:
        message = f"The proof of possession {name} is not taken here: sign the request (POPOSigningKey)."
        raise CmcFault(FailInfo.POP_FAILED, Problem(Reason.BAD_PROOF, message), (part,))
    parts = der.inside(element, _SIGNATURE_POP)
    if parts and parts[0].tag == _POP_INPUT:
        # RFC 4211 section 4.1: not where the template names subject and public key, as it must here.
        message = "The proof of possession must be over the request itself, without POPOSigningKeyInput."
        raise CmcFault(FailInfo.POP_FAILED, Problem(Reason.BAD_PROOF, message), (part,))
    algorithm, signature = parts
    return algorithm, der.expect(signature, der.BIT_STRING)


def _attribute(element: der.Tlv) -> bytes:
    """Return a control of the request, AttributeTypeAndValue, as an attribute of PKCS#10."""
    kind, value = der.inside(element, der.SEQUENCE)
    return der.sequence(der.expect(kind, der.OID).raw, der.tlv(der.SET, value.raw))


def _only(element: der.Tlv) -> der.Tlv:
    (inside,) = der.children(element)
    return inside


def _as_sequence(element: der.Tlv) -> bytes:
    return der.tlv(der.SEQUENCE, element.content)
