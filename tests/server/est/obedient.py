"""A device that asks for exactly what csrattrs tells it to, in the template of RFC 9908 or the list of RFC 7030."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from ca.csr import Csr, parse_csr
from ca.name_codec import write_general_name
from ca.names import dns_name, ip_address
from server.est import csrattrs

CURVES = {"1.2.840.10045.3.1.7": ec.SECP256R1(), "1.3.132.0.34": ec.SECP384R1(), "1.3.132.0.35": ec.SECP521R1()}
EXTENSIONS = ("2.5.29.17", "2.5.29.37")
OWN_NAME = dns_name("pump-17.example.com")
OWN_ADDRESS = ip_address(bytes((10, 1, 2, 3)))
OWN_VALUES = {
    "2.5.29.17": der.sequence(write_general_name(OWN_NAME)),
    "2.5.29.37": der.sequence(der.oid("1.3.6.1.5.5.7.3.2")),
}


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass
class Wishes:
    """What the device was told to ask for, with its own values in the gaps."""

    key: Key
    subject: list[tuple[str, str]]
    extensions: list[tuple[str, bool, bytes]]

    def csr(self) -> Csr:
        subject = x509.Name([x509.NameAttribute(x509.ObjectIdentifier(oid), value) for oid, value in self.subject])
        builder = x509.CertificateSigningRequestBuilder(subject)
        for oid, critical, value in self.extensions:
            builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value), critical)
        digest = None if isinstance(self.key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        return parse_csr(builder.sign(self.key, digest).public_bytes(Encoding.DER))


def oid_of(element: der.Tlv) -> str:
    return der.read_oid(der.expect(element, der.OID).content)


def attributes(elements: list[der.Tlv]) -> dict[str, list[der.Tlv]]:
    return {oid_of(kind): der.children(values) for kind, values in map(der.children, elements)}


def follow_template(data: bytes) -> Wishes:
    items = [item for item in der.children(der.read(data)) if item.tag == der.SEQUENCE]
    (template,) = attributes(items)[csrattrs.REQUEST_TEMPLATE]
    version, *rest = der.children(template)
    assert der.read_integer(version) == 0
    subject = [part for part in rest if part.tag == der.SEQUENCE]
    key, requested = (next(part for part in rest if part.tag == der.context(number)) for number in (0, 1))
    pairs = [der.children(one) for rdn in (der.children(subject[0]) if subject else []) for one in der.children(rdn)]
    named = [(oid_of(pair[0]), der.read_text(pair[1]) if len(pair) > 1 else "pump-17") for pair in pairs]
    algorithm, *placeholder = der.children(key)
    found = attributes(der.children(requested))
    assert len(found) <= 1
    extensions = [one for values in found.values() for value in values for one in der.children(value)]
    return Wishes(_template_key(algorithm, placeholder), named, [_filled(one) for one in extensions])


def _template_key(algorithm: der.Tlv, placeholder: list[der.Tlv]) -> Key:
    kind, *parameters = der.children(algorithm)
    if placeholder:
        modulus, _ = der.children(der.read(der.read_bits(placeholder[0])[1]))
        return rsa.generate_private_key(65537, der.read_integer(modulus).bit_length())
    return ec.generate_private_key(CURVES[oid_of(parameters[0])]) if parameters else _ed25519(oid_of(kind))


def _ed25519(oid: str) -> ed25519.Ed25519PrivateKey:
    assert oid == "1.3.101.112"
    return ed25519.Ed25519PrivateKey.generate()


def _filled(extension: der.Tlv) -> tuple[str, bool, bytes]:
    kind, *rest = der.children(extension)
    critical = bool(rest) and rest[0].tag == der.BOOLEAN
    value = rest[-1].content if rest and rest[-1].tag == der.OCTET_STRING else OWN_VALUES[oid_of(kind)]
    own = write_general_name(OWN_ADDRESS)
    if value.endswith(b"\x87\x00"):
        names = [own if one.raw == b"\x87\x00" else one.raw for one in der.children(der.read(value))]
        value = der.sequence(*names)
    return oid_of(kind), critical, value


def follow_list(data: bytes) -> Wishes:
    items = der.children(der.read(data))
    bare = [oid_of(item) for item in items if item.tag == der.OID]
    found = attributes([item for item in items if item.tag == der.SEQUENCE])
    extensions = [_filled(one) for value in found.pop(csrattrs.EXTENSION_REQUEST, []) for one in der.children(value)]
    extensions += [(oid, False, OWN_VALUES[oid]) for oid in bare if oid in EXTENSIONS]
    found.pop(csrattrs.REQUEST_TEMPLATE, None)  # older clients overlook it
    ((kind, values),) = found.items()
    if kind == "1.2.840.113549.1.1.1":
        key: Key = rsa.generate_private_key(65537, der.read_integer(values[0]))
    else:
        key = ec.generate_private_key(CURVES[oid_of(values[0])]) if values else _ed25519(kind)
    subject = [(oid, "pump-17") for oid in bare if oid.startswith(("2.5.4.", "0.9.2342."))]
    return Wishes(key, subject, extensions)
