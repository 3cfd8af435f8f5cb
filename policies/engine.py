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

    from ca.names import GeneralName
    from ca.plan import KeyUsage
    from policies.decision import Decision
    from policies.ruling import Question

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

_NO_NAMES: tuple[GeneralName, ...] = ()
_NO_USAGE: frozenset[KeyUsage] = frozenset()
_NO_PURPOSES: tuple[str, ...] = ()


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
    trace = Trace(
        profile.name, profile.digest, tuple(report.checks), tuple(report.ignored), shadows=tuple(report.shadows)
    )
    if report.findings:
        return Denied(tuple(report.findings), trace)
    plan, full = _plan(question, draft), profile.sections.lint == "always"
    limits = None if profile.sections.quota is None else profile.sections.quota.limits
    approval = profile.sections.approval
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
    now = question.request.now.astimezone(UTC)
    return Draft(
        _part("subject", question, subject.build, DistinguishedName(), report),
        _part("names", question, names.build, _NO_NAMES, report),
        _part("key_usage", question, usages.build_key_usage, _NO_USAGE, report),
        _part("extended_key_usage", question, usages.build_purposes, _NO_PURPOSES, report),
        *_part("validity", question, validity.build, (now, now), report),
    )


def _part(rule: str, question: Question, build: Callable[[Question, Report], T], empty: T, report: Report) -> T:
    try:
        return build(question, report)
    except Exception as error:  # noqa: BLE001 - any fault of a rule denies
        report.faulty(rule, question.profile.place(rule), error)
        return empty


def _plan(question: Question, draft: Draft) -> CertificatePlan:
    profile = question.profile
    return CertificatePlan(
        issuer=profile.sections.issuer,
        profile=profile.name,
        policy_digest=profile.digest,
        subject=draft.subject,
        names=draft.names,
        spki=question.request.csr.spki,
        not_before=draft.not_before,
        not_after=draft.not_after,
        key_usage=draft.key_usage,
        extended_key_usage=draft.purposes,
        extensions=profile.sections.extensions.planned,
    )
