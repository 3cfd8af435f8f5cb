"""What ``certwright doctor`` looks at; each check gives its diagnoses, each with the way out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import sqlalchemy as sa
from cryptography import x509

from policies.document import DocumentErrors
from server.app.alternate_chains import load_alternate_chains
from server.app.cmc import read_signer
from server.app.secret_sources import Reader
from server.config import LocalIssuerConfig, Pkcs11IssuerConfig
from server.deployment.ca_files import CaFilesUnusable, is_root, read_certificates
from server.store import current_revision, head_revision
from server.store.database import database_file, reading
from server.store.migrations import way_to_head
from server.store.obstacles import obstacle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from server.app.material import Material
    from server.config import Config

_SOON = timedelta(days=30)
_SOON_FOR_CA = timedelta(days=180)
_LEAST_FREE_BYTES = 100 * 1024 * 1024


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a check found.

    Attributes:
        level: how bad it is.
        subject: what was looked at.
        message: what was found.
        way_out: what to do; empty when there is nothing to do.
    """

    level: Level
    subject: str
    message: str
    way_out: str = ""


def check_files(config: Config) -> Iterator[Diagnosis]:
    """Look whether others than the owner can read what is secret."""
    secret = list(_secret_files(config))
    for path in secret:
        try:
            status = path.stat()
        except OSError:
            continue  # that it can't be read is said where it is loaded
        if stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO) and not _within_private_folder(path):
            yield Diagnosis(
                Level.ERROR, "files", f"{path} can be read by other users of this machine", f"chmod 600 {path}"
            )
        elif status.st_uid != os.getuid():
            yield Diagnosis(
                Level.WARNING,
                "files",
                f"{path} belongs to another user than the one who runs this",
                "run the server and the doctor as the owner of its files",
            )
    for root_key in _root_keys(config):
        yield Diagnosis(
            Level.WARNING,
            "files",
            f"{root_key} is on the server, which never needs it",
            "for production, keep the root's key and its passphrase offline",
        )
    yield from _unwritable(config)
    yield Diagnosis(Level.OK, "files", f"{len(secret)} secret files looked at")


def _unwritable(config: Config) -> Iterator[Diagnosis]:
    """Tell of folders for renewed certificates where this user can't write: the renewals would fail, later."""
    https = config.listeners.https
    folders = [https.renewal.folder] if https is not None and https.renewal is not None else []
    folders += [scep.ra_renewal.folder for scep in config.endpoints.scep.values() if scep.ra_renewal is not None]
    for folder in folders:
        there = next(each for each in (folder, *folder.parents) if os.access(each, os.F_OK))
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            message = f"renewed certificates can't be written to {folder}: this user may not write in {there}"
            yield Diagnosis(Level.ERROR, "files", message, "give the folder to the server's user")


def _root_keys(config: Config) -> Iterator[Path]:
    """Yield the keys of roots that lie where the issuers' certificates are, named as `init` and `ca init` do."""
    for folder in sorted({issuer.certificate.parent for issuer in config.issuers.values()}):
        for key in sorted(folder.glob("*.key")):
            try:
                if is_root(read_certificates(key.with_suffix(".pem"))[0]):
                    yield key
            except CaFilesUnusable:
                continue


def _within_private_folder(path: Path) -> bool:
    return not stat.S_IMODE(path.parent.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)


def _secret_files(config: Config) -> Iterator[Path]:
    https = config.listeners.https
    yield from (file for issuer in config.issuers.values() for file in issuer.secret_files())
    keyed: list[tuple[Path, Path | None]] = []
    yield from (
        file for endpoint in config.endpoints.scep.values() for ra in endpoint.every_ra() for file in ra.secret_files()
    )
    keyed += [(https.key, https.passphrase_file)] if https is not None else []
    for key, passphrase in keyed:
        yield key
        if passphrase is not None:
            yield passphrase
    for est in config.endpoints.est.values():
        if est.authenticate.passwords is not None:
            yield est.authenticate.passwords
        if est.fullcmc is not None:
            yield from est.fullcmc.secret_files()
    for scep in config.endpoints.scep.values():
        yield from scep.authorization_files()
    for acme in config.endpoints.acme.values():
        if acme.external_accounts is not None and acme.external_accounts.sealing_key.file is not None:
            yield acme.external_accounts.sealing_key.file


def check_certificates(config: Config, material: Material, now: datetime) -> Iterator[Diagnosis]:
    """Look at the validity of every certificate that the server works with, and at the names in its own."""
    for name, issuer in material.issuers.items():
        for certificate in issuer.chain():
            yield _validity(f"issuer {name}", certificate, now, _SOON_FOR_CA, "make a new CA certificate in time")
    for endpoint, keys in material.ra_keys.items():
        for ra in keys.live():
            yield _validity(f"RA of {endpoint}", ra.certificate, now, _SOON, "make a new RA certificate")
    for endpoint, est in config.endpoints.est.items():
        if est.fullcmc is not None and est.fullcmc.signer is not None:
            _, chain = read_signer(est.fullcmc.signer, ("endpoints", str(endpoint), "fullcmc", "signer"), config)
            certificate = x509.load_der_x509_certificate(chain[0].der)
            yield _validity(f"CMC signer of {endpoint}", certificate, now, _SOON, "make a new CMC certificate")
    yield from _alternate_chains(config, material, now)
    for certificate in material.tls_chain:
        yield _validity(
            "TLS", certificate, now, _SOON, "get a new certificate for the https listener, or write renewal: {…} there"
        )
    if config.listeners.https is not None and material.tls_chain:
        yield from _names(material.tls_chain[0], config.listeners.https.origins())


def _alternate_chains(config: Config, material: Material, now: datetime) -> Iterator[Diagnosis]:
    issuing = [issuer.chain()[0] for issuer in material.issuers.values()]
    for endpoint in config.endpoints.acme:
        subject = f"alternate chains of {endpoint}"
        try:
            chains = load_alternate_chains(endpoint, config, Reader(config), issuing)
        except DocumentErrors as errors:
            for problem in errors.problems:
                yield Diagnosis(Level.ERROR, subject, problem.message, f"correct it in {problem.location}")
            continue
        for certificate in (each for chain in chains for each in chain):
            yield _validity(subject, certificate, now, _SOON_FOR_CA, "get a newer chain, or take it out")


def _validity(subject: str, certificate: x509.Certificate, now: datetime, soon: timedelta, way_out: str) -> Diagnosis:
    name = certificate.subject.rfc4514_string()
    end = certificate.not_valid_after_utc
    if now < certificate.not_valid_before_utc:
        begin = certificate.not_valid_before_utc
        return Diagnosis(
            Level.ERROR, subject, f"{name} is valid only from {begin:%Y-%m-%d %H:%M} UTC", "check the clock"
        )
    if now > end:
        return Diagnosis(Level.ERROR, subject, f"{name} expired on {end:%Y-%m-%d}", way_out)
    if now > end - soon:
        return Diagnosis(Level.WARNING, subject, f"{name} ends on {end:%Y-%m-%d}, in {(end - now).days} days", way_out)
    return Diagnosis(Level.OK, subject, f"{name} is valid until {end:%Y-%m-%d}")


def _names(certificate: x509.Certificate, origins: tuple[str, ...]) -> Iterator[Diagnosis]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        yield Diagnosis(
            Level.ERROR, "TLS", "the certificate has no subjectAltName", "no client accepts that: get another"
        )
        return
    dns = {name.lower() for name in san.get_values_for_type(x509.DNSName)}
    addresses = set(san.get_values_for_type(x509.IPAddress))
    for origin in origins:
        host = urlsplit(origin).hostname or ""
        try:
            covered = ip_address(host) in addresses
        except ValueError:
            covered = host in dns or f"*.{host.partition('.')[2]}" in dns
        if not covered:
            yield Diagnosis(
                Level.ERROR,
                "TLS",
                f"the certificate is not for {host}, which external_urls names",
                "get a certificate with that name, or correct external_urls",
            )


def check_database(config: Config) -> Iterator[Diagnosis]:
    """Look whether the database is there, whole, of this version and has room to grow."""
    file = database_file(config.database_url)
    hindrance = obstacle(file)
    if hindrance is not None:
        what, _, way_out = hindrance.partition(": ")
        yield Diagnosis(Level.ERROR, "database", f"{file}: {what}", way_out)
        return
    try:
        found = current_revision(config.database_url)
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", error))
        yield Diagnosis(Level.ERROR, "database", f"{file}: {cause}", "restore it from a copy")
        return
    if found is None:
        yield Diagnosis(Level.OK, "database", f"{file} is not there yet; the first start makes it")
    elif found != head_revision():
        yield Diagnosis(
            Level.ERROR, "database", f"{file} has schema {found}, not {head_revision()}", way_to_head(found)
        )
    else:
        yield _integrity(file)
    free = shutil.disk_usage(file.parent).free
    if free < _LEAST_FREE_BYTES:
        yield Diagnosis(
            Level.WARNING,
            "database",
            f"only {free // 2**20} MiB are free on its disk",
            "make room: nothing is issued when it is full",
        )


def _integrity(file: Path) -> Diagnosis:
    try:
        with reading(file) as connection:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        result = str(error)
    if result != "ok":
        return Diagnosis(Level.ERROR, "database", f"{file} is damaged: {result}", "restore it from a copy")
    return Diagnosis(Level.OK, "database", f"{file} is whole and of this version")


def check_addresses(config: Config) -> Iterator[Diagnosis]:
    """Look whether a server for others gives out certificates whose status only this machine can ask for."""
    if config.listeners.http is None or _is_here(config.listeners.http.address):
        return
    for name, issuer in config.issuers.items():
        url = issuer.status.url if isinstance(issuer, LocalIssuerConfig | Pkcs11IssuerConfig) else None
        if url is not None and _is_here(urlsplit(url).hostname or ""):
            message = f"certificates say that their status is at {url}, which only this machine reaches"
            way_out = (
                f"write the http listener as relying parties reach it in {config.locate('issuers', name, 'status')}"
            )
            yield Diagnosis(Level.WARNING, f"issuer {name}", message, way_out)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_user() -> Iterator[Diagnosis]:
    """Look who runs this."""
    if os.getuid() == 0:
        yield Diagnosis(Level.WARNING, "user", "this runs as root", "run the server as a user of its own")
