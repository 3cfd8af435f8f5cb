"""PKCS#10 certification requests (RFC 2986): parsed once, completely, with proof of possession."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from ca import der, keys
from ca.keys import ENCAPSULATING, BadSignature, KeyShape, SubjectKey, UnusableKey, UnusableSignature, key_shape
from ca.name_codec import read_general_names, read_name
from ca.names import MalformedName
from ca.statement import STATEMENT_OF_POSSESSION, read_statement

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ca.names import DistinguishedName, GeneralName
    from ca.statement import Statement

__all__ = [
    "BadProof",
    "Csr",
    "KeyShape",
    "MalformedCsr",
    "Proof",
    "RequestedAttribute",
    "RequestedExtension",
    "SubjectKey",
    "UnsupportedKey",
    "UnsupportedSignature",
    "key_shape",
    "parse_csr",
    "parse_keyless",
    "parse_template",
    "with_generated_key",
]

SIZE_LIMIT = 64 * 1024
SUBJECT_ALT_NAME = "2.5.29.17"
CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - an object identifier
CHANGE_SUBJECT_NAME = "1.3.6.1.5.5.7.7.36"  # RFC 6402 section 2.8
EXTENSION_REQUESTS = frozenset(
    {
        "1.2.840.113549.1.9.14",  # RFC 2985 section 5.4.2
        "2.16.840.1.113733.1.9.8",  # VeriSign's, which old SCEP clients send
    }
)
_ATTRIBUTES = der.context(0)
_TRUE, _FALSE = (der.BOOLEAN, b"\xff"), (der.BOOLEAN, b"\x00")
_CHALLENGE_PASSWORD_OID = der.oid(CHALLENGE_PASSWORD)
_EXTENSION_REQUEST_OID = der.oid("1.2.840.113549.1.9.14")


class MalformedCsr(ValueError):
    """Not a certification request that can be judged. The text is safe to show to the requester."""


class UnsupportedKey(MalformedCsr):
    """The public key is of a kind or size that nothing here can work with."""


class UnsupportedSignature(MalformedCsr):
    """The signature algorithm is too weak, or unknown here."""


class BadProof(MalformedCsr):
    """The request's own signature does not verify: no proof of possession."""


class Proof(StrEnum):
    """How possession of the private key was proven; on record with each request."""

    SIGNATURE = "signature"
    """The request is signed with the key."""
    STATEMENT = "statement"
    """The key can't sign; the request is signed with the key of a certificate that it names (RFC 9883)."""
    SERVER_GENERATED = "server-generated"
    """The server made the key; the request's own key and signature were not looked at (RFC 7030 section 4.4.1)."""


@dataclass(frozen=True, slots=True)
class RequestedExtension:
    """An extension as requested: type in dotted form, criticality, DER of the value."""

    oid: str
    critical: bool
    value: bytes


@dataclass(frozen=True, slots=True)
class RequestedAttribute:
    """A PKCS#10 attribute other than extensionRequest and challengePassword: type in dotted form, DER of its values."""

    oid: str
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Csr:
    """A parsed request whose proof of possession holds, once its `statement` is believed where it has one.

    Attributes:
        der: the request as received.
        subject: the requested subject.
        spki: DER of the SubjectPublicKeyInfo.
        key: the loaded public key.
        key_shape: kind and size of the key.
        names: the requested subjectAltName, in order, repetitions kept.
        extensions: every requested extension, subjectAltName included, in order.
        attributes: every other attribute, in order.
        challenge_password: the challengePassword attribute, None when absent.
        proof: how possession was proven.
        statement: what is still to be proven with another certificate, None when nothing is.
        renamed: whether subject and names are others than those in the octets, since the request itself asks for it.
    """

    der: bytes
    subject: DistinguishedName
    spki: bytes
    key: SubjectKey
    key_shape: KeyShape
    names: tuple[GeneralName, ...]
    extensions: tuple[RequestedExtension, ...]
    attributes: tuple[RequestedAttribute, ...]
    challenge_password: str | None = field(repr=False)
    proof: Proof = Proof.SIGNATURE
    renamed: bool = False
    statement: Statement | None = None


class _Attributes(NamedTuple):
    extensions: tuple[RequestedExtension, ...]
    names: tuple[GeneralName, ...]
    challenge_password: str | None
    others: tuple[RequestedAttribute, ...]


class _Parts(NamedTuple):
    """The elements of a request as they stand in its octets.

    Attributes:
        before: those of the CertificationRequestInfo that come before the attributes.
        attributes: its attributes.
        algorithm, signature: those of the signature.
    """

    before: Sequence[der.Tlv]
    attributes: Sequence[der.Tlv]
    algorithm: der.Tlv
    signature: der.Tlv

    def without(self, types: tuple[bytes, ...]) -> bytes:
        """Return the request without the attributes of these encoded types."""
        kept = (each.raw for each in self.attributes if not each.content.startswith(types))
        info = der.sequence(*(each.raw for each in self.before), der.tlv(_ATTRIBUTES, *kept))
        return der.sequence(info, self.algorithm.raw, self.signature.raw)


def parse_csr(data: bytes, *, allow_sha1: bool = False, allow_md5: bool = False) -> Csr:
    """Return the certification request of these octets, its signature verified with its own key (RFC 2986).

    A key that can't sign comes with a statement instead (RFC 9883), which is not proven here: `Csr.statement`.

    Taken although it is not DER: attributes in any order (strongSwan does not sort them), no attributes at all, and
    criticality FALSE written out. The values of extensions other than subjectAltName are not looked into.

    Args:
        data: the DER, without armour, at most 64 KiB.
        allow_sha1: take signatures with SHA-1 too, for devices that can't do better.
        allow_md5: take RSA signatures with MD5 too, for devices that know nothing else.

    Raises:
        UnsupportedKey: RSA below 1024 or above 8192 bits, a curve or a kind of key that is not known here.
        UnsupportedSignature: a signature algorithm that is too weak or not known here.
        BadProof: the signature is not by the key in the request.
        MalformedCsr: everything else.
    """
    return _guarded(data, verify=True, allow_sha1=allow_sha1, allow_md5=allow_md5)[0]


def parse_with_secret(data: bytes, *, allow_sha1: bool = False, allow_md5: bool = False) -> tuple[Csr, Csr]:
    """Return what `parse_csr` returns, and the same `without_challenge`; the octets are read once for both."""
    csr, parts = _guarded(data, verify=True, allow_sha1=allow_sha1, allow_md5=allow_md5)
    if csr.challenge_password is None:
        return csr, csr
    bare = parts.without((_CHALLENGE_PASSWORD_OID,))
    return csr, replace(csr, der=bare, challenge_password=None)


def read_recorded_csr(data: bytes) -> Csr:
    """Return a certification request of our own record, where its proof was taken before it was written.

    Its signature is not verified again: `without_challenge` may have taken out something that it covers. Never for
    octets that came from outside. Raises what `parse_csr` raises but BadProof and UnsupportedSignature.
    """
    return _guarded(data, verify=False)[0]


def parse_keyless(data: bytes, spki: bytes) -> Csr:
    """Return a certification request with a key that the server made in place of its own (RFC 7030 section 4.4.1).

    Its own key may be of any kind, and its signature anything. Raises what `parse_csr` raises but BadProof and
    UnsupportedSignature.

    Args:
        data: the DER, without armour, at most 64 KiB.
        spki: DER of the SubjectPublicKeyInfo.
    """
    if len(data) > SIZE_LIMIT:
        raise MalformedCsr("the certification request is longer than 64 KiB")
    try:
        octets = _with_spki(data, spki)
    except der.MalformedDer as error:
        raise MalformedCsr(f"not a certification request that can be read: {error}") from error
    return replace(_guarded(octets, verify=False)[0], proof=Proof.SERVER_GENERATED)


def with_generated_key(csr: Csr, spki: bytes) -> Csr:
    """Return what `parse_keyless` returned, with another key that the server made."""
    found = parse_keyless(csr.der, spki)
    return replace(csr, der=found.der, spki=found.spki, key=found.key, key_shape=found.key_shape)


def _with_spki(data: bytes, spki: bytes) -> bytes:
    info, *proof = _parts(der.read(data), 3, 3)
    version, subject, _, *rest = _parts(info, 3, 4)
    new = der.sequence(version.raw, subject.raw, spki, *(part.raw for part in rest))
    return der.sequence(new, *(part.raw for part in proof))


@dataclass(frozen=True, slots=True)
class Template:
    """A request that is no PKCS#10, such as CRMF's (RFC 4211).

    Attributes:
        subject: DER of the name.
        spki: DER of the SubjectPublicKeyInfo.
        extensions: DER of the requested Extensions, None without.
        attributes: DER of other attributes.
        algorithm, signature: the proof of possession: an AlgorithmIdentifier and a BIT STRING, DER.
        signed: the octets that it is over.
    """

    subject: bytes
    spki: bytes
    extensions: bytes | None
    attributes: tuple[bytes, ...]
    algorithm: bytes
    signature: bytes
    signed: bytes


def parse_template(template: Template) -> Csr:
    """Return the request as one of PKCS#10, its proof of possession verified. Raises what `parse_csr` raises.

    It goes on record in the form of PKCS#10, with a signature that is over other octets than those on record.
    """
    requested: tuple[bytes, ...] = ()
    if template.extensions is not None:
        requested = (der.sequence(_EXTENSION_REQUEST_OID, der.tlv(der.SET, template.extensions)),)
    attributes = der.tlv(_ATTRIBUTES, *requested, *template.attributes)
    info = der.sequence(der.integer(0), template.subject, template.spki, attributes)
    octets = der.sequence(info, template.algorithm, template.signature)
    csr, _ = _guarded(octets, verify=False)
    try:
        _, signature = der.read_bits(der.read(template.signature))
        keys.verify(csr.key, der.read(template.algorithm), signature, template.signed)
    except der.MalformedDer as error:
        raise MalformedCsr(f"not a proof of possession that can be read: {error}") from error
    except UnusableSignature as error:
        raise UnsupportedSignature(str(error)) from error
    except BadSignature as error:
        raise BadProof("the request is not signed with its own key") from error
    return csr


def without_challenge(csr: Csr, also: Collection[str] = ()) -> Csr:
    """Return the request without its challenge password, which is a secret, for policies and the record.

    The signature stays as it was and fits no longer: only `read_recorded_csr` reads the result.

    Args:
        csr: the request.
        also: other attributes to take out, by their dotted types.
    """
    others = tuple(attribute for attribute in csr.attributes if attribute.oid not in also)
    if csr.challenge_password is None and len(others) == len(csr.attributes):
        return csr
    bare = _without(csr.der, (_CHALLENGE_PASSWORD_OID, *map(der.oid, also)))
    return replace(csr, der=bare, attributes=others, challenge_password=None)


def without_attributes(csr: Csr, types: Collection[str]) -> Csr:
    """Return the request without these attributes, dotted; as `without_challenge`, but that stays."""
    others = tuple(attribute for attribute in csr.attributes if attribute.oid not in types)
    if len(others) == len(csr.attributes):
        return csr
    return replace(csr, der=_without(csr.der, tuple(map(der.oid, types))), attributes=others)


def _without(octets: bytes, types: tuple[bytes, ...]) -> bytes:
    info, algorithm, signature = der.children(der.read(octets))
    *before, attributes = der.children(info)
    return _Parts(before, der.children(attributes), algorithm, signature).without(types)


def _guarded(data: bytes, *, verify: bool, allow_sha1: bool = False, allow_md5: bool = False) -> tuple[Csr, _Parts]:
    if len(data) > SIZE_LIMIT:
        raise MalformedCsr("the certification request is longer than 64 KiB")
    try:
        return _parse(data, verify=verify, allow_sha1=allow_sha1, allow_md5=allow_md5)
    except (der.MalformedDer, MalformedName) as error:
        raise MalformedCsr(f"not a certification request that can be read: {error}") from error
    except UnusableKey as error:
        raise UnsupportedKey(str(error)) from error
    except UnusableSignature as error:
        raise UnsupportedSignature(str(error)) from error
    except BadSignature as error:
        raise BadProof("the certification request is not signed with its own key") from error


def _parse(data: bytes, *, verify: bool, allow_sha1: bool, allow_md5: bool) -> tuple[Csr, _Parts]:
    info, algorithm, signature = _parts(der.read(data), 3, 3)
    version, subject, spki, *rest = _parts(info, 3, 4)
    if der.expect(version, der.INTEGER).content != b"\x00":
        raise MalformedCsr("the version of the certification request is not 1 (RFC 2986 section 4.1)")
    key = keys.read_key(der.expect(spki, der.SEQUENCE))
    unused, octets = der.read_bits(der.expect(signature, der.BIT_STRING))
    if unused:
        raise MalformedCsr("the signature is not a whole number of octets")
    encoded = der.inside(rest[0], _ATTRIBUTES) if rest else []
    parts = _Parts([version, subject, spki], encoded, algorithm, signature)
    attributes = _read_attributes(encoded)
    name = read_name(subject)
    if key.shape.kind in ENCAPSULATING:
        proof = info.raw, algorithm.raw, octets
        return _with_statement(data, name, key, attributes, proof if verify else None), parts
    # The dearest step comes last: nothing is verified that would be refused anyway.
    if verify:
        keys.verify(key.public, algorithm, octets, info.raw, allow_sha1=allow_sha1, allow_md5=allow_md5)
    csr = Csr(
        der=data,
        subject=name,
        spki=key.spki,
        key=key.public,
        key_shape=key.shape,
        names=attributes.names,
        extensions=attributes.extensions,
        attributes=attributes.others,
        challenge_password=attributes.challenge_password,
    )
    return csr, parts


def _with_statement(
    data: bytes,
    name: DistinguishedName,
    key: keys.PublicKey,
    attributes: _Attributes,
    proof: tuple[bytes, bytes, bytes] | None,
) -> Csr:
    """Return a request for a key that can't sign; its statement must be there and is to be proven, unless recorded."""
    said = [attribute for attribute in attributes.others if attribute.oid == STATEMENT_OF_POSSESSION]
    statement = None
    if proof is not None:
        if len(said) != 1 or len(said[0].values) != 1:
            raise BadProof(f"an {key.shape} key can't sign: a statement of possession must be there (RFC 9883)")
        statement = read_statement(said[0].values[0], *proof)
    return Csr(
        der=data,
        subject=name,
        spki=key.spki,
        key=key.public,
        key_shape=key.shape,
        names=attributes.names,
        extensions=attributes.extensions,
        attributes=tuple(attribute for attribute in attributes.others if attribute not in said),
        challenge_password=attributes.challenge_password,
        proof=Proof.STATEMENT,
        statement=statement,
    )


def _parts(element: der.Tlv, least: int, most: int) -> list[der.Tlv]:
    parts = der.inside(element, der.SEQUENCE)
    if not least <= len(parts) <= most:
        raise der.MalformedDer("a sequence has too few or too many elements")
    return parts


def _read_attributes(attributes: list[der.Tlv]) -> _Attributes:
    extensions: tuple[RequestedExtension, ...] | None = None
    challenge: str | None = None
    others = []
    for attribute in attributes:
        (kind, encoded), (tag, values) = _contents(attribute.tag, attribute.content, 2, 2)
        if (kind, tag) != (der.OID, der.SET):
            raise der.MalformedDer("an attribute is not an object identifier and a set of values")
        oid = der.read_oid(encoded)
        if oid in EXTENSION_REQUESTS:
            if extensions is not None:
                raise MalformedCsr("extensions are requested twice")
            extensions = _read_extensions(*_single(values))
        elif oid == CHALLENGE_PASSWORD:
            if challenge is not None:
                raise MalformedCsr("there are two challenge passwords")
            challenge = der.text(*_single(values))
        else:
            others.append(RequestedAttribute(oid, tuple(value.raw for value in der.elements(values))))
    extensions = extensions or ()
    if len({extension.oid for extension in extensions}) != len(extensions):
        raise MalformedCsr("an extension is requested twice (RFC 5280 section 4.2)")
    names = next((read_general_names(e.value) for e in extensions if e.oid == SUBJECT_ALT_NAME), ())
    return _Attributes(extensions, names, challenge, tuple(others))


def _single(values: bytes) -> tuple[int, bytes]:
    found = der.contents(values)
    if len(found) != 1:
        raise MalformedCsr("an attribute of one value has none or several (RFC 2985 section 5.4)")
    return found[0]


def _read_extensions(tag: int, content: bytes) -> tuple[RequestedExtension, ...]:
    if tag != der.SEQUENCE:
        raise der.unexpected(tag, der.SEQUENCE)
    return tuple([_read_extension(*each) for each in der.contents(content)])


def _read_extension(tag: int, content: bytes) -> RequestedExtension:
    (kind, oid), *flag, (form, value) = _contents(tag, content, 2, 3)
    if (kind, form) != (der.OID, der.OCTET_STRING):
        raise der.MalformedDer("an extension is not an object identifier and octets")
    critical = bool(flag) and flag[0] == _TRUE
    if flag and not critical and flag[0] != _FALSE:
        raise der.MalformedDer("the criticality of an extension is neither true nor false")
    return RequestedExtension(der.read_oid(oid), critical, value)


def _contents(tag: int, content: bytes, least: int, most: int) -> list[tuple[int, bytes]]:
    """Return what is in a SEQUENCE of so many elements."""
    if tag != der.SEQUENCE:
        raise der.unexpected(tag, der.SEQUENCE)
    found = der.contents(content)
    if not least <= len(found) <= most:
        raise der.MalformedDer("a sequence has too few or too many elements")
    return found
