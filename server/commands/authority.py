"""``certwright ca show|init|import|sign|rollover``: the life of a CA whose key, or whose root's key, is a file."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ca.ceremony import (
    Credential,
    certify_issuing_ca,
    generate_key,
    make_ca_request,
    make_cross_certificate,
    make_issuing_ca,
    make_root,
)
from ca.keys import key_shape
from ca.names import DistinguishedName, MalformedName, subject_of
from server.clock import system_clock
from server.commands import record
from server.commands.record import ConfigOption, JsonOption
from server.deployment import ca_files
from server.deployment.ca_files import CaFilesUnusable
from server.deployment.files import all_or_nothing, write_public
from server.status import records
from server.status.records import Scope
from server.store import notices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509

    from ca.tbs import SigningKey

T = TypeVar("T")
KINDS = ("P-256", "P-384", "P-521", "rsa:3072", "rsa:4096", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise typer.BadParameter("a name is letters, digits, dots, dashes and underscores")
    return text


_Name = Annotated[
    str, typer.Argument(help="The CA's name: of its files, and of the issuer in server.yaml.", callback=_name)
]
_NewFolder = Annotated[Path, typer.Option(help="Where the CA's files go; made when it is not there.", file_okay=False)]
_Folder = Annotated[Path, typer.Option(help="Where the CA's files are.", exists=True, file_okay=False)]
_Kind = Annotated[str, typer.Option(help=f"The kind of key: {', '.join(KINDS)}.")]
_Days = Annotated[int, typer.Option(min=1, max=36500, help="For how long the certificate is valid.")]


def show(*, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show each issuing CA: its certificate, its key, its newest revocation list."""
    loaded = record.configuration(config)
    rows = []
    for name, issuer in loaded.issuers.items():
        with _told():
            certificate = _given(ca_files.read_certificates, issuer.certificate)[0]
        standing = record.read(config, partial(records.standing, scope=Scope(name)))
        untold = record.read(config, partial(notices.untold, issuer=name))
        told = {"untold_revocations": untold.count, "last_failure": untold.error}
        rows.append({"name": name, "type": issuer.type, **_about(certificate), **_list(standing), **told})
    if as_json:
        record.print_json(rows)
        return
    for row in rows:
        record.print_fields(row)
        typer.echo()


def init(
    name: _Name,
    *,
    subject: Annotated[str, typer.Option(help="The issuing CA's name, like CN=Issuing CA 1,O=Example.")],
    root_subject: Annotated[str | None, typer.Option(help="Make a root of this name above it, NAME-root.")] = None,
    under: Annotated[str | None, typer.Option(help="The name of a root whose files are in the folder.")] = None,
    key: _Kind = "P-256",
    days: _Days = 1825,
    folder: _NewFolder = Path("ca"),
) -> None:
    """Make an issuing CA: with a new root, under one that is here, or (with neither) a request for a root elsewhere."""
    if root_subject is not None and under is not None:
        raise typer.BadParameter("a new root or one that is here, not both", param_hint="--under")
    own, distinguished = generate_key(_kind(key)), _subject(subject)
    with _told():
        folder.mkdir(mode=0o700, exist_ok=True)
        ca_files.expect_free(folder, name)
        if root_subject is None and under is None:
            _request(folder, name, own, distinguished)
            return
        root = _root(folder, under) if under else _new_root(folder, f"{name}-root", root_subject, key)
        issuing = make_issuing_ca(root, distinguished, now=system_clock(), lifetime=timedelta(days=days), key=own)
        ca_files.write_key(folder, name, own)
        ca_files.write_certificates(folder, name, [issuing.certificate, root.certificate])
    _say_end(issuing.certificate, root)
    _say_stanza(folder, name)


def sign(
    name: _Name,
    request: Annotated[Path, typer.Argument(help="PEM of the request, as `ca hsm csr` prints it.", exists=True)],
    *,
    under: Annotated[str, typer.Option(help="The name of a root whose files are in the folder.")],
    days: _Days = 1825,
    folder: _Folder = Path("ca"),
) -> None:
    """Give an issuing CA whose key is elsewhere, such as in an HSM, its certificate under a root that is here."""
    with _told():
        ca_files.expect_free(folder, name)
        asked = _given(ca_files.read_request, request)
        root = _root(folder, under)
        try:
            issued = certify_issuing_ca(root, asked, now=system_clock(), lifetime=timedelta(days=days))
        except ValueError as error:
            record.stop(f"{request}: {error}")
        ca_files.write_certificates(folder, name, [issued, root.certificate])
    _say_end(issued, root)
    typer.echo(
        f"{name} is ready. In server.yaml, with paths from its folder, and with what reaches the key:\nissuers:\n"
        f"  {name}: {{type: pkcs11, certificate: {folder}/{name}.pem, chain: {folder}/{name}-chain.pem, hsm: {{…}}}}"
    )


def import_(
    name: _Name,
    certificate: Annotated[Path, typer.Argument(help="PEM of the certificate that the root gave.", exists=True)],
    *,
    chain: Annotated[
        Path | None, typer.Option(help="PEM of the certificates above it, root last.", exists=True)
    ] = None,
    folder: _Folder = Path("ca"),
) -> None:
    """Take the certificate that a root elsewhere gave for the request of `ca init`."""
    with _told():
        own, *above = _given(ca_files.read_certificates, certificate)
        above += _given(ca_files.read_certificates, chain) if chain is not None else []
        objection = ca_files.objection(own, ca_files.read_key(folder, name), above)
        if objection is not None:
            record.stop(objection)
        ca_files.write_certificates(folder, name, [own, *above])
    _say_stanza(folder, name)


def rollover(
    name: Annotated[str, typer.Argument(help="The name of a root whose files are in the folder.")],
    *,
    to: Annotated[str, typer.Option(help="The name of the new root's files.", callback=_name)],
    key: _Kind = "P-256",
    days: _Days = 3650,
    folder: _Folder = Path("ca"),
) -> None:
    """Give a root a new key, with cross certificates in both directions (RFC 4210 section 4.4)."""
    now = system_clock()
    with _told():
        old = ca_files.read_credential(folder, name)
        if not ca_files.is_root(old.certificate):
            record.stop(f"{name} is no root: make its successor with ca init NEW --under ROOT and configure both")
        ca_files.expect_free(folder, to)
        made = generate_key(_kind(key))
        new = make_root(subject_of(old.certificate), now=now, lifetime=timedelta(days=days), key=made)
        ca_files.write_key(folder, to, made)
        ca_files.write_certificates(folder, to, [new.certificate])
        crosses = {"new-with-old": (new.certificate, old), "old-with-new": (old.certificate, new)}
        for suffix, (of, by) in crosses.items():
            ca_files.write_certificate(folder, f"{to}-{suffix}", make_cross_certificate(of, by, now=now))
    typer.echo(
        f"{to} is the new root. Who trusts only {name} needs {to}-new-with-old.pem in the chain, who trusts only {to} "
        f"needs {to}-old-with-new.pem.\nNext: certwright ca init NEW --under {to}, and configure both issuers: "
        "the old one signs revocation lists until its last certificate has ended."
    )


def _request(folder: Path, name: str, key: SigningKey, subject: DistinguishedName) -> None:
    ca_files.write_key(folder, name, key)
    path = folder / f"{name}.csr"
    write_public(path, make_ca_request(key, subject).public_bytes(Encoding.PEM))
    typer.echo(f"{path} is for the root.\nNext: certwright ca import {name} CERTIFICATE --chain ROOT --folder {folder}")


def _root(folder: Path, name: str) -> Credential:
    """Return a root that is here. An issuing CA is none: there may be no CA below it (RFC 5280 section 4.2.1.9)."""
    root = ca_files.read_credential(folder, name)
    if not ca_files.is_root(root.certificate):
        record.stop(f"{name} is no root")
    return root


def _new_root(folder: Path, name: str, subject: str | None, kind: str) -> Credential:
    root = make_root(_subject(subject or ""), now=system_clock(), key=generate_key(kind))
    ca_files.write_key(folder, name, root.key)
    ca_files.write_certificates(folder, name, [root.certificate])
    typer.echo(f"The server never needs {folder / name}.key and its passphrase: keep them elsewhere.")
    return root


def _say_end(issued: x509.Certificate, root: Credential) -> None:
    if issued.not_valid_after_utc == root.certificate.not_valid_after_utc:
        typer.echo(f"Its certificate ends with its root's, on {issued.not_valid_after_utc:%Y-%m-%d}.")


def _say_stanza(folder: Path, name: str) -> None:
    files = f"certificate: {folder}/{name}.pem, chain: {folder}/{name}-chain.pem, key: {folder}/{name}.key"
    typer.echo(
        f"{name} is ready. In server.yaml, with paths from its folder:\nissuers:\n"
        f"  {name}: {{type: local, {files}, passphrase_file: {folder}/{name}.passphrase}}"
    )


def _kind(text: str) -> str:
    if text not in KINDS:
        raise typer.BadParameter(f"one of {', '.join(KINDS)}", param_hint="--key")
    return text


def _subject(text: str) -> DistinguishedName:
    try:
        subject = DistinguishedName.from_text(text)
    except MalformedName as error:
        raise typer.BadParameter(str(error), param_hint="--subject") from error
    if not subject:
        raise typer.BadParameter("a CA needs a name", param_hint="--subject")
    return subject


def _about(certificate: x509.Certificate) -> dict[str, object]:
    return {
        "subject": str(subject_of(certificate)),
        "issuer": certificate.issuer.rfc4514_string(),
        "key": str(key_shape(certificate.public_key())),
        "serial": format(certificate.serial_number, "x"),
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "days_left": (certificate.not_valid_after_utc - system_clock()).days,
        "sha256": certificate.fingerprint(SHA256()).hex(),
        # Routers show these two when they ask whether it is the right CA (RFC 8894 section 2.2, and before it).
        "sha1": certificate.fingerprint(SHA1()).hex(),  # noqa: S303 - as above
        "md5": certificate.fingerprint(MD5()).hex(),  # noqa: S303 - as above
    }


def _list(standing: records.Standing) -> dict[str, object]:
    full = standing.full
    if full is None:
        return {"crl_number": None, "crl_next_update": None, "revoked": None}
    return {"crl_number": full.number, "crl_next_update": full.next_update, "revoked": full.entries}


def _given(load: Callable[[Path], T], path: Path) -> T:
    """Read a file that the command line or the configuration names; turn away when it is none of that kind."""
    try:
        return load(path)
    except CaFilesUnusable as error:
        record.turn_away(str(error))


@contextmanager
def _told() -> Iterator[None]:
    """Say what is wrong with files, and end with status 1; nothing is overwritten, and what fails leaves nothing."""
    try:
        with all_or_nothing():
            yield
    except CaFilesUnusable as error:
        record.stop(str(error))
    except FileExistsError as error:
        record.stop(f"{error.filename} is there already; nothing is overwritten")
    except OSError as error:
        record.stop(f"{error.filename}: {error.strerror}")
