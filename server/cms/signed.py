"""SignedData with one signer and signed attributes (RFC 5652 section 5): read and verify.

Strict where security hangs on it: exactly one SignerInfo, signed attributes always, each attribute type once, content
type and message digest both present. Tolerant in the encoding: BER, attribute sets in any order.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.exceptions import UnsupportedAlgorithm as NotLoadable
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ca import der
from ca.keys import load_key
from server.cms.algorithms import (
    EC_PUBLIC_KEY,
    PKCS1_PADDING,
    RSA_ENCRYPTION,
    RSASSA_PSS,
    AlgorithmIdentifier,
    Digest,
    MalformedCms,
    UnsupportedAlgorithm,
    digest_of,
    pss_of,
    read_identifier,
    signature_digest,
)
from server.cms.certificates import (
    SIGNED_DATA,
    BagCertificate,
    open_content_info,
    read_bag_certificate,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CONTENT_TYPE = "1.2.840.113549.1.9.3"
MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
SIGNING_TIME = "1.2.840.113549.1.9.5"
NO_SIGNATURE = "1.3.6.1.5.5.7.6.2"
"""id-alg-noSignature."""

_BAG_LIMIT = 16
_RSA_BITS = range(1024, 8193)
_RSA_EXPONENT_BITS = 33
_CERTIFICATES, _CRLS, _SIGNED_ATTRIBUTES, _KEY_IDENTIFIER = 0xA0, 0xA1, 0xA0, 0x80

_SET = bytes((der.SET,))

SignerKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class BadSignature(ValueError):
    """The signature, the message digest or the content type does not hold. The text is safe to show."""


class SignerInfo(NamedTuple):
    """The one signer of a message.

    Attributes:
        issuer, serial: the encoded name and INTEGER that identify the certificate; None when ``key_identifier`` does.
        key_identifier: the subject key identifier; None when ``issuer`` and ``serial`` identify.
        digest_algorithm, signature_algorithm: as named.
        attributes: the values of each signed attribute type.
        attribute_set: the signed attributes as sent.
        is_sorted: whether they are in the order of DER.
        signature: its octets.
    """

    issuer: bytes | None
    serial: bytes | None
    key_identifier: bytes | None
    digest_algorithm: AlgorithmIdentifier
    signature_algorithm: AlgorithmIdentifier
    attributes: Mapping[str, Sequence[der.Tlv]]
    attribute_set: der.Tlv
    is_sorted: bool
    signature: bytes

    def attribute(self, oid: str) -> der.Tlv | None:
        """Return the one value of an attribute, None when it is absent. Raises MalformedCms for several or none."""
        values = self.attributes.get(oid)
        if values is None:
            return None
        if len(values) != 1:
            raise MalformedCms("a signed attribute that needs one value has another number")
        return values[0]


class SignedMessage(NamedTuple):
    """A parsed SignedData; nothing is verified yet.

    Attributes:
        content_type: of the content, in dotted form.
        content: the content's octets, None when it is absent.
        certificates: what the bag holds, in order; other kinds of certificate are left out.
        signer: its one signer.
    """

    content_type: str
    content: bytes | None
    certificates: tuple[BagCertificate, ...]
    signer: SignerInfo

    def signer_certificate(self) -> BagCertificate | None:
        """Return the certificate that the signer names; the only one in the bag when none fits the name.

        Some clients re-encode issuer names, so that no octets match. The signature decides in any case.
        """
        for certificate in self.certificates:
            if self.signer.key_identifier is not None:
                if certificate.key_identifier == self.signer.key_identifier:
                    return certificate
            elif (certificate.issuer, certificate.serial) == (self.signer.issuer, self.signer.serial):
                return certificate
        return self.certificates[0] if len(self.certificates) == 1 else None


def read_signed(data: bytes) -> SignedMessage:
    """Read a ContentInfo with SignedData of exactly one signer. Raises MalformedCms and nothing else."""
    try:
        return _signed(open_content_info(data, SIGNED_DATA))
    except der.MalformedDer as error:
        raise MalformedCms(str(error)) from error


def _signed(element: der.Tlv) -> SignedMessage:
    fields = der.inside(element, der.SEQUENCE, ber=True)
    if len(fields) < 4:
        raise MalformedCms("not a SignedData")
    _version, digests, content, *bags, signers = fields
    der.expect(digests, der.SET)
    certificates: tuple[BagCertificate, ...] = ()
    for bag in bags:
        if bag.tag == _CERTIFICATES:
            certificates = _bag(bag)
        elif bag.tag != _CRLS:
            raise MalformedCms("not a SignedData")
    infos = der.inside(signers, der.SET, ber=True)
    if len(infos) != 1:
        raise MalformedCms("a message needs exactly one signer")
    content_type, octets = _encapsulated(content)
    return SignedMessage(content_type, octets, certificates, _signer_info(infos[0]))


def _bag(element: der.Tlv) -> tuple[BagCertificate, ...]:
    inside = der.children(element, ber=True)
    if len(inside) > _BAG_LIMIT:
        raise MalformedCms("a message with too many certificates")
    return tuple(read_bag_certificate(each) for each in inside if each.tag == der.SEQUENCE)


def _encapsulated(element: der.Tlv) -> tuple[str, bytes | None]:
    parts = der.inside(element, der.SEQUENCE, ber=True)
    if not 1 <= len(parts) <= 2:
        raise MalformedCms("not an EncapsulatedContentInfo")
    content_type = der.dotted(parts[0])
    if len(parts) == 1:
        return content_type, None
    content = der.read(der.expect(parts[1], 0xA0).content, ber=True)
    return content_type, der.octets(der.expect(content, der.OCTET_STRING), ber=True)


def _signer_info(element: der.Tlv) -> SignerInfo:
    fields = der.inside(element, der.SEQUENCE, ber=True)
    if len(fields) not in {6, 7} or fields[3].tag != _SIGNED_ATTRIBUTES:
        raise MalformedCms("a signer without signed attributes")
    _version, sid, digest, attributes, algorithm, signature = fields[:6]
    issuer, serial, key_identifier = _signer_identifier(sid)
    each = der.children(attributes, ber=True)
    encodings = [attribute.raw for attribute in each]
    return SignerInfo(
        issuer=issuer,
        serial=serial,
        key_identifier=key_identifier,
        digest_algorithm=read_identifier(digest),
        signature_algorithm=read_identifier(algorithm),
        attributes=_attributes(each),
        attribute_set=attributes,
        is_sorted=encodings == sorted(encodings),
        signature=der.octets(der.expect(signature, der.OCTET_STRING), ber=True),
    )


def _signer_identifier(element: der.Tlv) -> tuple[bytes | None, bytes | None, bytes | None]:
    if element.tag & ~0x20 == _KEY_IDENTIFIER:
        return None, None, der.octets(element, ber=True)
    parts = der.inside(element, der.SEQUENCE, ber=True)
    if len(parts) != 2:
        raise MalformedCms("not an IssuerAndSerialNumber")
    return parts[0].raw, der.expect(parts[1], der.INTEGER).raw, None


def _attributes(encoded: Sequence[der.Tlv]) -> dict[str, list[der.Tlv]]:
    found: dict[str, list[der.Tlv]] = {}
    for attribute in encoded:
        parts = der.inside(attribute, der.SEQUENCE, ber=True)
        if len(parts) != 2:
            raise MalformedCms("not an attribute")
        oid = der.dotted(parts[0])
        if oid in found:
            raise MalformedCms("a signed attribute is there twice")
        found[oid] = der.inside(parts[1], der.SET, ber=True)
    return found


def _encodings(attributes: der.Tlv) -> Iterator[bytes]:
    """Yield the octets that a signature may be over: as sent, then in DER.

    RFC 5652 section 5.4 wants DER, but some clients sign the unsorted set that they send, and others sign the sorted
    set and send it unsorted.
    """
    yield _SET + attributes.raw[1:]
    yield der.set_of(*(der.definite(each) for each in der.children(attributes, ber=True)))


def load_signer_key(spki: bytes) -> SignerKey:
    """Load the key of a signer. Raises UnsupportedAlgorithm: not RSA or EC, or of a size nobody should verify with."""
    try:
        key = load_key(spki)
    except (ValueError, NotLoadable) as error:
        raise UnsupportedAlgorithm("the signer's key is not supported") from error
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size not in _RSA_BITS or key.public_numbers().e.bit_length() > _RSA_EXPONENT_BITS:
            raise UnsupportedAlgorithm("the signer's RSA key has a size that is not supported")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key
    raise UnsupportedAlgorithm("the signer's key is not supported")


def message_digest_algorithm(message: SignedMessage) -> Digest:
    """Return the digest that the message is signed with. Raises UnsupportedAlgorithm."""
    return digest_of(message.signer.digest_algorithm)


def verify(message: SignedMessage, key: SignerKey) -> None:
    """Verify content type, message digest and signature (RFC 5652 sections 5.4 to 5.6).

    Raises:
        BadSignature: one of them is missing or wrong.
        UnsupportedAlgorithm: an algorithm is not known here.
    """
    _verify_signature(message.signer, verify_content(message), key)


def verify_content(message: SignedMessage) -> Digest:
    """Verify that the signed attributes are those of the content; nothing is said of who signed. Returns the digest.

    Raises what `verify` raises.
    """
    signer = message.signer
    digest = digest_of(signer.digest_algorithm)
    try:
        content_type, message_digest = signer.attribute(CONTENT_TYPE), signer.attribute(MESSAGE_DIGEST)
        if content_type is None or message_digest is None:
            raise BadSignature("the content type or the message digest is missing in the signed attributes")
        if der.dotted(content_type) != message.content_type:
            raise BadSignature("the content type in the signed attributes is another one")
        claimed = der.expect(message_digest, der.OCTET_STRING).content
    except (der.MalformedDer, MalformedCms) as error:
        raise BadSignature("content type or message digest can't be read") from error
    if not hmac.compare_digest(claimed, digest.digest(message.content or b"")):
        raise BadSignature("the message digest does not match the content")
    return digest


def verify_unsigned(message: SignedMessage) -> None:
    """Verify a message that nobody signed: in place of a signature, a digest (RFC 5272 appendix C.1).

    Raises what `verify` raises.
    """
    digest = verify_content(message)
    try:
        encodings = [digest.digest(each) for each in _encodings(message.signer.attribute_set)]
    except der.MalformedDer as error:
        raise BadSignature("the signed attributes can't be read") from error
    if not any(hmac.compare_digest(message.signer.signature, each) for each in encodings):
        raise BadSignature("the digest in place of a signature does not match")


def _verify_signature(signer: SignerInfo, digest: Digest, key: SignerKey) -> None:
    named = signature_digest(signer.signature_algorithm)
    if named not in {None, digest}:
        raise BadSignature("digest and signature algorithm contradict each other")
    try:
        for signed in _encodings(signer.attribute_set):
            if _holds(signer, digest, key, signed):
                return
    except der.MalformedDer as error:
        raise BadSignature("the signed attributes or the signature's parameters can't be read") from error
    raise BadSignature("the signature does not verify")


def _holds(signer: SignerInfo, digest: Digest, key: SignerKey, signed: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            scheme, hashed = _rsa_scheme(signer.signature_algorithm, digest)
            key.verify(signer.signature, signed, scheme, hashed.hash)
        else:
            _expect_ecdsa(signer.signature_algorithm, digest)
            key.verify(signer.signature, signed, ec.ECDSA(digest.hash))
    except InvalidSignature:
        return False
    return True


def _rsa_scheme(algorithm: AlgorithmIdentifier, digest: Digest) -> tuple[padding.AsymmetricPadding, Digest]:
    if algorithm.oid == RSASSA_PSS:
        hashed, scheme = pss_of(algorithm)
        if hashed is not digest:
            raise BadSignature("digest and signature algorithm contradict each other")
        return scheme, hashed
    if algorithm.oid not in {RSA_ENCRYPTION, digest.rsa_oid}:
        raise UnsupportedAlgorithm(f"the signature algorithm {algorithm.oid} does not fit an RSA key")
    return PKCS1_PADDING, digest


def _expect_ecdsa(algorithm: AlgorithmIdentifier, digest: Digest) -> None:
    if algorithm.oid not in {EC_PUBLIC_KEY, digest.ecdsa_oid}:
        raise UnsupportedAlgorithm(f"the signature algorithm {algorithm.oid} does not fit an EC key")
