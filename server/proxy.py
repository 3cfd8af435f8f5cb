"""What a proxy that ends TLS says of the peer, in header fields: the second provider of `PeerIdentity`.

A header field is worth what its sender is worth. These are read on a listener for proxies alone, from listed addresses
alone, in one configured form, and what they carry is judged like a certificate that was presented here.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address, ip_address
from typing import Literal, TypeAlias
from urllib.parse import unquote_to_bytes

from cryptography import x509

from server.peer import NO_PEER, PeerIdentity

Form: TypeAlias = Literal["rfc9440", "nginx", "haproxy", "envoy"]
Fields: TypeAlias = Callable[[str], Sequence[str]]
"""Gives the values of all fields of a name."""

MAX_CERTIFICATES = 10
_BINARY = re.compile(r":([A-Za-z0-9+/]*={0,2}):")  # an sf-binary of RFC 8941 section 3.3.5
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_PAIR = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^;,"]*)(;|$)')
_VERSIONS = {"TLSv1.2": "TLSv1.2", "TLSv1.3": "TLSv1.3"}


class MalformedHeader(ValueError):
    """A field that the proxy did not write, or not as it must; the text is safe to show."""


def read_identity(form: Form, fields: Fields, *, channel_binding: bool) -> PeerIdentity:
    """Return what the proxy says of the peer.

    Args:
        form: what the proxy writes.
        fields: the request's header fields.
        channel_binding: whether tls-unique is taken from HAProxy; it can't say whether the handshake had Extended
            Master Secret, without which tls-unique can be made the same on two connections (RFC 7627).

    Raises:
        MalformedHeader: and nothing else.
    """
    match form:
        case "rfc9440":
            return _identity("rfc9440", _rfc9440(fields))
        case "nginx":
            return _identity("nginx", _pem(_one(fields, "X-SSL-Client-Cert")))
        case "envoy":
            return _identity("envoy", _envoy(_one(fields, "X-Forwarded-Client-Cert")))
        case "haproxy":
            return _haproxy(fields, channel_binding=channel_binding)


def client_address(fields: Fields, proxy: str) -> str:
    """Return the address that the proxy had its connection from, its own when it does not say.

    Only the last entry of X-Forwarded-For is the proxy's word; the others are what the client sent. Of an IPv4 address
    that came over an IPv6 socket proxies write ``::ffff:192.0.2.1``.
    """
    last = ",".join(fields("X-Forwarded-For")).rpartition(",")[2].strip()
    try:
        found = ip_address(last)
    except ValueError:
        return proxy
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _one(fields: Fields, name: str) -> str:
    values = fields(name)
    if len(values) > 1:
        raise MalformedHeader(f"there is more than one {name}")
    return values[0].strip() if values else ""


def _identity(source: str, certificates: Sequence[bytes]) -> PeerIdentity:
    """Return the identity for what was presented, PEM or DER, leaf first; a leaf that comes again is dropped."""
    if not certificates:
        return NO_PEER
    if len(certificates) > MAX_CERTIFICATES:
        raise MalformedHeader(f"there are more than {MAX_CERTIFICATES} certificates")
    try:
        read = [
            x509.load_pem_x509_certificate(one) if one.startswith(b"-----") else x509.load_der_x509_certificate(one)
            for one in certificates
        ]
    except (ValueError, x509.InvalidVersion):
        return PeerIdentity(source=source, unreadable=True)
    leaf, *above = read
    return PeerIdentity(leaf, (leaf, *(one for one in above if one != leaf)), source=source)


def _rfc9440(fields: Fields) -> list[bytes]:
    leaf, chain = _one(fields, "Client-Cert"), _one(fields, "Client-Cert-Chain")
    if not leaf:
        if chain:
            raise MalformedHeader("there is a Client-Cert-Chain without Client-Cert (RFC 9440 section 2.3)")
        return []
    items = [leaf, *(chain.split(",") if chain else ())]
    return [_binary(item.strip()) for item in items]


def _binary(item: str) -> bytes:
    found = _BINARY.fullmatch(item)
    if found is None:
        raise MalformedHeader("a certificate is not written :base64: (RFC 9440 section 2.1)")
    return _base64(found[1])


def _base64(text: str) -> bytes:
    try:
        octets = b64decode(text, validate=True)
    except ValueError as error:
        raise MalformedHeader("a certificate is not base64") from error
    return octets


def _pem(text: str) -> list[bytes]:
    """Read URL-encoded PEM."""
    if not text:
        return []
    octets = unquote_to_bytes(text)
    found = _PEM.findall(octets)
    if not found or _PEM.sub(b"", octets).strip():
        raise MalformedHeader("a certificate is not URL-encoded PEM")
    return found


def _envoy(text: str) -> list[bytes]:
    """Read X-Forwarded-Client-Cert of one element: Envoy must be set to SANITIZE_SET."""
    values: dict[str, str] = {}
    position = 0
    while position < len(text):
        found = _PAIR.match(text, position)
        if found is None:
            raise MalformedHeader("X-Forwarded-Client-Cert is malformed, or of several hops")
        key = found[1].lower()
        if key in {"cert", "chain"} and key in values:
            raise MalformedHeader("X-Forwarded-Client-Cert names a certificate twice")
        values[key] = found[2].strip('"')
        position = found.end()
    leaf, chain = _pem(values.get("cert", "")), _pem(values.get("chain", ""))
    if len(leaf) > 1:
        raise MalformedHeader("X-Forwarded-Client-Cert holds more than one client certificate")
    return [*leaf, *chain]


def _haproxy(fields: Fields, *, channel_binding: bool) -> PeerIdentity:
    leaf, above = _one(fields, "X-SSL-Client-DER"), _one(fields, "X-SSL-Client-Chain-DER")
    if above and not leaf:
        raise MalformedHeader("there is an X-SSL-Client-Chain-DER without X-SSL-Client-DER")
    certificates = [_base64(leaf), *_concatenated(_base64(above))] if leaf else []
    found = _identity("haproxy", certificates)
    version = _VERSIONS.get(_one(fields, "X-SSL-Protocol"))
    unique = _one(fields, "X-SSL-Unique-ID")
    binding = _base64(unique) if channel_binding and version == "TLSv1.2" else b""
    return PeerIdentity(
        leaf=found.leaf,
        presented=found.presented,
        tls_version=version,
        binding=binding or None,
        binding_type="tls-unique" if binding else None,
        source="haproxy",
        unreadable=found.unreadable,
    )


def _concatenated(octets: bytes) -> list[bytes]:
    """Part certificates that follow each other: each is a SEQUENCE with a length of two octets or more."""
    found = []
    while octets:
        if octets[0] != 0x30 or len(octets) < 4 or octets[1] not in {0x81, 0x82, 0x83}:
            raise MalformedHeader("X-SSL-Client-Chain-DER does not hold certificates")
        size = octets[1] - 0x80
        end = 2 + size + int.from_bytes(octets[2 : 2 + size])
        if end > len(octets):
            raise MalformedHeader("X-SSL-Client-Chain-DER does not hold certificates")
        found.append(octets[:end])
        octets = octets[end:]
    return found
