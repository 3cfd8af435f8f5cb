"""``certwright cert``: what was issued."""

from __future__ import annotations

from base64 import encodebytes
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from server.audit import Action, AuditEvent
from server.clock import system_clock
from server.commands import record
from server.commands.record import ByOption, ConfigOption, JsonOption, LimitOption
from server.config.upstreams import UpstreamConfig
from server.credentials.revoking import find_kept
from server.est.records import read_escrow
from server.store import notices
from server.store.certificates import CertificateFilter, RevocationOutcome, find_by_serial, list_certificates
from server.store.revocations import ReleaseOutcome, Revocation
from server.store.revocations import release as release_stored
from server.store.revocations import revoke as revoke_stored

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.store.certificates import StoredCertificate
    from server.store.credentials import StoredCredential

app = typer.Typer(no_args_is_help=True, help="List, show, revoke and release certificates.")

SerialArgument = Annotated[str, typer.Argument(help="The serial number in hex.")]


class RevocationReason(StrEnum):
    """The reasons of RFC 5280 section 5.3.1 that a person may give."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    CA_COMPROMISE = "cACompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    CERTIFICATE_HOLD = "certificateHold"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


@app.command("list")
def list_(
    *,
    text: Annotated[
        str | None, typer.Option(help="Part of the subject, a name, the requester or the serial number.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="Issued through it, like est/default.")] = None,
    profile: Annotated[str | None, typer.Option(help="Issued under it.")] = None,
    revoked: Annotated[bool | None, typer.Option("--revoked/--good", help="Only these.")] = None,
    within: Annotated[
        str | None, typer.Option("--expires-within", help="Only those that end that soon, like 12h or 7d; or in days.")
    ] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List certificates, the newest first."""
    before = None if within is None else _later(within)
    where = record.service(config, endpoint)
    wanted = CertificateFilter(text, where, profile, revoked, before, limit)
    found = record.read(config, lambda connection: list_certificates(connection, wanted))
    record.tell_if_cut(found, limit)
    if as_json:
        record.print_json([_fields(one) for one in found])
        return
    headings = ("serial", "subject", "names", "profile", "endpoint", "requester", "not after", "revoked")
    rows = (
        (
            format(one.serial, "x"),
            one.subject,
            " ".join(one.names),
            one.profile,
            one.endpoint,
            one.requester,
            one.not_after,
            one.revocation_reason,
        )
        for one in found
    )
    record.print_table(headings, rows)


def _later(within: str) -> datetime:
    """Return the moment that is so far away; a number without a unit is one of days."""
    try:
        return system_clock() + record.duration(f"{within}d" if within.isdecimal() else within)
    except OverflowError:
        record.turn_away(f"{within} reaches beyond the year 9999")


@app.command()
def show(serial: SerialArgument, *, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one certificate and print it as PEM."""
    number = record.serial_number(serial)
    found = record.read(config, lambda connection: find_by_serial(connection, number))
    if found is None:
        record.stop(f"no certificate has the serial number {number:x}")
    notice = record.read(config, lambda connection: notices.standing(connection, number))
    fields = {**_fields(found), **_told(notice)}
    pem = x509.load_der_x509_certificate(found.der).public_bytes(Encoding.PEM).decode()
    if as_json:
        record.print_json({**fields, "pem": pem})
        return
    record.print_fields({**fields, "names": found.names})
    typer.echo(pem, nl=False)


@app.command()
def key(
    serial: SerialArgument,
    *,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Print the key that was made for a certificate and kept, encrypted (CMS); that it was read goes on record.

    `openssl cms -decrypt -inform PEM -inkey KEY` opens it with the key of the escrow certificate, to PKCS#8 in DER.
    """
    number = record.serial_number(serial)
    event = AuditEvent(system_clock(), Action.KEY_READ, record.person(by), serial=number).row()
    found = record.write(config, lambda connection: read_escrow(connection, number, event))
    if found is None:
        record.stop(f"no key is kept for a certificate with the serial number {number:x}")
    typer.echo(f"-----BEGIN CMS-----\n{encodebytes(found).decode()}-----END CMS-----")


@app.command()
def revoke(
    serial: SerialArgument,
    *,
    reason: Annotated[RevocationReason, typer.Option(help="Why.")] = RevocationReason.UNSPECIFIED,
    invalid_since: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="Since when it should not have been trusted, in UTC."
        ),
    ] = None,
    challenge: Annotated[
        bool, typer.Option("--challenge", help="Ask for the revocation challenge (RFC 7894) that the device gave.")
    ] = False,
    by: ByOption = None,
    config: ConfigOption = None,
) -> None:
    """Revoke a certificate, from now on; a certificateHold can be lifted by `release`, or be made final.

    Of one that is revoked for another reason it can still be said that its key is compromised (keyCompromise).
    """
    number, now = record.serial_number(serial), system_clock()
    if challenge:
        _expect_challenge(config, number)
    event = AuditEvent(now, Action.REVOKED, record.person(by), serial=number, detail=reason).row()
    since = None if invalid_since is None else invalid_since.replace(tzinfo=UTC)
    if since is not None and since > now:
        record.turn_away("--invalid-since must be in the past")
    revocation = Revocation(number, x509.ReasonFlags(reason.value), now, since)
    outcome = record.write(config, lambda connection: revoke_stored(connection, revocation, event))
    match outcome:
        case RevocationOutcome.REVOKED:
            typer.echo(f"{number:x} is revoked: {reason}")
            _say_who_is_not_told(config, number)
        case RevocationOutcome.ALREADY_REVOKED:
            record.stop(f"{number:x} was revoked before; nothing is changed")
        case RevocationOutcome.UNKNOWN:
            record.stop(f"no certificate has the serial number {number:x}")


@app.command()
def release(serial: SerialArgument, *, by: ByOption = None, config: ConfigOption = None) -> None:
    """Make a certificate good again that is on hold; no other revocation can be undone."""
    number, now = record.serial_number(serial), system_clock()
    event = AuditEvent(now, Action.RELEASED, record.person(by), serial=number).row()
    match record.write(config, lambda connection: release_stored(connection, number, now, event)):
        case ReleaseOutcome.RELEASED:
            typer.echo(f"{number:x} is good again")
        case ReleaseOutcome.NOT_HELD:
            record.stop(f"{number:x} is not on hold; nothing is changed")
        case ReleaseOutcome.UNKNOWN:
            record.stop(f"no certificate has the serial number {number:x}")


def _challenge(connection: sa.Connection, serial: int) -> StoredCredential | None:
    certificate = find_by_serial(connection, serial)
    return None if certificate is None else find_kept(connection, certificate)


def _expect_challenge(config: Path | None, serial: int) -> None:
    """Ask for the secret that came with the request for the certificate; stop when it is another."""
    kept = record.read(config, lambda connection: _challenge(connection, serial))
    if kept is None:
        record.stop(f"no revocation challenge came with {serial:x}")
    try:
        PasswordHasher().verify(kept.argon2 or "", typer.prompt("Revocation challenge", hide_input=True))
    except (VerificationError, InvalidHashError):
        record.stop("that is not the revocation challenge")


def _say_who_is_not_told(config: Path | None, serial: int) -> None:
    """Say so when the certificate is of a CA elsewhere that can't be told of its revocation."""
    found = record.read(config, lambda connection: find_by_serial(connection, serial))
    issuer = record.configuration(config).issuers.get(found.issuer) if found is not None else None
    if found is not None and isinstance(issuer, UpstreamConfig) and not issuer.takes_revocations:
        typer.echo(f"The CA of {found.issuer} can't be told from here: revoke it there too.")


def _told(notice: tuple[datetime | None, str | None] | None) -> dict[str, object]:
    """Return whether the CA elsewhere knows of a revocation; nothing when it need not."""
    return {} if notice is None else {"issuer_told_at": notice[0], "issuer_told_failure": notice[1]}


def _fields(one: StoredCertificate) -> dict[str, object]:
    return {
        "serial": format(one.serial, "x"),
        "subject": one.subject,
        "names": list(one.names),
        "issuer": one.issuer,
        "profile": one.profile,
        "policy_digest": one.policy_digest,
        "endpoint": str(one.endpoint),
        "requester": one.requester,
        "not_before": one.not_before,
        "not_after": one.not_after,
        "issued_at": one.issued_at,
        "revoked_at": one.revoked_at,
        "revocation_reason": one.revocation_reason,
        "request_id": one.request_id,
        "renews": None if one.renews is None else format(one.renews, "x"),
        "sha256": one.fingerprint.hex(),
    }
