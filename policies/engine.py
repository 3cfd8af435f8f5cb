"""Decisions. Every rule runs, every reason is reported; any finding denies; an exception denies."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

from ca.names import DistinguishedName
from ca.plan import CertificatePlan
from policies.decision import Approved, Deferred, Denied, Finding, Trace
from policies.rules import (
    conditions,
    evidence,
    identity,
    key,
    lookups,
    names,
    order,
    quota,
    renewal,
    subject,
    unused,
    usages,
    validity,
)
from policies.ruling import Draft, Report, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from ca.names import GeneralName
    from ca.plan import KeyUsage, PlannedExtension
    from policies.decision import Decision, QuotaLimits
    from policies.profile import Profile
    from policies.ruling import Question
    from policies.sections import Approval

RULES: tuple[Rule, ...] = (
    Rule("evidence", evidence.judge),
    Rule("key", key.judge),
    Rule("order", order.judge),
    Rule("identity", identity.judge),
    Rule("unused", unused.judge),
    Rule("renewal", renewal.judge),
    Rule("lookups", lookups.judge),
    Rule("quota", quota.judge),
    Rule("rules", conditions.judge),
)
"""The rules over a request and the certificate drafted for it; their order is that of the trace and nothing else."""

T = TypeVar("T")

_NO_SUBJECT = DistinguishedName()
_NO_NAMES: tuple[GeneralName, ...] = ()
_NO_USAGE: frozenset[KeyUsage] = frozenset()
_NO_PURPOSES: tuple[str, ...] = ()
_NO_PERIOD: tuple[datetime, datetime] | None = None


def decide(question: Question, rules: Sequence[Rule] = RULES) -> Decision:
    """Judge a request under one profile. Never raises.

    Args:
        question: the request, the profile, the issuer's facts and the ceilings.
        rules: what to judge by, besides the parts of the certificate themselves.

    Returns:
        Denied when there is any finding; Deferred when there is none and the profile wants a person to approve; else
        Approved. The plan of the last two is built from what the profile allows.
    """
    report = Report()
    draft = _draft(question, report)
    for rule in rules:
        try:
            rule.judge(question, draft, report)
        except Exception as error:  # noqa: BLE001 - any fault of a rule denies
            report.faulty(rule.id, question.profile.place(rule.id), error)
    profile = question.profile
    trace = Trace(profile.name, profile.digest, tuple(report.entries), tuple(report.ignored), (), tuple(report.shadows))
    if report.findings:
        return Denied(tuple(report.findings), trace)
    issuer, extensions, full, limits, approval = profile.prepared(_constant)
    plan = _plan(question, draft, issuer, extensions)
    if approval is not None and conditions.is_approval_needed(question, draft, approval):
        message = "a person must approve this request" if approval.count == 1 else "persons must approve this request"
        finding = Finding("approval", message, profile.place("approval"), limit=approval.limit)
        return Deferred((finding,), plan, trace, full, approval.terms, limits)
    return Approved(plan, trace, full, limits)


def objections_to_names(question: Question) -> tuple[Finding, ...]:
    """Return what `decide` would find while it builds the names of the certificate. Never raises."""
    report = Report()
    _part("names", question, names.build, _NO_NAMES, report)
    return tuple(report.findings)


def _draft(question: Question, report: Report) -> Draft:
    """Build each part of the certificate; a part that can't be built denies and is empty."""
    subject_ = _part("subject", question, subject.build, _NO_SUBJECT, report)
    names_ = _part("names", question, names.build, _NO_NAMES, report)
    key_usage = _part("key_usage", question, usages.build_key_usage, _NO_USAGE, report)
    purposes = _part("extended_key_usage", question, usages.build_purposes, _NO_PURPOSES, report)
    period = _part("validity", question, validity.build, _NO_PERIOD, report)
    if period is None:
        now = question.request.now.astimezone(UTC)
        period = now, now
    return Draft(subject_, names_, key_usage, purposes, *period)


def _part(rule: str, question: Question, build: Callable[[Question, Report], T], empty: T, report: Report) -> T:
    try:
        return build(question, report)
    except Exception as error:  # noqa: BLE001 - any fault of a rule denies
        report.faulty(rule, question.profile.place(rule), error)
        return empty


def _constant(
    profile: Profile,
) -> tuple[str, tuple[PlannedExtension, ...], bool, QuotaLimits | None, Approval | None]:
    """Return what all decisions under a profile have of it: issuer, extensions, full lint, quota and approval."""
    sections = profile.sections
    limits = None if sections.quota is None else sections.quota.limits
    return sections.issuer, sections.extensions.planned, sections.lint == "always", limits, sections.approval


def _plan(question: Question, draft: Draft, issuer: str, extensions: tuple[PlannedExtension, ...]) -> CertificatePlan:
    profile, (subject_, names_, key_usage, purposes, not_before, not_after) = question.profile, draft
    return CertificatePlan(
        issuer,
        profile.name,
        profile.digest,
        subject_,
        names_,
        question.request.csr.spki,
        not_before,
        not_after,
        key_usage,
        purposes,
        extensions,
    )
