"""The CAs elsewhere that the configuration names, made."""

from __future__ import annotations

import ssl
from importlib.metadata import entry_points
from secrets import token_bytes
from typing import TYPE_CHECKING, assert_never

from aiohttp import encode_basic_auth
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ca.backends.acme import AcmeUpstream, Dns01
from ca.backends.acme_account import AcmeAccount, ExternalAccount
from ca.backends.chain import load_chain
from ca.backends.cmp import CmpUpstream
from ca.backends.cmp_protection import SharedSecret, Signatures
from ca.backends.command import CommandUpstream, RevokingCommandUpstream
from ca.backends.est import EstUpstream
from ca.backends.http_client import HttpClient
from ca.backends.upstream import issuer_of
from ca.backends.vault import VaultUpstream
from ca.issuer import IssuerConfigurationError
from ca.tbs import SigningKey
from policies.document import did_you_mean
from server.config.upstreams import (
    AcmeIssuerConfig,
    CmpIssuerConfig,
    CommandIssuerConfig,
    EstIssuerConfig,
    PluginIssuerConfig,
    VaultIssuerConfig,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ca.backends.cmp_protection import Protection
    from ca.backends.upstream import Upstream, UpstreamIssuer
    from server.app.secret_sources import KeyPath, Reader
    from server.config.issuers import RemoteIssuerConfig
    from server.config.upstreams import HttpsUpstreamConfig

PLUGINS = "certwright.issuers"
"""The entry point group of other packages' backends."""


def load_upstream_issuer(here: KeyPath, settings: RemoteIssuerConfig, reader: Reader) -> UpstreamIssuer:
    """Return the issuer that is configured at `here`. Nothing is asked of it yet.

    Raises:
        DocumentErrors: a file or a secret is not where the configuration says.
        IssuerConfigurationError: what is there does not fit together.
    """
    certificate = reader.file((*here, "certificate"), settings.certificate)
    chain = load_chain(certificate, reader.file((*here, "chain"), settings.chain))
    upstream = _upstream(here, settings, reader, chain)
    # ACME servers take names from the order and make a subject of their own, or none
    own_subject = isinstance(settings, AcmeIssuerConfig)
    return issuer_of(upstream, chain, seconds=settings.timeout_seconds, clock=settings.tolerance, subject=own_subject)


def _upstream(
    here: KeyPath, settings: RemoteIssuerConfig, reader: Reader, chain: tuple[x509.Certificate, ...]
) -> Upstream:
    match settings:
        case EstIssuerConfig():
            headers = {}
            if settings.username is not None and settings.password is not None:
                password = reader.secret((*here, "password"), settings.password).decode()
                headers["Authorization"] = encode_basic_auth(settings.username, password)
            return EstUpstream(settings.url, HttpClient(_tls(here, settings, reader), headers))
        case AcmeIssuerConfig():
            return _acme(here, settings, reader)
        case CmpIssuerConfig():
            protection = _protection(here, settings, reader, chain)
            client = HttpClient(_trusting(here, settings.trust, reader), keep=False)
            name, updates = chain[0].subject.public_bytes(), settings.renewals == "kur"
            return CmpUpstream(settings.url, name, protection, client, token_bytes, updates)
        case VaultIssuerConfig():
            headers = {"X-Vault-Token": reader.secret((*here, "token"), settings.token).decode()}
            if settings.namespace is not None:
                headers["X-Vault-Namespace"] = settings.namespace
            client = HttpClient(_tls(here, settings, reader), headers)
            return VaultUpstream(settings.url, settings.mount, settings.role, client)
        case PluginIssuerConfig():
            return _plugin(settings, reader)
        case CommandIssuerConfig():
            revoke, command = settings.revoke_command, (settings.command, reader.folder)
            return CommandUpstream(*command) if revoke is None else RevokingCommandUpstream(*command, revoke)
        case _:
            assert_never(settings)


def _protection(
    here: KeyPath, settings: CmpIssuerConfig, reader: Reader, chain: tuple[x509.Certificate, ...]
) -> Protection:
    """Return how messages to and from a CMP server are protected."""
    if settings.reference is not None and settings.secret is not None:
        secret = reader.secret((*here, "secret"), settings.secret)
        return SharedSecret(settings.reference.encode(), secret, token_bytes)
    client = settings.signer
    assert client is not None  # noqa: S101 - the configuration has one or the other
    place = (*here, "signer")
    passphrase = reader.secret((*place, "passphrase"), client.passphrase) if client.passphrase else None
    certificate, key = (reader.file((*place, name), getattr(client, name)) for name in ("certificate", "key"))
    trusted = reader.file((*here, "servers"), settings.servers) if settings.servers is not None else None
    try:
        own = x509.load_pem_x509_certificates(certificate)
        servers = chain if trusted is None else tuple(x509.load_pem_x509_certificates(trusted))
        loaded = load_pem_private_key(key, passphrase)
        if not isinstance(loaded, SigningKey):
            raise IssuerConfigurationError("signer: a key of this kind does not sign")
        return Signatures(loaded, own, servers)
    except (ValueError, TypeError) as error:
        raise IssuerConfigurationError(
            f"signer: {client.key} and {client.certificate} can't be used: {error}"
        ) from error


def _plugin(settings: PluginIssuerConfig, reader: Reader) -> Upstream:
    """Make the backend of another package by calling its entry point."""
    known = {each.name: each for each in entry_points(group=PLUGINS)}
    if settings.plugin not in known:
        raise IssuerConfigurationError(
            f'no installed package has an issuer "{settings.plugin}"{did_you_mean(settings.plugin, known)}'
        )
    try:
        made: Upstream = known[settings.plugin].load()(settings.options, reader.folder)
    except Exception as error:
        raise IssuerConfigurationError(f'the plugin "{settings.plugin}" can\'t be set up: {error!r}') from error
    return made


def _acme(here: KeyPath, settings: AcmeIssuerConfig, reader: Reader) -> AcmeUpstream:
    pem, passphrase = reader.file((*here, "account_key"), settings.account_key), None
    if settings.account_passphrase is not None:
        passphrase = reader.secret((*here, "account_passphrase"), settings.account_passphrase)
    try:
        key = load_pem_private_key(pem, passphrase)
    except (ValueError, TypeError) as error:
        raise IssuerConfigurationError(f"account_key: {settings.account_key} can't be opened") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise IssuerConfigurationError("account_key: must be a P-256 key")
    external = None
    if settings.external_account is not None:
        where = (*here, "external_account", "key")
        secret = reader.secret(where, settings.external_account.key).decode("ascii", errors="replace")
        try:
            external = ExternalAccount.of(settings.external_account.kid, secret)
        except ValueError as error:
            raise IssuerConfigurationError("external_account: the key is not base64url") from error
    client = HttpClient(_tls(here, settings, reader))
    account = AcmeAccount(settings.url, key, client, settings.contact, external)
    dns01 = None if settings.dns01 is None else Dns01(settings.dns01, reader.folder)
    return AcmeUpstream(account, dns01, seconds=max(settings.timeout_seconds / 2, settings.timeout_seconds - 2))


def _tls(here: KeyPath, settings: HttpsUpstreamConfig, reader: Reader) -> ssl.SSLContext:
    """Return how the other CA's TLS certificate is verified, with our own certificate when there is one."""
    context = _trusting(here, settings.trust, reader)
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


def _trusting(here: KeyPath, trust: Path | None, reader: Reader) -> ssl.SSLContext:
    try:
        if trust is None:
            context = ssl.create_default_context()
        else:
            pem = reader.file((*here, "trust"), trust).decode("ascii", errors="replace")
            context = ssl.create_default_context(cadata=pem)
    except ssl.SSLError as error:
        raise IssuerConfigurationError(f"trust: {trust} holds no PEM certificates: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
