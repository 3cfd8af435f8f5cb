"""A SCEP client made for tests: it says what it is told to, also what no client should."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from cryptography.x509.oid import AttributeOID, NameOID

from ca import der
from server.cms.algorithms import PKCS1, RSA_ENCRYPTION, Cipher, Digest, KeyTransport
from server.cms.certificates import BagCertificate, content_info, read_bag_certificate
from server.cms.enveloped import decipher, read_envelope, seal
from server.cms.signed import SignedMessage, load_signer_key, read_signed, verify
from tests.server.scep.password import open_with_password

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DATA, SIGNED_DATA = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2"
CONTENT_TYPE, MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
SCEP = "2.16.840.1.113733.1.9."
FAIL_INFO_TEXT = "1.3.6.1.5.5.7.24.1"
NONCE = bytes(range(16))


_KEYS: dict[tuple[str, int], rsa.RSAPrivateKey] = {}


def rsa_key(name: str = "device", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a key, the same one for the same name in one run."""
    if (name, bits) not in _KEYS:
        _KEYS[name, bits] = rsa.generate_private_key(65537, bits)
    return _KEYS[name, bits]


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def self_signed(key: Any, name: str = "device-1.test") -> bytes:
    builder = x509.CertificateBuilder(common_name(name), common_name(name), key.public_key(), 1)
    builder = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def csr(key: Any, name: str = "device-1.test", challenge: str | None = "sesame", *names: str) -> bytes:
    builder = x509.CertificateSigningRequestBuilder(common_name(name))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(map(x509.DNSName, names)), critical=False)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def bag(certificate: bytes) -> BagCertificate:
    return read_bag_certificate(der.read(certificate))


def envelope(
    content: bytes, recipient: bytes, cipher: Cipher = Cipher.AES128, transport: KeyTransport = PKCS1
) -> bytes:
    key = load_der_public_key(bag(recipient).spki)
    assert isinstance(key, rsa.RSAPublicKey)
    return seal(content, bag(recipient), key, cipher=cipher, transport=transport, random=lambda n: bytes(range(n)))


@dataclass
class Message:
    """A pkiMessage to be; every field may be replaced by nonsense."""

    content: bytes | None
    key: Any
    certificate: bytes
    kind: bytes = field(default_factory=lambda: der.printable("19"))
    transaction: bytes = field(default_factory=lambda: der.printable("transaction-1"))
    nonce: bytes = field(default_factory=lambda: der.octet_string(NONCE))
    digest: Digest = Digest.SHA256
    digest_oid: str | None = None
    algorithm: bytes | None = None
    pss: bool = False
    extra_certificates: tuple[bytes, ...] = ()
    omitted: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()
    sort: bool = True
    sign_sorted: bool = False
    signers: int = 1
    content_type: str = DATA
    key_identifier: bytes | None = None
    spoil: bool = False
    more: tuple[bytes, ...] = ()

    def attributes(self) -> list[bytes]:
        values = {
            SCEP + "2": self.kind,
            SCEP + "7": self.transaction,
            SCEP + "5": self.nonce,
            CONTENT_TYPE: der.oid(DATA),
            MESSAGE_DIGEST: der.octet_string(self.digest.digest(self.content or b"")),
        }
        return [
            der.sequence(der.oid(oid), der.set_of(value))
            for oid, value in values.items()
            if oid not in self.omitted
            for _ in range(2 if oid in self.repeated else 1)
        ] + list(self.more)

    def signature(self, octets: bytes) -> bytes:
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return self.key.sign(octets, ec.ECDSA(self.digest.hash))
        scheme = padding.PSS(padding.MGF1(self.digest.hash), 32) if self.pss else padding.PKCS1v15()
        signature: bytes = self.key.sign(octets, scheme, self.digest.hash)
        return signature

    def identifier(self) -> bytes:
        if self.algorithm is not None:
            return self.algorithm
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return der.sequence(der.oid(self.digest.ecdsa_oid))
        return der.sequence(der.oid(RSA_ENCRYPTION), der.null())

    def encode(self) -> bytes:
        attributes = der.set_of(*self.attributes(), sort=self.sort)
        signed = der.set_of(*self.attributes()) if self.sign_sorted else attributes
        signature = self.signature(signed)
        if self.spoil:
            signature = signature[:-1] + bytes((signature[-1] ^ 1,))
        digest = der.sequence(der.oid(self.digest_oid or self.digest.oid), der.null())
        signer = bag(self.certificate)
        sid = der.sequence(signer.issuer, signer.serial)
        if self.key_identifier is not None:
            sid = der.tlv(0x80, self.key_identifier)
        info = der.sequence(
            der.integer(1), sid, digest, b"\xa0" + attributes[1:], self.identifier(), der.octet_string(signature)
        )
        content = b"" if self.content is None else der.tlv(0xA0, der.octet_string(self.content))
        return content_info(
            SIGNED_DATA,
            der.sequence(
                der.integer(1),
                der.set_of(digest),
                der.sequence(der.oid(self.content_type), content),
                der.tlv(0xA0, self.certificate, *self.extra_certificates),
                der.set_of(*[info] * self.signers),
            ),
        )


@dataclass(frozen=True)
class Reply:
    """A CertRep as the client understands it, after verifying it."""

    status: str
    fail_info: str | None
    text: str | None
    recipient_nonce: bytes | None
    transaction: bytes
    certificates: tuple[bytes, ...]
    signed: SignedMessage
    crls: tuple[bytes, ...] = ()


def read_reply(body: bytes, key: Any, password: str = "") -> Reply:
    """Verify a reply with the certificate in it and decrypt what is inside with the device's key, or a password."""
    signed = read_signed(body)
    signer = signed.signer_certificate()
    assert signer is not None
    verify(signed, load_signer_key(signer.spki))

    def content(oid: str) -> bytes | None:
        element = signed.signer.attribute(oid)
        return None if element is None else element.content

    assert content(SCEP + "2") == b"3"
    transaction = signed.signer.attribute(SCEP + "7")
    assert transaction is not None
    fail_info, text = content(SCEP + "4"), content(FAIL_INFO_TEXT)
    certificates: tuple[bytes, ...] = ()
    crls: tuple[bytes, ...] = ()
    if signed.content:
        opened = open_with_password(signed.content, password) if password else _opened(signed.content, key)
        certificates, crls = degenerate_certificates(opened), degenerate_certificates(opened, 0xA1)
    return Reply(
        status=(content(SCEP + "3") or b"").decode(),
        fail_info=None if fail_info is None else fail_info.decode(),
        text=None if text is None else text.decode(),
        recipient_nonce=content(SCEP + "6"),
        transaction=transaction.raw,
        certificates=certificates,
        signed=signed,
        crls=crls,
    )


def _opened(content: bytes, key: rsa.RSAPrivateKey) -> bytes:
    inside = read_envelope(content)
    (recipient,) = inside.recipients
    return decipher(inside, key.decrypt(recipient.encrypted_key, recipient.transport().padding()), bytes)


def degenerate_certificates(data: bytes, bag: int = 0xA0) -> tuple[bytes, ...]:
    """Return the certificates (or CRLs, with 0xA1) of a certs-only message, in the order of its octets."""
    signed = der.children(der.children(der.children(der.read(data))[1])[0])
    return tuple(each.raw for element in signed if element.tag == bag for each in der.children(element))


def spki(key: Any) -> bytes:
    encoded: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def indefinite(element: bytes, depth: int) -> bytes:
    """Return the element with indefinite lengths, and octet strings in pieces, down to a depth."""
    whole = der.read(element)
    if depth == 0:
        return element
    if whole.tag == der.OCTET_STRING:
        pieces = (der.octet_string(whole.content[i : i + 100]) for i in range(0, len(whole.content), 100))
        return b"\x24\x80" + b"".join(pieces) + b"\x00\x00"
    if not whole.constructed:
        return element
    inside = b"".join(indefinite(child.raw, depth - 1) for child in der.children(whole))
    return bytes((whole.tag, 0x80)) + inside + b"\x00\x00"


def enrollment(recipient: bytes, **changes: Any) -> Message:
    """Return a good PKCSReq of the device, with changes."""
    key = rsa_key()
    message = Message(envelope(csr(key), recipient), key, self_signed(key))
    return replace(message, **changes)
