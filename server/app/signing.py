"""Keys with a throwaway CA certificate, to find out how fast they sign; no issuer, so no way around the door."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from cryptography import x509

from ca import ceremony
from ca.backends.hsm import hsm_key
from ca.names import DistinguishedName
from ca.tbs import IssuerProfile, signer, write_certificate, write_tbs

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ca.backends.hsm import SignerProcess
    from ca.plan import CertificatePlan
    from ca.tbs import SigningKey

_NAME = DistinguishedName.from_text("CN=Throwaway CA")


class Throwaway(NamedTuple):
    """A key at work: `certify` makes a certificate of a plan as an issuer does, `sign` is the key's bare operation."""

    certify: Callable[[CertificatePlan, int], x509.Certificate]
    sign: Callable[[bytes], bytes]


def local_throwaway(kind: str, now: datetime, *, pss: bool = False) -> Throwaway:
    """Return a new key, of a kind as `ca.ceremony.generate_key` names it. Raises ValueError and UnusableKey."""
    return _throwaway(ceremony.generate_key(kind), now, pss=pss)


def hsm_throwaway(process: SignerProcess, label: str, now: datetime) -> Throwaway:
    """Return a key that is in an HSM. Raises IssuerError."""
    return _throwaway(hsm_key(process, label), now)


def _throwaway(key: SigningKey, now: datetime, *, pss: bool = False) -> Throwaway:
    profile = IssuerProfile.of(ceremony.make_root(_NAME, now=now, key=key).certificate, pss=pss)
    sign = signer(key, pss=pss)

    def certify(plan: CertificatePlan, serial: int) -> x509.Certificate:
        tbs = write_tbs(plan, serial, profile)
        return x509.load_der_x509_certificate(write_certificate(tbs, profile, sign(tbs)))

    return Throwaway(certify, sign)
