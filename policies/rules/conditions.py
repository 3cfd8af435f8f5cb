"""Conditions: what a profile demands beyond its sections, in CEL, each with a message of its own."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ca.names import DirectoryName, DnsName, EmailAddress, IpAddress, OtherName, RegisteredId, Uri
from policies.expressions import VARIABLES, NotEvaluated, message
from policies.words import ATTRIBUTE_NAMES, PURPOSE_NAMES, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from ca.names import DistinguishedName, GeneralName
    from policies.ruling import Draft, Question, Report
    from policies.sections import Approval

_KINDS: dict[type, str] = {
    DnsName: "dns",
    IpAddress: "ip",
    EmailAddress: "email",
    Uri: "uri",
    RegisteredId: "rid",
    DirectoryName: "dirname",
    OtherName: "other",
}
_SECOND = timedelta(seconds=1)


def judge(question: Question, draft: Draft, report: Report) -> None:
    """Evaluate every condition; only true is a yes, and one on trial is written down and denies nothing."""
    conditions = question.profile.sections.rules
    if not conditions:
        return
    try:
        values = inputs(question, draft, frozenset().union(*(condition.require.uses for condition in conditions)))
    except ValueError as error:  # text that is no Unicode
        if not all(condition.shadow for condition in conditions):
            report.faulty("rules", question.profile.place("rules"), error)
        return
    for index, condition in enumerate(conditions):
        rule, place = f"rules.{condition.id}", question.profile.place("rules", index, "require")
        limit = str(condition.require)
        try:
            holds = condition.require.holds(values)
        except NotEvaluated as error:
            if condition.shadow:
                report.on_trial(rule, place, condition.message, str(error), limit)
            else:
                report.faulty(rule, place, error)
            continue
        if holds:
            report.passed(rule, place, "", limit)
        elif condition.shadow:
            report.on_trial(rule, place, condition.message, "", limit)
        else:
            report.failed(rule, place, condition.message, "", limit)


def is_approval_needed(question: Question, draft: Draft, approval: Approval) -> bool:
    """Whether the condition for an approval holds; without one, or when it has no answer, a person must look."""
    if approval.when is None:
        return True
    try:
        return approval.when.holds(inputs(question, draft, approval.when.uses))
    except ValueError:
        return True


def inputs(question: Question, draft: Draft, wanted: Iterable[str] = VARIABLES) -> Mapping[str, Any]:
    """Return what conditions may look at: the request, who asks, the CSR, and the certificate that would be made."""
    return {variable: _MAKERS[variable](question, draft) for variable in wanted}


def _request(question: Question, draft: Draft) -> Any:
    del draft
    request, made = question.request, message("Request")
    made.endpoint = str(request.endpoint)
    made.protocol, made.label, made.kind = request.endpoint.protocol, request.endpoint.label, request.kind
    made.profile = question.profile.name
    made.time.FromDatetime(request.now)
    return made


def _requester(question: Question, draft: Draft) -> Any:
    del draft
    requester, made = question.request.requester, message("Requester")
    made.identity, made.name, made.address = requester.identity, question.asked.requester, requester.address or ""
    made.evidence.extend(sorted(question.asked.evidence))
    return made


def _csr(question: Question, draft: Draft) -> Any:
    del draft
    csr, asked, made = question.request.csr, question.asked, message("Csr")
    _subject(made.subject, csr.subject)
    _names(made.names, csr.names)
    shape = csr.key_shape
    made.key.kind, made.key.bits, made.key.curve = shape.kind, shape.bits, shape.curve or ""
    made.ca = asked.ca
    made.extensions.extend([extension.oid for extension in csr.extensions])
    _usages(made, asked.key_usage, asked.purposes)
    return made


def _certificate(question: Question, draft: Draft) -> Any:
    del question
    made = message("Certificate")
    _subject(made.subject, draft.subject)
    _names(made.names, draft.names)
    _usages(made, draft.key_usage, draft.purposes)
    _period(made, draft.not_before, draft.not_after)
    made.lifetime.FromTimedelta(draft.not_after - draft.not_before + _SECOND)
    return made


def _renewed(question: Question, draft: Draft) -> Any:
    del draft
    old, made = question.request.renewed, message("Renewed")
    if old is not None:
        made.serial, made.profile, made.endpoint = f"{old.serial:x}", old.profile, str(old.endpoint)
        made.same_key = old.spki == question.request.csr.spki
        _subject(made.subject, old.subject)
        _names(made.names, old.names)
        _period(made, old.not_before, old.not_after)
    return made


def _lookup(question: Question, draft: Draft) -> Any:
    del draft
    return {answer.name: dict(answer.values) for answer in question.request.facts.lookups if answer.found}


_MAKERS: dict[str, Callable[[Question, Draft], Any]] = {
    "request": _request,
    "requester": _requester,
    "csr": _csr,
    "certificate": _certificate,
    "renewed": _renewed,
    "lookup": _lookup,
}


def _period(target: Any, not_before: datetime, not_after: datetime) -> None:
    target.not_before.FromDatetime(not_before)
    target.not_after.FromDatetime(not_after)


def _subject(target: Any, subject: DistinguishedName) -> None:
    for rdn in subject.rdns:
        for attribute in rdn:
            word = ATTRIBUTE_NAMES.get(attribute.oid)
            if word is None:
                target.other.append(f"{attribute.oid}={attribute.value}")
            else:
                getattr(target, word).append(attribute.value)


def _names(target: Any, names: Iterable[GeneralName]) -> None:
    for name in names:
        kind = _KINDS[type(name)]
        getattr(target, kind).append(str(name).partition(":")[2])


def _usages(target: Any, key_usage: Iterable[str], purposes: Iterable[str]) -> None:
    target.key_usage.extend(sorted(key_usage))
    target.extended_key_usage.extend([name_of(purpose, PURPOSE_NAMES) for purpose in purposes])
