"""The certificate that shows control in tls-alpn-01, judged by its octets (RFC 8737 section 3)."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from ca import der
from ca.der import MalformedDer, Tlv

_ALTERNATIVE_NAME = "2.5.29.17"
_ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31"
_BOOLEAN = 0x01
_DNS, _IP = 2, 7
_VERSION, _EXTENSIONS = der.context(0), der.context(3)
_ISSUER, _SUBJECT = 2, 4
_LIMIT = 16384


def fault(certificate: bytes, name: str, digest: bytes) -> str:  # noqa: PLR0911 - one line for each thing that is wrong
    """Say what is wrong with a certificate, empty when it shows control.

    It must be issued to itself, name exactly the identifier and nothing else, and have the digest in a critical
    extension; no extension may stand in it twice.

    Args:
        certificate: DER.
        name: the DNS name in lower case, or the IP address as text.
        digest: SHA-256 of the key authorization.
    """
    if len(certificate) > _LIMIT:
        return "the certificate is too long"
    try:
        extensions, own = _read(certificate)
    except MalformedDer:
        return "the certificate can't be read"
    if len({oid for oid, _, _ in extensions}) != len(extensions):
        return "the certificate has an extension twice"
    if not own or not _signed_by_itself(certificate):
        return "the certificate is not issued by itself"
    found = {oid: (critical, value) for oid, critical, value in extensions}
    if not _names_only(found.get(_ALTERNATIVE_NAME, (False, b""))[1], name):
        return "the certificate does not name exactly the identifier"
    if _ACME_IDENTIFIER not in found:
        return "the certificate has no acmeIdentifier extension"
    critical, value = found[_ACME_IDENTIFIER]
    if not critical:
        return "the acmeIdentifier extension is not critical"
    if value != der.octet_string(digest):
        return "the acmeIdentifier extension is not the digest of this account and token"
    return ""


def _names_only(value: bytes, name: str) -> bool:
    """Say whether subjectAltName has this name and no other, DNS names in upper or lower case."""
    try:
        # The octets of an address are no letters: two addresses may differ in what case is for text.
        return value == der.sequence(der.tlv(der.context(_IP, constructed=False), ip_address(name).packed))
    except ValueError:
        only = der.tlv(der.context(_DNS, constructed=False), name.encode("ascii"))
        return value.lower() == der.sequence(only).lower()


def _read(certificate: bytes) -> tuple[list[tuple[str, bool, bytes]], bool]:
    """Return the extensions, and whether issuer and subject are the same octets. Raises MalformedDer."""
    fields = _inside(_inside(der.read(certificate), 1)[0], 6)
    if fields[0].tag == _VERSION:
        fields = fields[1:]
    if len(fields) <= _SUBJECT:
        raise MalformedDer("a certificate without subject")
    own = fields[_ISSUER].raw == fields[_SUBJECT].raw
    listed = [each for each in fields if each.tag == _EXTENSIONS]
    if len(listed) != 1:
        raise MalformedDer("a certificate without extensions")
    return [_extension(each) for each in _inside(_inside(listed[0], 1)[0], 1)], own


def _extension(element: Tlv) -> tuple[str, bool, bytes]:
    parts = _inside(element, 2)
    critical = parts[1].tag == _BOOLEAN and der.read_boolean(parts[1])
    return der.read_oid(parts[0].content), critical, der.octets(parts[-1])


def _inside(element: Tlv, least: int) -> list[Tlv]:
    parts = der.children(element)
    if len(parts) < least:
        raise MalformedDer("too few elements")
    return parts


def _signed_by_itself(certificate: bytes) -> bool:
    try:
        loaded = x509.load_der_x509_certificate(certificate)
        loaded.verify_directly_issued_by(loaded)
    except (ValueError, TypeError, x509.InvalidVersion, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True
