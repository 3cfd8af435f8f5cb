"""Issuers with a throwaway CA certificate, to find out how fast their keys sign."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca import ceremony
from ca.backends.hsm import hsm_key
from ca.backends.local import LocalIssuer
from ca.backends.pkcs11 import Pkcs11Issuer
from ca.names import DistinguishedName
from ca.tbs import signer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography import x509

    from ca.backends.hsm import SignerProcess
    from ca.issuer import Issuer
    from ca.tbs import SigningKey

_NAME = DistinguishedName.from_text("CN=Throwaway CA")


def local_issuer(kind: str, now: datetime, *, pss: bool = False) -> tuple[Issuer, Callable[[bytes], bytes]]:
    """Return an issuer with a new key, as `ca.ceremony.generate_key` names kinds, and the key's bare operation."""
    key = ceremony.generate_key(kind)
    return LocalIssuer(key, _certificate(key, now), pss=pss), signer(key, pss=pss)


def hsm_issuer(
    process: SignerProcess, label: str, now: datetime, *, pss: bool = False
) -> tuple[Issuer, Callable[[bytes], bytes]]:
    """Return an issuer with a key that is in an HSM, and the key's bare operation. Raises IssuerError."""
    key = hsm_key(process, label)
    return Pkcs11Issuer(key, _certificate(key, now), pss=pss), signer(key, pss=pss)


def _certificate(key: SigningKey, now: datetime) -> x509.Certificate:
    return ceremony.make_root(_NAME, now=now, key=key).certificate
