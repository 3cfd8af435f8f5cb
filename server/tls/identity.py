"""What a finished handshake tells of the peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cryptography import x509
from cryptography.hazmat.bindings.openssl.binding import Binding

from server.peer import PeerIdentity

if TYPE_CHECKING:
    from OpenSSL import SSL

_lib: Any = Binding().lib

MAX_CERTIFICATES = 10


def identity_of(connection: SSL.Connection) -> PeerIdentity:
    """Return the facts of a connection whose handshake is finished. Raises nothing."""
    version = connection.get_protocol_version_name()
    binding: bytes | None = None
    binding_type: Literal["tls-unique", "tls-exporter"] | None = None
    if version == "TLSv1.3":
        binding, binding_type = connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""), "tls-exporter"
    elif _lib.SSL_get_extms_support(connection._ssl) == 1:  # noqa: SLF001 - pyOpenSSL does not offer it
        # without Extended Master Secret tls-unique can be made the same on two connections (RFC 7627)
        binding, binding_type = connection.get_peer_finished(), "tls-unique"
    presented = _presented(connection)
    return PeerIdentity(
        leaf=presented[0] if presented else None,
        presented=presented or (),
        tls_version=version,
        binding=binding,
        binding_type=binding_type,
        source="tls",
        unreadable=presented is None,
        cipher_bits=connection.get_cipher_bits(),
    )


def _presented(connection: SSL.Connection) -> tuple[x509.Certificate, ...] | None:
    """Return the presented certificates, leaf first; None when one is there that can't be read."""
    leaf = connection.get_peer_certificate()
    if leaf is None:
        return ()
    try:
        rest = connection.get_peer_cert_chain(as_cryptography=True) or []
        return (leaf.to_cryptography(), *rest[:MAX_CERTIFICATES])
    except (ValueError, x509.InvalidVersion):
        return None
