"""The CAs elsewhere that the configuration names, made."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, assert_never

from aiohttp import encode_basic_auth

from ca.backends.chain import load_chain
from ca.backends.command import CommandUpstream
from ca.backends.est import EstUpstream
from ca.backends.http_client import HttpClient
from ca.backends.upstream import UpstreamIssuer
from ca.backends.vault import VaultUpstream
from ca.issuer import IssuerConfigurationError
from server.config.upstreams import CommandIssuerConfig, EstIssuerConfig, VaultIssuerConfig

if TYPE_CHECKING:
    from ca.backends.upstream import Upstream
    from server.app.secret_sources import KeyPath, Reader
    from server.config.issuers import RemoteIssuerConfig
    from server.config.upstreams import HttpsUpstreamConfig


def load_upstream_issuer(here: KeyPath, settings: RemoteIssuerConfig, reader: Reader) -> UpstreamIssuer:
    """Return the issuer that is configured at `here`. Nothing is asked of it yet.

    Raises:
        DocumentErrors: a file or a secret is not where the configuration says.
        IssuerConfigurationError: what is there does not fit together.
    """
    certificate = reader.file((*here, "certificate"), settings.certificate)
    chain = load_chain(certificate, reader.file((*here, "chain"), settings.chain))
    upstream = _upstream(here, settings, reader)
    return UpstreamIssuer(upstream, chain, seconds=settings.timeout_seconds, clock=settings.tolerance)


def _upstream(here: KeyPath, settings: RemoteIssuerConfig, reader: Reader) -> Upstream:
    match settings:
        case EstIssuerConfig():
            headers = {}
            if settings.username is not None and settings.password is not None:
                password = reader.secret((*here, "password"), settings.password).decode()
                headers["Authorization"] = encode_basic_auth(settings.username, password)
            return EstUpstream(settings.url, HttpClient(_tls(here, settings, reader), headers))
        case VaultIssuerConfig():
            headers = {"X-Vault-Token": reader.secret((*here, "token"), settings.token).decode()}
            if settings.namespace is not None:
                headers["X-Vault-Namespace"] = settings.namespace
            client = HttpClient(_tls(here, settings, reader), headers)
            return VaultUpstream(settings.url, settings.mount, settings.role, client)
        case CommandIssuerConfig():
            return CommandUpstream(settings.command, reader.folder)
        case _:
            assert_never(settings)


def _tls(here: KeyPath, settings: HttpsUpstreamConfig, reader: Reader) -> ssl.SSLContext:
    """Return how the other CA's TLS certificate is verified, with our own certificate when there is one."""
    try:
        if settings.trust is None:
            context = ssl.create_default_context()
        else:
            pem = reader.file((*here, "trust"), settings.trust).decode("ascii", errors="replace")
            context = ssl.create_default_context(cadata=pem)
    except ssl.SSLError as error:
        raise IssuerConfigurationError(f"trust: {settings.trust} holds no PEM certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    client = settings.client
    if client is not None:
        passphrase = reader.secret((*here, "client", "passphrase"), client.passphrase) if client.passphrase else b""
        for name, file in (("certificate", client.certificate), ("key", client.key)):
            reader.file((*here, "client", name), file)  # that it is missing is told with its place
        try:
            context.load_cert_chain(client.certificate, client.key, passphrase)
        except (ssl.SSLError, ValueError) as error:
            raise IssuerConfigurationError(f"client: certificate and key don't work together: {error}") from error
    return context
