"""What a finished handshake tells of the peer, between two ends in memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, load_certificate

from server.tls import make_context
from server.tls.identity import MAX_CERTIFICATES, identity_of
from tests.server.tls.conftest import make

if TYPE_CHECKING:
    from tests.server.tls.conftest import Holder

NO_EXTENDED_MASTER_SECRET = 1


def _shaken(server: Holder, client: SSL.Context) -> tuple[SSL.Connection, SSL.Connection]:
    """Return both ends after the handshake: the server's, the client's."""
    ends = SSL.Connection(make_context([server.certificate], server.key)), SSL.Connection(client)
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for _ in range(6):
        for end, other in (ends, ends[::-1]):
            with suppress(SSL.WantReadError):
                end.do_handshake()
            with suppress(SSL.WantReadError):
                other.bio_write(end.bio_read(65536))
    return ends


def test_both_ends_have_the_same_exporter_in_tls_1_3(server_holder: Holder) -> None:
    server, client = _shaken(server_holder, SSL.Context(SSL.TLS_CLIENT_METHOD))
    identity = identity_of(server)
    assert identity.tls_version == "TLSv1.3"
    assert identity.binding_type == "tls-exporter"
    assert identity.binding == client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    assert (identity.leaf, identity.presented, identity.unreadable, identity.source) == (None, (), False, "tls")
    assert identity.cipher_bits == 128


def test_the_binding_of_tls_1_2_is_the_first_finished_message(server_holder: Holder) -> None:
    """RFC 5929 section 3.1: that of the client, in a full handshake."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    server, client = _shaken(server_holder, context)
    identity = identity_of(server)
    assert (identity.tls_version, identity.binding_type) == ("TLSv1.2", "tls-unique")
    assert identity.binding == client.get_finished()


def test_there_is_no_binding_without_extended_master_secret(server_holder: Holder) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(NO_EXTENDED_MASTER_SECRET)
    identity = identity_of(_shaken(server_holder, context)[0])
    assert (identity.tls_version, identity.binding, identity.binding_type) == ("TLSv1.2", None, None)


def test_a_presented_certificate_that_can_not_be_read_is_not_overlooked(server_holder: Holder) -> None:
    holder = make("client")
    der = bytearray(holder.certificate.public_bytes(Encoding.DER))
    version = der.index(bytes.fromhex("a003020102")) + 4
    der[version] = 6  # a version that X.509 does not have
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    with pytest.warns(DeprecationWarning, match="X509"):  # there is no other way to present what can't be read
        context.use_certificate(load_certificate(FILETYPE_ASN1, bytes(der)))
    context.use_privatekey(holder.key)
    identity = identity_of(_shaken(server_holder, context)[0])
    assert (identity.leaf, identity.presented, identity.unreadable) == (None, (), True)


def test_a_chain_without_end_is_cut(server_holder: Holder) -> None:
    holder = make("client")
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.use_certificate(holder.certificate)
    context.use_privatekey(holder.key)
    for number in range(MAX_CERTIFICATES + 5):
        context.add_extra_chain_cert(make(f"above {number}").certificate)
    identity = identity_of(_shaken(server_holder, context)[0])
    assert identity.leaf == holder.certificate
    assert len(identity.presented) == MAX_CERTIFICATES + 1
    assert all(isinstance(one, x509.Certificate) for one in identity.presented)
