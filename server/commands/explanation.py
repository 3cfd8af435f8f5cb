"""A decision on the terminal: the verdict and why, every check with its place, what was asked for and what comes."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from policies.asked import read_request
from policies.decision import Approved, Deferred, Denied, Verdict
from policies.words import PURPOSE_NAMES, name_of
from server.commands.record import text_of

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
    console.print(_line(f"profile: {trace.profile or 'none applies'}   requester: {request.requester.identity}", "dim"))
    if not isinstance(decision, Approved):
        console.print()
        for finding in decision.findings:
            console.print(Text.assemble(("  • ", style), _line(finding.message)))
            console.print(_line(f"    {finding.location}  {finding.rule}", "dim"))
            if finding.value or finding.limit:
                value, limit = finding.value or "-", finding.limit or "-"
                console.print(_line(f"    asked for: {value}   allowed: {limit}", "dim"))
    for reason in trace.considered:
        console.print(_line(f"  considered: {reason}"))
    if trace.checks:
        console.print()
        console.print(_checks(trace))
    if not isinstance(decision, Denied):
        console.print()
        console.print(_comparison(request, decision.plan))
    for finding in trace.shadows:
        console.print(
            _line(f"  on trial, would deny: {finding.message} ({finding.rule}, {finding.location})", "yellow")
        )
    for phrase in trace.ignored:
        console.print(_line(f"  ignored: {phrase}", "yellow"))


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
        table.add_row(Text(sign, style=style), *map(_line, row))
    return table


def _comparison(request: EnrollmentRequest, plan: CertificatePlan) -> Table:
    asked = read_request(request)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "the CSR asks for", "the certificate gets"):
        table.add_column(heading, overflow="fold")
    rows = (
        ("subject", str(request.csr.subject), str(plan.subject)),
        ("names", request.csr.names, plan.names),
        ("key", str(request.csr.key_shape), str(request.csr.key_shape)),
        ("key usage", sorted(asked.key_usage), sorted(plan.key_usage)),
        ("extended key usage", _purposes(asked.purposes), _purposes(plan.extended_key_usage)),
        ("CA", "yes" if asked.ca else "", "yes" if plan.ca else "no"),
        ("not before", "", f"{plan.not_before:%Y-%m-%d %H:%M:%S} UTC"),
        ("not after", "", f"{plan.not_after:%Y-%m-%d %H:%M:%S} UTC"),
        ("issuer", "", plan.issuer),
    )
    for heading, *texts in rows:
        table.add_row(heading, *(Text(text_of(text) or "-") for text in texts))
    return table


def _line(text: str, style: str = "") -> Text:
    """Return a line; what came from outside neither is markup nor steers the terminal."""
    return Text(text_of(text), style)


def _purposes(oids: Iterable[str]) -> list[str]:
    return [name_of(oid, PURPOSE_NAMES) for oid in oids]
