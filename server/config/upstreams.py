"""Issuing CAs elsewhere: where they are, who we are there, and how long they may take."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from server.config.secret_sources import SecretSource
from server.config.values import split_url


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _secure_url(value: str) -> str:
    parts = split_url(value)
    if (
        parts.scheme not in {"https", "http"}
        or not parts.netloc
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise ValueError("write the address like https://ca.example.com/path, without user, query and fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError("http is for programs on this machine; use https")
    return value.rstrip("/")


SecureUrl = Annotated[str, AfterValidator(_secure_url)]


class ClientCertificate(Strict):
    """Our own certificate for TLS.

    Attributes:
        certificate: PEM, ours first.
        key: PEM of its private key.
        passphrase: where the key's passphrase comes from; None for a key in the clear.
    """

    certificate: Path
    key: Path
    passphrase: SecretSource | None = None

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return (self.key, *files_of(self.passphrase))


def files_of(*sources: SecretSource | None) -> tuple[Path, ...]:
    """Return the files among the sources of secrets."""
    return tuple(source.file for source in sources if source is not None and source.file is not None)


class UpstreamConfig(Strict):
    """What every CA elsewhere says.

    Attributes:
        certificate: PEM of the issuing CA's certificate: what comes back is verified with it.
        chain: PEM of the certificates above it.
        timeout_seconds: how long one attempt may take; then the requester is told to come back.
        tolerance: by how much the validity may begin and end before or after what was planned.
    """

    certificate: Path
    chain: Path
    timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 8
    tolerance: Duration = Field(default="1h", validate_default=True)

    @property
    def longest_seconds(self) -> float:
        """How long issuing may take."""
        return self.timeout_seconds

    @property
    def takes_revocations(self) -> bool:
        """Whether the CA is told of revocations; of a plugin nobody knows before it is loaded."""
        return True

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return ()


class HttpsUpstreamConfig(UpstreamConfig):
    """A CA that is reached by HTTPS.

    Attributes:
        url: its address.
        trust: PEM of the roots that its TLS certificate is verified with; None for those of the system.
        client: our own certificate for TLS.
    """

    url: SecureUrl
    trust: Path | None = None
    client: ClientCertificate | None = None

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return self.client.secret_files() if self.client is not None else ()


class EstIssuerConfig(HttpsUpstreamConfig):
    """Another EST server; `url` goes up to and with the label.

    Attributes:
        username, password: for HTTP Basic, both or neither.
    """

    type: Literal["est"]
    username: str | None = None
    password: SecretSource | None = None

    @model_validator(mode="after")
    def _authenticated(self) -> EstIssuerConfig:
        if (self.username is None) is not (self.password is None):
            raise ValueError("username and password go together")
        if self.username is None and self.client is None:
            raise ValueError("give username and password, or client: {certificate: FILE, key: FILE}")
        return self

    @property
    def takes_revocations(self) -> bool:
        """EST has no revocation."""
        return False

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return (*super().secret_files(), *files_of(self.password))


class VaultIssuerConfig(HttpsUpstreamConfig):
    """A role of the PKI secrets engine of HashiCorp Vault or OpenBao.

    Attributes:
        mount: where the engine is mounted.
        role: the role to sign with.
        token: where our token comes from.
        namespace: the namespace, of editions that have them.
    """

    type: Literal["vault"]
    mount: Annotated[str, Field(pattern=r"^[A-Za-z0-9._/-]+$")] = "pki"
    role: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    token: SecretSource
    namespace: str | None = None

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return (*super().secret_files(), *files_of(self.token))


class ExternalAccountConfig(Strict):
    """What ties our ACME account to one that the other CA has given us.

    Attributes:
        kid: its key identifier.
        key: where its key comes from, base64url as CAs hand it out.
    """

    kid: str
    key: SecretSource


class AcmeIssuerConfig(HttpsUpstreamConfig):
    """Another ACME server; `url` is its directory.

    Attributes:
        account_key: PEM of our account's key, P-256.
        account_passphrase: where the key's passphrase comes from; None for a key in the clear.
        contact: URLs like ``mailto:pki@example.com``.
        external_account: binds our account to one outside of ACME.
        terms_agreed: that its terms of service are agreed to; it must be said.
        dns01: the command that publishes records; None when every authorization is there from before.
    """

    type: Literal["acme"]
    account_key: Path
    account_passphrase: SecretSource | None = None
    contact: tuple[str, ...] = ()
    external_account: ExternalAccountConfig | None = None
    terms_agreed: Literal[True]
    dns01: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        external = self.external_account.key if self.external_account is not None else None
        return (*super().secret_files(), self.account_key, *files_of(self.account_passphrase, external))


class CmpIssuerConfig(UpstreamConfig):
    """A CMP server; its messages protect themselves, so plain http will do.

    Attributes:
        url: where messages are posted to.
        reference: names the secret.
        secret: where the secret that we share with the CA comes from.
        signer: our key and certificate, for messages with signatures instead of a secret.
        servers: PEM of the certificates that the CA signs its messages with; None for `certificate` and `chain`.
        renewals: what a renewal is asked for with: ``p10cr`` like a new certificate, or ``kur``.
        trust: PEM of the roots for https; None for those of the system.
    """

    type: Literal["cmp"]
    url: Annotated[str, Field(pattern=r"^https?://[^@?#]+$")]
    reference: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    secret: SecretSource | None = None
    signer: ClientCertificate | None = None
    servers: Path | None = None
    renewals: Literal["p10cr", "kur"] = "p10cr"
    trust: Path | None = None

    @model_validator(mode="after")
    def _protected(self) -> CmpIssuerConfig:
        if (self.reference is None) is not (self.secret is None):
            raise ValueError("reference and secret go together")
        if (self.secret is None) is (self.signer is None):
            raise ValueError("give either reference and secret, or signer: {certificate: FILE, key: FILE}")
        if self.servers is not None and self.signer is None:
            raise ValueError("servers goes with signer")
        return self

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return (*files_of(self.secret), *(self.signer.secret_files() if self.signer is not None else ()))


class PluginIssuerConfig(UpstreamConfig):
    """A backend of another package, found by its entry point.

    Attributes:
        plugin: its name in the entry point group ``certwright.issuers``.
        options: what it is told; its own business.
    """

    type: Literal["plugin"]
    plugin: Annotated[str, Field(min_length=1)]
    options: Mapping[str, Any] = Field(default_factory=dict)


class CommandIssuerConfig(UpstreamConfig):
    """A command that takes a CSR and a plan and returns a certificate.

    Attributes:
        command: the program and its arguments, run in the folder of the configuration, without a shell.
        revoke_command: the same for revocations; None when the CA is not told of them.
    """

    type: Literal["exec"]
    command: Annotated[tuple[str, ...], Field(min_length=1)]
    revoke_command: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @property
    def takes_revocations(self) -> bool:
        """Whether there is a command for it."""
        return self.revoke_command is not None
