"""The issuing CAs of the configuration, made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca.backends.chain import load_chain
from ca.backends.local import load_local_issuer
from ca.backends.pkcs11 import Pkcs11Issuer
from ca.issuer import IssuerKeyUnusable
from policies.document import DocumentErrors
from server.config import LocalIssuerConfig, Pkcs11IssuerConfig

if TYPE_CHECKING:
    from cryptography import x509

    from ca.issuer import Issuer
    from server.app.hsms import Hsms
    from server.app.secret_sources import KeyPath, Reader
    from server.config import IssuerConfig


def load_issuer(name: str, settings: IssuerConfig, reader: Reader, hsms: Hsms) -> Issuer:
    """Return the issuer that is configured under this name.

    Raises:
        DocumentErrors: a file or a secret is not where the configuration says, or a key can't be used.
        IssuerConfigurationError: what is there does not fit together.
    """
    here: KeyPath = ("issuers", name)
    match settings:
        case LocalIssuerConfig():
            return _local(here, settings, reader)
        case Pkcs11IssuerConfig():
            certificate, *chain = _chain(here, settings, reader)
            key = hsms.key((*here, "hsm"), settings.hsm)
            return Pkcs11Issuer(key, certificate, chain, pss=settings.signature == "pss")
        case _:
            from server.app.upstreams import load_upstream_issuer  # noqa: PLC0415 - many protocols, which few need

            return load_upstream_issuer(here, settings, reader)


def _chain(here: KeyPath, settings: IssuerConfig, reader: Reader) -> tuple[x509.Certificate, ...]:
    certificate = reader.file((*here, "certificate"), settings.certificate)
    return load_chain(certificate, reader.file((*here, "chain"), settings.chain))


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
    try:
        return load_local_issuer(certificate, key, passphrase, chain, pss=settings.signature == "pss")
    except IssuerKeyUnusable as error:
        raise DocumentErrors([reader.problem((*here, "key"), f"{settings.key}: {error}")]) from error
