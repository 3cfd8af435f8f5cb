"""Who is at the other end of the connection: the facts that TLS gives, before anybody judged them.

In TLS any certificate is taken whose key the peer proved to have. Whether it is expired, revoked, of a known CA or made
for this purpose is for `server.credentials` to say, in an answer that the peer can read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """What a connection tells of its peer. Nothing here is verified but possession of the leaf's private key.

    Attributes:
        leaf: the presented certificate, None when there is none or when it can't be read.
        presented: all that was presented, leaf first, as the peer ordered it.
        tls_version: ``TLSv1.2`` or ``TLSv1.3``, None without TLS.
        binding: the channel binding's bytes, None when the connection has none that is safe.
        binding_type: ``tls-unique`` (RFC 5929, TLS 1.2 with Extended Master Secret) or ``tls-exporter`` (RFC 9266).
        cipher_bits: the strength of the connection's cipher, None where it is not known.
        resumed: whether the handshake resumed an earlier session.
        source: which provider says so: ``tls``, or ``none`` for plain HTTP.
        unreadable: whether a certificate was presented that can't be read: it must be refused, not overlooked.
    """

    leaf: x509.Certificate | None = None
    presented: tuple[x509.Certificate, ...] = ()
    tls_version: str | None = None
    binding: bytes | None = None
    binding_type: Literal["tls-unique", "tls-exporter"] | None = None
    resumed: bool = False
    source: str = "none"
    unreadable: bool = False
    cipher_bits: int | None = None


NO_PEER = PeerIdentity()
"""The peer of a plain HTTP connection."""
