"""A decision on the terminal: the verdict and why, every check with its place, what was asked for and what comes."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from policies.asked import read_request
from policies.decision import Approved, Deferred, Denied, Verdict
from policies.words import PURPOSE_NAMES, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from ca.plan import CertificatePlan
    from policies.decision import Decision, Trace
    from policies.request import EnrollmentRequest

_VERDICTS = {
    Verdict.PASS: ("✓", "green"),
    Verdict.FAIL: ("✗", "red"),
    Verdict.ERROR: ("!", "red"),
    Verdict.SHADOW: ("~", "yellow"),
}


def print_explanation(console: Console, request: EnrollmentRequest, decision: Decision) -> None:
    """Print all that there is to know about a decision; for administrators."""
    trace = decision.trace
    words, style = _headline(decision)
    console.print(Text(words, style=style))
    console.print(f"profile: {trace.profile or 'none applies'}   requester: {request.requester.identity}", style="dim")
    if not isinstance(decision, Approved):
        console.print()
        for finding in decision.findings:
            console.print(Text.assemble(("  • ", style), finding.message))
            console.print(Text(f"    {finding.location}  {finding.rule}", style="dim"))
            if finding.value or finding.limit:
                value, limit = finding.value or "-", finding.limit or "-"
                console.print(Text(f"    asked for: {value}   allowed: {limit}", style="dim"))
    for reason in trace.considered:
        console.print(Text(f"  considered: {reason}"))
    if trace.checks:
        console.print()
        console.print(_checks(trace))
    if not isinstance(decision, Denied):
        console.print()
        console.print(_comparison(request, decision.plan))
    for finding in trace.shadows:
        console.print(Text(f"  on trial, would deny: {finding.message} ({finding.rule}, {finding.location})", "yellow"))
    for phrase in trace.ignored:
        console.print(Text(f"  ignored: {phrase}", style="yellow"))


def _headline(decision: Decision) -> tuple[str, str]:
    match decision:
        case Approved():
            return "APPROVED", "bold green"
        case Deferred():
            return "DEFERRED: a person must approve", "bold yellow"
        case Denied():
            return f"DENIED, for {len(decision.findings)} reason{'s'[: len(decision.findings) > 1]}", "bold red"


def _checks(trace: Trace) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "check", "asked for", "allowed"):
        table.add_column(heading, overflow="fold")
    table.add_column("where", no_wrap=True)
    for check in trace.checks:
        sign, style = _VERDICTS[check.verdict]
        place = f"{PurePath(check.location.file).name}:{check.location.line}"
        row = (check.rule, check.value, check.limit, place)
        table.add_row(Text(sign, style=style), *map(Text, row))
    return table


def _comparison(request: EnrollmentRequest, plan: CertificatePlan) -> Table:
    asked = read_request(request)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "the CSR asks for", "the certificate gets"):
        table.add_column(heading, overflow="fold")
    rows = (
        ("subject", str(request.csr.subject), str(plan.subject)),
        ("names", _lines(request.csr.names), _lines(plan.names)),
        ("key", str(request.csr.key_shape), str(request.csr.key_shape)),
        ("key usage", _lines(sorted(asked.key_usage)), _lines(sorted(plan.key_usage))),
        ("extended key usage", _purposes(asked.purposes), _purposes(plan.extended_key_usage)),
        ("CA", "yes" if asked.ca else "", "yes" if plan.ca else "no"),
        ("not before", "", f"{plan.not_before:%Y-%m-%d %H:%M:%S} UTC"),
        ("not after", "", f"{plan.not_after:%Y-%m-%d %H:%M:%S} UTC"),
        ("issuer", "", plan.issuer),
    )
    for heading, *texts in rows:
        table.add_row(heading, *(Text(text or "-") for text in texts))
    return table


def _lines(values: Iterable[object]) -> str:
    return "\n".join(map(str, values))


def _purposes(oids: Iterable[str]) -> str:
    return _lines(name_of(oid, PURPOSE_NAMES) for oid in oids)
