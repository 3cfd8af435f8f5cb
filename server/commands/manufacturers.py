"""What the doctor says of other parties' CAs and of their CRLs, which somebody must bring up to date."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from server.commands.checks import Diagnosis, Level

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from server.config import Config

_SOON = timedelta(days=90)
_SOON_FOR_CRL = timedelta(days=1)


def check_manufacturers(config: Config, now: datetime) -> Iterator[Diagnosis]:
    """Look at other parties' anchors and CRLs; the files can be read, or the server would not start."""
    parties = {name: settings.authenticate.manufacturers for name, settings in config.endpoints.est.items()}
    parties |= {name: settings.alternate_cas for name, settings in config.endpoints.scep.items()}
    for endpoint, listed in parties.items():
        for name, party in listed.items():
            subject = f"{name} at {endpoint}"
            for certificate in x509.load_pem_x509_certificates(party.anchors.read_bytes()):
                yield _anchor(subject, certificate, now)
            for file in party.crls:
                yield _crl(subject, file, now)


def _anchor(subject: str, certificate: x509.Certificate, now: datetime) -> Diagnosis:
    name, end = certificate.subject.rfc4514_string(), certificate.not_valid_after_utc
    if now > end:
        way_out = f"get the CA's new certificate into the anchors of {subject}"
        return Diagnosis(Level.ERROR, subject, f"{name} expired on {end:%Y-%m-%d}: its devices are refused", way_out)
    if now > end - _SOON:
        way_out = f"get the CA's new certificate into the anchors of {subject}"
        return Diagnosis(Level.WARNING, subject, f"{name} ends on {end:%Y-%m-%d}", way_out)
    return Diagnosis(Level.OK, subject, f"{name} is valid until {end:%Y-%m-%d}")


def _crl(subject: str, file: Path, now: datetime) -> Diagnosis:
    octets = file.read_bytes()
    pem = octets.lstrip().startswith(b"-----BEGIN")
    end = (x509.load_pem_x509_crl(octets) if pem else x509.load_der_x509_crl(octets)).next_update_utc
    way_out = "fetch the manufacturer's newest CRL into that file, by a timer"
    if end is None or now >= end:
        told = "has no end" if end is None else f"was in force until {end:%Y-%m-%d %H:%M} UTC"
        return Diagnosis(Level.ERROR, subject, f"{file} {told}: its devices are refused", way_out)
    if now > end - _SOON_FOR_CRL:
        return Diagnosis(Level.WARNING, subject, f"{file} is in force until {end:%Y-%m-%d %H:%M} UTC only", way_out)
    return Diagnosis(Level.OK, subject, f"{file} is in force until {end:%Y-%m-%d %H:%M} UTC")
