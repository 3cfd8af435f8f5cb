"""Devices that attest: makers with roots of their own, and statements in each format, right or wrong in one thing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from server.acme.challenges.attestation import android_key, apple, step, tpm
from server.acme.challenges.attestation import tpm_structures as structures
from tests.fakes.acme import new_key

CA = x509.BasicConstraints(ca=True, path_length=None)
END = x509.BasicConstraints(ca=False, path_length=None)


def raw(oid: str, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)


def spki(key: Any) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@dataclass
class Maker:
    """A manufacturer: a root and a CA below it."""

    now: datetime
    lifetime: timedelta = timedelta(days=30)
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    ca_key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    @property
    def root(self) -> x509.Certificate:
        return self.certificate("root", self.root_key, "root", self.root_key, CA)

    def issuer(self, *extensions: x509.ExtensionType) -> x509.Certificate:
        return self.certificate("ca", self.ca_key, "root", self.root_key, *(extensions or (CA,)))

    def leaf(self, key: Any, *extensions: x509.ExtensionType, name: str = "device") -> x509.Certificate:
        return self.certificate(name, key, "ca", self.ca_key, *(extensions or (END,)))

    def certificate(
        self, name: str, key: Any, by: str, signer: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)] if text else [])

        builder = x509.CertificateBuilder().subject_name(named(name)).issuer_name(named(by)).serial_number(7)
        builder = builder.public_key(key.public_key()).not_valid_before(self.now - timedelta(days=1))
        builder = builder.not_valid_after(self.now + self.lifetime)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(signer, SHA256())

    def attestation_key(self, key: Any, serial: str, **changes: Any) -> list[bytes]:
        """The certificate of a TPM's attestation key, or of what has the public half of one, and that of its issuer."""
        hardware = changes.get("hardware", sorted(tpm.HARDWARE))
        attributes = [x509.NameAttribute(x509.ObjectIdentifier(oid), "id:1") for oid in hardware]
        other = x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.3"), der.sequence(der.utf8(serial)))
        names = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(attributes)), other])
        purpose = x509.ObjectIdentifier(changes.get("purpose", tpm.AIK_CERTIFICATE.dotted_string))
        purposes = x509.ExtendedKeyUsage([purpose])
        return self.chain(self.leaf(key, END, names, purposes, name=changes.get("subject", "")))

    def chain(self, leaf: x509.Certificate) -> list[bytes]:
        return [each.public_bytes(Encoding.DER) for each in (leaf, self.issuer())]


def encoded(word: str, members: dict[str, Any], **more: Any) -> bytes:
    """The attestation object."""
    return cbor2.dumps({"fmt": word, "attStmt": members, **more})


@dataclass(frozen=True)
class Device:
    """A device with a key, and what it will say; the defaults are right."""

    maker: Maker
    serial: str = "serial-1"
    key: Any = field(default_factory=new_key)
    token: str = "token"
    key_authorization: str = "token.thumbprint"

    def changed(self, **changes: Any) -> Device:
        return replace(self, **changes)

    def apple(self, *extensions: x509.ExtensionType) -> dict[str, Any]:
        nonce = hashlib.sha256(self.token.encode()).digest()
        own = (raw(apple.SERIAL_NUMBER, self.serial.encode()), raw(apple.UDID, b"udid-1"), raw(apple.FRESHNESS, nonce))
        return {"x5c": self.maker.chain(self.maker.leaf(self.key, END, *(extensions or own)))}

    def step(self, *extensions: x509.ExtensionType) -> dict[str, Any]:
        own = raw(step.MANAGED_DEVICE, der.sequence(der.utf8(self.serial)))
        leaf = self.maker.leaf(self.key, END, *(extensions or (own,)))
        return {"alg": -7, "sig": cbor2.dumps(self._signed()), "x5c": self.maker.chain(leaf)}

    def android(self, **changes: Any) -> dict[str, Any]:
        leaf = self.maker.leaf(self.key, raw(android_key.KEY_DESCRIPTION.dotted_string, self.description(**changes)))
        return {"alg": -7, "sig": self._signed(), "x5c": self.maker.chain(leaf)}

    def _signed(self) -> bytes:
        return bytes(self.key.sign(self.key_authorization.encode(), ec.ECDSA(SHA256())))

    def description(self, *, levels: tuple[int, int] = (1, 1), challenge: bytes | None = None, **changes: Any) -> bytes:
        """A KeyDescription; a change replaces an authorization of the hardware by its tag, None leaves it out."""
        said = self.key_authorization.encode() if challenge is None else challenge
        hardware = {
            android_key.PURPOSE: der.set_of(der.integer(2), der.integer(3)),
            android_key.ORIGIN: der.integer(0),
            android_key.SERIAL: der.octet_string(self.serial.encode()),
            android_key.ROOT_OF_TRUST: root_of_trust(locked=True, state=0),
            **{int(name.removeprefix("t")): value for name, value in changes.items() if name != "software"},
        }
        lists = (changes.get("software", {}), hardware)
        version, (attestation, key) = der.integer(200), (der.tlv(der.ENUMERATED, bytes([level])) for level in levels)
        return der.sequence(
            *(version, attestation, version, key, der.octet_string(said), der.octet_string(b"")),
            *(der.sequence(*(explicit(tag, item) for tag, item in each.items() if item)) for each in lists),
        )

    def tpm(self, **changes: Any) -> dict[str, Any]:
        """A statement of a TPM; changes are of the public area, of what is certified and of the AK's certificate."""
        ak = new_key()
        public = public_area(self.key, changes.get("attributes", tpm._NEEDED))
        name = changes.get("name", b"\x00\x0b" + hashlib.sha256(public).digest())
        extra = changes.get("extra", hashlib.sha256(self.key_authorization.encode()).digest())
        info = certify_info(extra, name, magic=changes.get("magic", structures.GENERATED))
        r, s = decode_dss_signature(ak.sign(info, ec.ECDSA(SHA256())))
        signature = b"\x00\x18\x00\x0b" + sized(r.to_bytes(32)) + sized(s.to_bytes(32))
        x5c = self.maker.attestation_key(ak, self.serial, **changes)
        return {"ver": "2.0", "alg": -7, "x5c": x5c, "sig": signature, "certInfo": info, "pubArea": public}


def root_of_trust(*, locked: bool, state: int) -> bytes:
    """What an Android device says of its start: 0 is verified, 1 by the owner's own key, 2 not at all, 3 failed."""
    parts = der.boolean(locked), der.tlv(der.ENUMERATED, bytes([state]))
    return der.sequence(der.octet_string(bytes(32)), *parts, der.octet_string(bytes(32)))


def explicit(tag: int, content: bytes) -> bytes:
    """An explicit context-specific tag of any number."""
    if tag < 31:
        return der.tlv(0xA0 | tag, content)
    return bytes([0xBF, 0x80 | tag >> 7, tag & 0x7F]) + der.octet_string(content)[1:]


def sized(octets: bytes) -> bytes:
    return len(octets).to_bytes(2) + octets


def public_area(key: Any, attributes: int) -> bytes:
    """A TPMT_PUBLIC of a P-256 key that signs with ECDSA and SHA-256."""
    numbers = key.public_key().public_numbers()
    head = b"\x00\x23\x00\x0b" + attributes.to_bytes(4) + sized(b"") + b"\x00\x10\x00\x18\x00\x0b\x00\x03\x00\x10"
    return head + sized(numbers.x.to_bytes(32)) + sized(numbers.y.to_bytes(32))


def certify_info(extra: bytes, name: bytes, *, magic: int) -> bytes:
    """A TPMS_ATTEST of TPM2_Certify."""
    return magic.to_bytes(4) + b"\x80\x17" + sized(b"signer") + sized(extra) + bytes(25) + sized(name) + sized(b"q")
