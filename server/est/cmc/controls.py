"""The controls of a full request (RFC 5272 section 6): read, each at most once unless it may come again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509

from ca import der
from server.cms.algorithms import Digest, read_identifier
from server.est.cmc.messages import (
    CmcFault,
    CrlQuery,
    FailInfo,
    Query,
    Revocation,
    Status,
    Witness,
    malformed,
    unsupported_algorithm,
)
from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

_CMC = "1.3.6.1.5.5.7.7."
STATUS_INFO_V2 = _CMC + "25"
IDENTIFICATION = _CMC + "2"
DATA_RETURN = _CMC + "4"
TRANSACTION = _CMC + "5"
SENDER_NONCE = _CMC + "6"
RECIPIENT_NONCE = _CMC + "7"
RA_POP_WITNESS = _CMC + "11"
GET_CRL = _CMC + "16"
REVOKE_REQUEST = _CMC + "17"
QUERY_PENDING = _CMC + "21"
POP_LINK_RANDOM = _CMC + "22"
POP_LINK_WITNESS = _CMC + "23"
POP_LINK_WITNESS_V2 = _CMC + "33"
IDENTITY_PROOF_V2 = _CMC + "34"

_NAMES = {
    _CMC + "3": "identityProof (use identityProofV2)",
    _CMC + "8": "addExtensions",
    _CMC + "9": "encryptedPOP",
    _CMC + "10": "decryptedPOP",
    _CMC + "15": "getCert",
    _CMC + "18": "regInfo",
    _CMC + "24": "confirmCertAcceptance",
    _CMC + "26": "publishTrustAnchors",
    _CMC + "27": "authData",
    _CMC + "28": "batchRequests",
    _CMC + "30": "publishCert",
    _CMC + "31": "modCertTemplate",
}
_AGAIN = frozenset({REVOKE_REQUEST, QUERY_PENDING})
_MOST = 64
_LONGEST = 1024  # of nonces, tokens and the like
_LONGEST_RANDOM = 4096
_LONGEST_TEXT = 255
_LONGEST_INTEGER = 64  # goes on record
_CONTEXT_SPECIFIC = 0x80  # in the tags of general names

_DIGESTS = {each.oid: each for each in (Digest.SHA256, Digest.SHA384, Digest.SHA512)}
# RFC 4231 names them with NULL or without parameters; PKCS #5 has the same numbers.
_MACS = {
    "1.2.840.113549.2.9": Digest.SHA256,
    "1.2.840.113549.2.10": Digest.SHA384,
    "1.2.840.113549.2.11": Digest.SHA512,
}

# RFC 5280 section 5.3.1; those that only a CA uses of its own, or only a delta list has, are not for requesters.
_REASONS = {
    0: x509.ReasonFlags.unspecified,
    1: x509.ReasonFlags.key_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
    6: x509.ReasonFlags.certificate_hold,
    9: x509.ReasonFlags.privilege_withdrawn,
}


@dataclass(slots=True)
class Controls:
    """The controls as they are read; the attributes are those of `PkiData`, and what answers a nonce of ours."""

    parts: list[int] = field(default_factory=list)
    queries: list[Query] = field(default_factory=list)
    revocations: list[Revocation] = field(default_factory=list)
    crl_query: CrlQuery | None = None
    transaction: int | None = None
    sender_nonce: bytes | None = None
    recipient_nonce: bytes | None = None
    data_return: bytes | None = None
    identification: str | None = None
    proof: Witness | None = None
    link_random: bytes | None = None


def read_controls(elements: Sequence[der.Tlv]) -> Controls:
    """Read the control sequence. Raises CmcFault, MalformedDer and ValueError."""
    if len(elements) > _MOST:
        raise malformed(f"There are more than {_MOST} controls.")
    tagged = [_tagged(each) for each in elements]
    _expect_known(tagged)
    found = Controls()
    for part, oid, values in tagged:
        found.parts.append(part)
        if len(values) != 1:
            raise malformed("A control of one value has none or several.", part)
        _read(found, part, oid, values[0])
    return found


def read_echo(elements: Iterable[der.Tlv]) -> Controls:
    """Read what an answer repeats, of a sequence that is not as it must be; what can't be read is left out."""
    found = Controls()
    for each in elements:
        try:
            part, oid, (value,) = _tagged(each)
            if oid in _ECHOED:
                _read(found, part, oid, value)
        except ValueError:  # MalformedDer, or not one value
            continue
    return found


def _expect_known(tagged: Iterable[tuple[int, str, list[der.Tlv]]]) -> None:
    seen: set[str] = set()
    for part, oid, _ in tagged:
        if oid == RA_POP_WITNESS:  # section 6.8 says what a CA answers that takes no such word
            message = "Nobody's word stands for a proof of possession here: requests are signed with their own keys."
            raise CmcFault(FailInfo.POP_FAILED, Problem(Reason.BAD_PROOF, message), (part,))
        if oid not in _KNOWN:
            message = f"The control {_NAMES.get(oid, oid)} is not supported here."
            raise CmcFault(None, Problem(Reason.MALFORMED, message), (part,), Status.NO_SUPPORT)
        if oid in seen and oid not in _AGAIN:
            raise malformed("A control is there twice.", part)
        seen.add(oid)


def _tagged(element: der.Tlv) -> tuple[int, str, list[der.Tlv]]:
    part, oid, values = der.inside(element, der.SEQUENCE, ber=True)
    dotted = der.dotted(oid)
    return read_part(part), dotted, der.inside(values, der.SET, ber=True)


def read_part(element: der.Tlv) -> int:
    """Read a BodyPartID; 0 is the whole message and names no part of it. Raises MalformedDer."""
    number = der.read_integer(der.expect(element, der.INTEGER))
    if not 0 < number < 1 << 32:
        raise der.MalformedDer("not a body part identifier (RFC 5272 section 3.2.2)")
    return number


def _read(found: Controls, part: int, oid: str, value: der.Tlv) -> None:
    if oid == QUERY_PENDING:
        found.queries.append(Query(part, _octets(value)))
    elif oid == REVOKE_REQUEST:
        found.revocations.append(_revocation(part, value))
    elif oid == GET_CRL:
        found.crl_query = _crl_query(part, value)
    else:
        name, read = _SINGLE[oid]
        setattr(found, name, read(value))


def _octets(element: der.Tlv, most: int = _LONGEST) -> bytes:
    found = der.octets(der.expect(element, der.OCTET_STRING), ber=True)
    if len(found) > most:
        raise der.MalformedDer("an octet string of absurd length")
    return found


def read_witness(element: der.Tlv) -> Witness:
    """Read an IdentityProofV2 or a PopLinkWitnessV2, which look the same. Raises CmcFault and MalformedDer."""
    key, mac, value = der.inside(element, der.SEQUENCE, ber=True)
    digest, mac_digest = _DIGESTS.get(read_identifier(key).oid), _MACS.get(read_identifier(mac).oid)
    if digest is None or mac_digest is None:
        raise unsupported_algorithm("Witnesses are made with SHA-256, SHA-384 or SHA-512 and HMAC with one of them.")
    return Witness(digest, mac_digest, _octets(value))


def _revocation(part: int, element: der.Tlv) -> Revocation:
    issuer, serial, reason, *rest = der.inside(element, der.SEQUENCE, ber=True)
    since: datetime | None = None
    passphrase: str | None = None
    number = der.read_integer(der.expect(reason, der.ENUMERATED))
    if number not in _REASONS:
        raise malformed(f"No requester revokes for the reason {number}.", part)
    if rest and rest[0].tag == der.GENERALIZED_TIME:
        since = der.read_time(rest.pop(0))
    if rest and rest[0].tag == der.OCTET_STRING:
        passphrase = _octets(rest.pop(0)).decode("utf-8", "replace")
    if rest and rest[0].tag == der.UTF8_STRING:
        der.read_text(rest.pop(0))  # a comment
    if rest:
        raise der.MalformedDer("not a RevokeRequest")
    name = der.expect(issuer, der.SEQUENCE).raw
    return Revocation(
        part, name, der.read_integer(der.expect(serial, der.INTEGER)), _REASONS[number], since, passphrase
    )


def _crl_query(part: int, element: der.Tlv) -> CrlQuery:
    """Read a GetCRL (section 6.10). There is one list, with all reasons: which distribution point does not matter."""
    issuer, *rest = der.inside(element, der.SEQUENCE, ber=True)
    at: datetime | None = None
    if rest and rest[0].tag & _CONTEXT_SPECIFIC:
        rest.pop(0)  # cRLName, a GeneralName
    if rest and rest[0].tag == der.GENERALIZED_TIME:
        at = der.read_time(rest.pop(0))
    if rest and rest[0].tag == der.BIT_STRING:
        rest.pop(0)  # reasons
    if rest:
        raise der.MalformedDer("not a GetCRL")
    return CrlQuery(part, der.expect(issuer, der.SEQUENCE).raw, at)


def _integer(element: der.Tlv) -> int:
    if len(element.content) > _LONGEST_INTEGER:
        raise der.MalformedDer("an integer of absurd length")
    return der.read_integer(der.expect(element, der.INTEGER))


def _random(element: der.Tlv) -> bytes:
    return _octets(element, _LONGEST_RANDOM)


def _text(element: der.Tlv) -> str:
    text = der.read_text(der.expect(element, der.UTF8_STRING))
    if len(text) > _LONGEST_TEXT:
        raise der.MalformedDer("a text of absurd length")
    return text


_SINGLE: dict[str, tuple[str, Callable[[der.Tlv], object]]] = {
    TRANSACTION: ("transaction", _integer),
    SENDER_NONCE: ("sender_nonce", _octets),
    RECIPIENT_NONCE: ("recipient_nonce", _octets),
    DATA_RETURN: ("data_return", _octets),
    IDENTIFICATION: ("identification", _text),
    IDENTITY_PROOF_V2: ("proof", read_witness),
    POP_LINK_RANDOM: ("link_random", _random),
}
_ECHOED = frozenset({TRANSACTION, SENDER_NONCE, DATA_RETURN})
_KNOWN = frozenset({*_SINGLE, QUERY_PENDING, REVOKE_REQUEST, GET_CRL})
