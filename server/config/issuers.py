"""The issuing CAs: each names its kind, its certificate, and where its key is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from policies.document import Strict
from server.config.hsm import HsmKeyConfig
from server.config.secret_sources import SecretSource
from server.config.status import StatusConfig
from server.config.upstreams import (
    AcmeIssuerConfig,
    CmpIssuerConfig,
    CommandIssuerConfig,
    EstIssuerConfig,
    PluginIssuerConfig,
    VaultIssuerConfig,
)


class _Issuing(Strict):
    """What every issuer says.

    Attributes:
        certificate: PEM of the issuing CA's certificate.
        chain: PEM of the certificates above it, root last; its own may be among them.
    """

    certificate: Path
    chain: Path


class LocalIssuerConfig(_Issuing):
    """A CA whose key is a file here.

    Attributes:
        status: how the status of its certificates is published.
        key: PEM of its encrypted private key.
        passphrase_file: holds the key's passphrase; short for ``passphrase: {file: FILE}``.
        passphrase: where the key's passphrase comes from.
        signature: how an RSA key signs: ``pkcs1`` or ``pss``.
    """

    type: Literal["local"]
    key: Path
    passphrase_file: Path | None = None
    passphrase: SecretSource | None = None
    signature: Literal["pkcs1", "pss"] = "pkcs1"
    status: StatusConfig = Field(default_factory=StatusConfig)

    @property
    def longest_seconds(self) -> float:
        """How long issuing may take."""
        return 1

    @model_validator(mode="after")
    def _encrypted(self) -> LocalIssuerConfig:
        if (self.passphrase_file is None) is (self.passphrase is None):
            raise ValueError("the key must be encrypted: give either passphrase_file: FILE or passphrase: {…}")
        return self

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        passphrase = self.passphrase_file or (self.passphrase.file if self.passphrase else None)
        own = (self.key, passphrase) if passphrase else (self.key,)
        return (*own, *_ocsp_secrets(self.status))


class Pkcs11IssuerConfig(_Issuing):
    """A CA whose key is in an HSM.

    Attributes:
        status: how the status of its certificates is published.
        hsm: the key.
        signature: how an RSA key signs: ``pkcs1`` or ``pss``.
    """

    type: Literal["pkcs11"]
    hsm: HsmKeyConfig
    signature: Literal["pkcs1", "pss"] = "pkcs1"
    status: StatusConfig = Field(default_factory=StatusConfig)

    @property
    def longest_seconds(self) -> float:
        """How long issuing may take: it is tried twice."""
        return 2 * self.hsm.timeout_seconds

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return (*self.hsm.secret_files(), *_ocsp_secrets(self.status))


def _ocsp_secrets(status: StatusConfig) -> tuple[Path, ...]:
    return status.ocsp.hsm.secret_files() if status.ocsp.hsm is not None else ()


RemoteIssuerConfig = (
    EstIssuerConfig | AcmeIssuerConfig | CmpIssuerConfig | VaultIssuerConfig | CommandIssuerConfig | PluginIssuerConfig
)
IssuerConfig = Annotated[LocalIssuerConfig | Pkcs11IssuerConfig | RemoteIssuerConfig, Field(discriminator="type")]
