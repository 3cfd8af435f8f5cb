"""The issuing CAs of the configuration, made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca.backends.local import load_local_issuer

if TYPE_CHECKING:
    from ca.issuer import Issuer
    from server.app.secret_sources import KeyPath, Reader
    from server.config import IssuerConfig, LocalIssuerConfig


def load_issuer(name: str, settings: IssuerConfig, reader: Reader) -> Issuer:
    """Return the issuer that is configured under this name.

    Raises:
        DocumentErrors: a file or a secret is not where the configuration says.
        IssuerConfigurationError: what is there does not fit together.
    """
    return _local(("issuers", name), settings, reader)


def _local(here: KeyPath, settings: LocalIssuerConfig, reader: Reader) -> Issuer:
    certificate = reader.file((*here, "certificate"), settings.certificate)
    chain = reader.file((*here, "chain"), settings.chain)
    key = reader.file((*here, "key"), settings.key)
    if settings.passphrase is not None:
        passphrase = reader.secret((*here, "passphrase"), settings.passphrase)
    elif settings.passphrase_file is not None:
        passphrase = reader.file((*here, "passphrase_file"), settings.passphrase_file).rstrip(b"\r\n")
    else:
        passphrase = b""
    return load_local_issuer(certificate, key, passphrase, chain, pss=settings.signature == "pss")
