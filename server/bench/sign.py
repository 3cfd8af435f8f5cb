"""Signatures a second and what each costs, through an issuer and by its bare key."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.issuer import Permit
from ca.names import DistinguishedName, dns_name
from ca.plan import CertificatePlan, KeyUsage

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ca.issuer import Issuer

CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class SigningCost:
    """What signing costs.

    Attributes:
        a_second: certificates a second, with so many under way at once as `CONCURRENCY` says.
        cpu: CPU milliseconds for each, of this process and the signer process.
        bare_a_second: signatures a second by the bare key, one after the other.
        bare_cpu: CPU milliseconds for each of those.
    """

    a_second: float
    cpu: float
    bare_a_second: float
    bare_cpu: float


def measure_signing(
    issuer: Issuer,
    bare: Callable[[bytes], bytes],
    *,
    count: int,
    now: datetime,
    signer_pid: Callable[[], int | None] = lambda: None,
) -> SigningCost:
    """Issue `count` certificates and make as many bare signatures.

    Args:
        issuer: what issues.
        bare: its key's operation.
        count: how many of each.
        now: the time, for the certificates.
        signer_pid: the process that holds the key, if it is another.
    """
    plan = _plan(now)
    asyncio.run(_issue_all(issuer, plan, min(count, CONCURRENCY)))  # everything is loaded and connected
    seconds, cpu = _timed(lambda: asyncio.run(_issue_all(issuer, plan, count)), signer_pid)
    octets = bytes(600)  # about a TBSCertificate
    bare_seconds, bare_cpu = _timed(lambda: [bare(octets) for _ in range(count)], signer_pid)
    return SigningCost(count / seconds, cpu * 1000 / count, count / bare_seconds, bare_cpu * 1000 / count)


async def _issue_all(issuer: Issuer, plan: CertificatePlan, count: int) -> None:
    numbers = iter(range(1, count + 1))

    async def issue() -> None:
        for number in numbers:
            await issuer.issue(Permit(f"bench-{number}", plan, number), plan, number)

    await asyncio.gather(*(issue() for _ in range(CONCURRENCY)))


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
