"""The TLS settings of the server: TLS 1.2 and 1.3, forward secrecy, no resumption, any client certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from OpenSSL import SSL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from OpenSSL.crypto import X509

CIPHERS_OF_TLS_1_2 = b"ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20"
CIPHERS_OF_TLS_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""AES-128 first: its handshake takes an eighth less of the server's time than that with SHA-384."""


_STRONGEST_OF_TLS_1_2 = b"ECDHE+AES256+AESGCM:ECDHE+CHACHA20:ECDHE+AES128+AESGCM"
_STRONGEST_OF_TLS_1_3 = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"


class TlsConfigurationError(Exception):
    """The certificate and key can't serve; the text is for administrators."""


def make_context(chain: Sequence[x509.Certificate], key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> SSL.Context:
    """Return the server's context.

    Sessions are never resumed, so that the certificate of each connection was presented and its key proven on that very
    connection.

    Args:
        chain: the server's certificate first, then what a client needs up to the root.
        key: the private key of the first.

    Raises:
        TlsConfigurationError: the key does not belong to the certificate, or OpenSSL refuses one of them.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_cipher_list(CIPHERS_OF_TLS_1_2)
    context.set_tls13_ciphersuites(CIPHERS_OF_TLS_1_3)
    context.set_verify(SSL.VERIFY_PEER, _take_any)
    try:
        context.use_certificate(chain[0])
        for certificate in chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(key)
        context.check_privatekey()
    except (SSL.Error, IndexError, TypeError) as error:
        raise TlsConfigurationError("the private key does not belong to the certificate") from error
    return context


def prefer_strongest(context: SSL.Context) -> None:
    """Put ciphers of 256 bits first, for a listener that sends private keys (RFC 7030 section 4.4)."""
    context.set_cipher_list(_STRONGEST_OF_TLS_1_2)
    context.set_tls13_ciphersuites(_STRONGEST_OF_TLS_1_3)


def _take_any(_connection: SSL.Connection, _certificate: X509, _error: int, _depth: int, _ok: int) -> bool:
    """Take the certificate whatever OpenSSL thinks of it; that its key signed the handshake is still required."""
    return True
