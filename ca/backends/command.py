"""A command as the issuing CA: for every CA that nothing here speaks to.

The command gets a JSON document on its standard input and writes the certificate, PEM, to its standard output; how it
ends says what became of the request. ca/README.md has the document and the statuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.backends.pem import csr_pem
from ca.issuer import IssuerPending, IssuerRefused, IssuerUnavailable

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from ca.backends.upstream import Order
    from ca.plan import CertificatePlan

OUTPUT_LIMIT = 1024 * 1024
_SHOWN = 500
_AT_ONCE = 65536
_LONGEST_RETRY = 24 * 3600
_REFUSED = 10


@dataclass(frozen=True, slots=True)
class CommandUpstream:
    """A program.

    Attributes:
        command: the program with its arguments; no shell reads it.
        folder: where it runs.
    """

    command: tuple[str, ...]
    folder: Path

    async def enroll(self, order: Order) -> x509.Certificate:
        """Run the command; see `ca.backends.upstream.Upstream.enroll`. It is killed when the time is over."""
        status, output, said = await _run(self.command, self.folder, document(order))
        match status:
            case 0 if len(output) < OUTPUT_LIMIT:
                return x509.load_pem_x509_certificate(output)
            case 10:
                raise IssuerRefused(f"the command refuses: {said}")
            case 11:
                seconds, _, reference = output.decode().strip().partition(" ")
                raise IssuerPending(min(int(seconds), _LONGEST_RETRY), reference or order.request_id)
            case _:
                raise IssuerUnavailable(f"the command ends with {status}: {said}")

    async def close(self) -> None:
        """Do nothing: nothing is kept."""


@dataclass(frozen=True, slots=True)
class RevokingCommandUpstream(CommandUpstream):
    """A program, with another one for revocations.

    Attributes:
        revoke_command: that program with its arguments.
    """

    revoke_command: tuple[str, ...]

    async def revoke(self, certificate: x509.Certificate, reason: x509.ReasonFlags, at: datetime) -> None:
        """Run the command; see `ca.backends.upstream.RevokingUpstream.revoke`. It may be run twice for the same."""
        about = {
            "certificate": certificate.public_bytes(Encoding.PEM).decode(),
            "serial": format(certificate.serial_number, "x"),
            "reason": reason.value,
            "revoked_at": at.isoformat(),
        }
        status, _, said = await _run(self.revoke_command, self.folder, about)
        if status == _REFUSED:
            raise IssuerRefused(f"the command refuses: {said}")
        if status:
            raise IssuerUnavailable(f"the command ends with {status}: {said}")


async def _run(command: tuple[str, ...], folder: Path, about: dict[str, Any]) -> tuple[int | None, bytes, str]:
    """Run a program with a document on its standard input; return its status, its output and its complaints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, output, complaints = await asyncio.gather(
            _tell(process.stdin, json.dumps(about).encode()),
            _beginning(process.stdout, OUTPUT_LIMIT),
            _beginning(process.stderr, _SHOWN),
        )
        await process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started, also when only that still runs
        await process.wait()
        raise
    return process.returncode, output, complaints.decode(errors="replace").strip()


async def _tell(stream: asyncio.StreamWriter | None, octets: bytes) -> None:
    """Write all to a program, which need not read it."""
    if stream is None:
        raise OSError("no pipe")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stream.write(octets)
        await stream.drain()
    stream.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stream.wait_closed()


async def _beginning(stream: asyncio.StreamReader | None, count: int) -> bytes:
    """Read a stream to its end and return so many octets of its beginning: the rest is kept nowhere."""
    if stream is None:
        raise OSError("no pipe")
    found = b""
    while octets := await stream.read(_AT_ONCE):
        found += octets[: count - len(found)]
    return found


def document(order: Order) -> dict[str, Any]:
    """Return what the command is told."""
    return {
        "request_id": order.request_id,
        "reference": order.reference,
        "csr": csr_pem(order.csr.der),
        "csr_proven": order.proven,
        "plan": plan_document(order.plan),
    }


def plan_document(plan: CertificatePlan) -> dict[str, Any]:
    """Return a plan in words: names as ``dns:…``, purposes and extensions by their dotted numbers, times in UTC."""
    return {
        "issuer": plan.issuer,
        "profile": plan.profile,
        "subject": str(plan.subject),
        "names": [str(name) for name in plan.names],
        "spki": plan.spki.hex(),
        "not_before": plan.not_before.isoformat(),
        "not_after": plan.not_after.isoformat(),
        "key_usage": sorted(plan.key_usage),
        "extended_key_usage": list(plan.extended_key_usage),
        "extensions": [{"oid": e.oid, "critical": e.critical, "value": e.value.hex()} for e in plan.extensions],
    }
