"""The rules of TLS, between two ends in memory."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pytest
from OpenSSL import SSL

from server.tls import TlsConfigurationError, make_context, prefer_strongest

if TYPE_CHECKING:
    from tests.server.tls.conftest import Holder

WITH_CBC = b"ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384"


def client_of(version: int, ciphers: bytes = b"ALL:@SECLEVEL=0") -> SSL.Context:
    """Return the rules of a client that speaks one version, and no more than these ciphers up to TLS 1.2."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    context.set_cipher_list(ciphers)
    return context


def shaken(server: SSL.Context, client: SSL.Context) -> SSL.Connection:
    """Return the server's end after the handshake. Raises SSL.Error of the server's end."""
    ends = SSL.Connection(server), SSL.Connection(client)
    ends[0].set_accept_state()
    ends[1].set_connect_state()
    for _ in range(4):
        with suppress(SSL.WantReadError):
            ends[1].do_handshake()
        with suppress(SSL.WantReadError):
            ends[0].bio_write(ends[1].bio_read(65536))
        with suppress(SSL.WantReadError):
            ends[0].do_handshake()
        with suppress(SSL.WantReadError):
            ends[1].bio_write(ends[0].bio_read(65536))
    return ends[0]


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_nothing_older_than_tls_1_2_is_spoken_though_ciphers_would_let_it(server_holder: Holder, version: int) -> None:
    context = make_context([server_holder.certificate], server_holder.key)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    with pytest.raises(SSL.Error, match="unsupported protocol"):
        shaken(context, client_of(version))


def test_ciphers_without_authenticated_encryption_are_not_spoken(server_holder: Holder) -> None:
    context = make_context([server_holder.certificate], server_holder.key)
    with pytest.raises(SSL.Error, match="no shared cipher"):
        shaken(context, client_of(SSL.TLS1_2_VERSION, WITH_CBC))


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize(("is_strongest", "bits"), [(False, 128), (True, 256)])
def test_the_cipher_is_the_server_s_choice_the_quickest_or_the_strongest(
    server_holder: Holder, version: int, bits: int, *, is_strongest: bool
) -> None:
    context = make_context([server_holder.certificate], server_holder.key)
    names = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
    suites = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"
    if is_strongest:
        prefer_strongest(context)
    else:  # the client always says the other one first
        names, suites = names[::-1], suites[::-1]
    client = client_of(version, ":".join(names).encode())
    client.set_tls13_ciphersuites(":".join(suites).encode())
    assert shaken(context, client).get_cipher_bits() == bits


def test_no_session_is_kept(server_holder: Holder) -> None:
    context = make_context([server_holder.certificate], server_holder.key)
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF


def test_what_is_no_key_is_refused(server_holder: Holder) -> None:
    with pytest.raises(TlsConfigurationError, match="does not belong"):
        make_context([server_holder.certificate], cast("Any", b"a key"))
