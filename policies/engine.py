"""Decisions. Every rule runs, every reason is reported; any finding denies; an exception denies."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

from ca.names import DistinguishedName
from ca.plan import CertificatePlan
from policies.decision import Approved, Check, Deferred, Denied, Finding, Trace, Verdict
from policies.rules import evidence, identity, key, names, order, renewal, subject, unused, usages, validity
from policies.ruling import Draft, Question, Rule, Ruling, joined

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ca.names import GeneralName
    from ca.plan import KeyUsage
    from policies.decision import Decision

RULES: tuple[Rule, ...] = (
    Rule("evidence", evidence.judge),
    Rule("key", key.judge),
    Rule("order", order.judge),
    Rule("identity", identity.judge),
    Rule("unused", unused.judge),
    Rule("renewal", renewal.judge),
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
    draft, built = _draft(question)
    verdict = joined((built, *(_judge(rule, question, draft) for rule in rules)))
    profile = question.profile
    trace = Trace(profile.name, profile.digest, verdict.checks, verdict.ignored)
    if verdict.findings:
        return Denied(verdict.findings, trace)
    plan = _plan(question, draft)
    if profile.sections.approval == "manual":
        message = "a person must approve this request"
        return Deferred((Finding("approval", message, profile.place("approval"), limit="manual"),), plan, trace)
    return Approved(plan, trace)


def _draft(question: Question) -> tuple[Draft, Ruling]:
    """Build each part of the certificate; a part that can't be built denies and is empty."""
    now = question.request.now.astimezone(UTC)
    subject_, of_subject = _part("subject", question, subject.build, DistinguishedName())
    names_, of_names = _part("names", question, names.build, _NO_NAMES)
    key_usage, of_key_usage = _part("key_usage", question, usages.build_key_usage, _NO_USAGE)
    purposes, of_purposes = _part("extended_key_usage", question, usages.build_purposes, _NO_PURPOSES)
    period, of_period = _part("validity", question, validity.build, (now, now))
    draft = Draft(subject_, names_, key_usage, purposes, *period)
    return draft, joined((of_subject, of_names, of_key_usage, of_purposes, of_period))


def _part(rule: str, question: Question, build: Callable[[Question], tuple[T, Ruling]], empty: T) -> tuple[T, Ruling]:
    try:
        return build(question)
    except Exception as error:  # noqa: BLE001 - any fault of a rule denies
        return empty, _fault(rule, question, error)


def _judge(rule: Rule, question: Question, draft: Draft) -> Ruling:
    try:
        return rule.judge(question, draft)
    except Exception as error:  # noqa: BLE001 - any fault of a rule denies
        return _fault(rule.id, question, error)


def _fault(rule: str, question: Question, error: Exception) -> Ruling:
    place, cause = question.profile.place(rule), repr(error)
    finding = Finding(rule, "the policy could not be evaluated; its administrator knows more", place, cause)
    return Ruling((Check(rule, Verdict.ERROR, place, cause),), (finding,))


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
    )
