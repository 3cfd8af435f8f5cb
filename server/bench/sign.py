"""Certificates a second and what each costs, beside the bare key's signatures."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.names import DistinguishedName, dns_name
from ca.plan import CertificatePlan, KeyUsage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from server.app.signing import Throwaway


@dataclass(frozen=True, slots=True)
class SigningCost:
    """What signing costs.

    Attributes:
        a_second: certificates a second, one after the other: written, signed, read again.
        cpu: CPU milliseconds for each, of this process and the signer process.
        bare_a_second: signatures a second by the bare key.
        bare_cpu: CPU milliseconds for each of those.
    """

    a_second: float
    cpu: float
    bare_a_second: float
    bare_cpu: float


def measure_signing(
    key: Throwaway, *, count: int, now: datetime, signer_pid: Callable[[], int | None] = lambda: None
) -> SigningCost:
    """Make `count` certificates and as many bare signatures.

    Args:
        key: what signs.
        count: how many of each.
        now: the time, for the certificates.
        signer_pid: the process that holds the key, if it is another.
    """
    plan = _plan(now)
    key.certify(plan, 1)  # everything is loaded and connected
    seconds, cpu = _timed(lambda: [key.certify(plan, serial) for serial in range(1, count + 1)], signer_pid)
    octets = bytes(600)  # about a TBSCertificate
    bare_seconds, bare_cpu = _timed(lambda: [key.sign(octets) for _ in range(count)], signer_pid)
    return SigningCost(count / seconds, cpu * 1000 / count, count / bare_seconds, bare_cpu * 1000 / count)


def _timed(work: Callable[[], object], signer_pid: Callable[[], int | None]) -> tuple[float, float]:
    """Return wall and CPU seconds of some work."""
    pid = signer_pid()
    began, spent = time.perf_counter(), time.process_time() + _cpu_of(pid)
    work()
    return time.perf_counter() - began, time.process_time() + _cpu_of(pid) - spent


def _cpu_of(pid: int | None) -> float:
    """Return user and system seconds of another process, nothing for none."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    ticks: int = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks


def _plan(now: datetime) -> CertificatePlan:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    begin = now.replace(microsecond=0)
    return CertificatePlan(
        issuer="bench",
        profile="bench",
        policy_digest="0" * 64,
        subject=DistinguishedName.from_text("CN=device-1"),
        names=(dns_name("device-1.example"),),
        spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        not_before=begin,
        not_after=begin + timedelta(days=90),
        key_usage=frozenset({KeyUsage.DIGITAL_SIGNATURE}),
        extended_key_usage=("1.3.6.1.5.5.7.3.2",),
    )
