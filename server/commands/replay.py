"""Past questions asked again: what other policy files would have answered, and what today's think of yesterday's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from ca.csr import MalformedCsr
from policies.decision import Denied
from policies.durations import duration_text
from policies.words import PURPOSE_NAMES, name_of
from server.store.values import read_plan, read_question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ca.plan import CertificatePlan
    from policies.decision import Decision
    from policies.profile_set import ProfileSet
    from policies.request import EnrollmentRequest
    from server.store.history import PastQuestion

    Amend = Callable[[CertificatePlan, int], CertificatePlan]


@dataclass(frozen=True, slots=True)
class Change:
    """A question that is answered otherwise now.

    Attributes:
        past: the question.
        requester: who asked.
        subject: for whom: the subject or the first name.
        before, after: the answers, in a word or with what differs.
        reasons: the findings of the new answer, each with its place.
    """

    past: PastQuestion
    requester: str
    subject: str
    before: str
    after: str
    reasons: tuple[str, ...] = ()


def changes(questions: Iterable[PastQuestion], before: ProfileSet, after: ProfileSet) -> Iterator[Change]:
    """Yield the questions that two sets of profiles answer differently."""
    for past in questions:
        request = _request(past)
        if request is None:
            continue
        old, new = before.decide(request), after.decide(request)
        if _word(old) != _word(new):
            yield _change(past, request, _word(old), _word(new), new)
        elif isinstance(old, Denied) or isinstance(new, Denied):
            continue  # denied for other reasons is denied all the same
        else:
            differences = tuple(_differences(old.plan, new.plan))
            if differences:
                words = [f"{what} {was}" for what, was, _ in differences]
                others = [f"{what} {becomes}" for what, _, becomes in differences]
                yield _change(past, request, "; ".join(words), "; ".join(others), new)


def objections(questions: Iterable[PastQuestion], profiles: ProfileSet, amend: Amend | None = None) -> Iterator[Change]:
    """Yield the certificates that these profiles would not issue, or not so.

    Args:
        questions: those behind the certificates.
        profiles: who judges.
        amend: adds to a plan what the server does besides, such as the addresses of revocation lists.
    """
    for past in questions:
        request = _request(past)
        if request is None or past.plan is None:
            continue
        decision, plan = profiles.decide(request), read_plan(past.plan)
        if isinstance(decision, Denied):
            yield _change(past, request, "issued", "denied", decision)
            continue
        new = decision.plan
        if amend is not None and past.serial is not None:
            new = amend(new, past.serial)
        differences = tuple(_differences(plan, new))
        if differences:
            words = [f"{what} {was}" for what, was, _ in differences]
            others = [f"{what} {becomes}" for what, _, becomes in differences]
            yield _change(past, request, "; ".join(words), "; ".join(others), decision)


def _request(past: PastQuestion) -> EnrollmentRequest | None:
    try:
        return read_question(past.asked, past.id, past.at, past.csr)
    except MalformedCsr:  # the reader of CSRs has become stricter, which no policy can tell
        return None


def _change(past: PastQuestion, request: EnrollmentRequest, before: str, after: str, decision: Decision) -> Change:
    subject = str(request.csr.subject) or ", ".join(map(str, request.csr.names[:1]))
    reasons: tuple[str, ...] = ()
    if isinstance(decision, Denied):
        reasons = tuple(f"{found.location}: {found.rule}: {found.message}" for found in decision.findings)
    return Change(past, request.requester.identity, subject, before, after, reasons)


def _word(decision: Decision) -> str:
    return type(decision).__name__.lower()


def _differences(old: CertificatePlan, new: CertificatePlan) -> Iterator[tuple[str, str, str]]:
    """Yield what differs between two plans, as what, was and becomes."""
    pairs = (
        ("profile", old.profile, new.profile),
        ("issuer", old.issuer, new.issuer),
        ("subject", str(old.subject), str(new.subject)),
        ("names", _words(sorted(map(str, old.names))), _words(sorted(map(str, new.names)))),
        ("key usage", _words(sorted(old.key_usage)), _words(sorted(new.key_usage))),
        ("purposes", _purposes(old), _purposes(new)),
        ("lifetime", _lifetime(old), _lifetime(new)),
        ("extensions", _extensions(old, new), _extensions(new, old)),
    )
    for what, was, becomes in pairs:
        if was != becomes:
            yield what, was or "-", becomes or "-"


def _words(values: Iterable[str]) -> str:
    return ", ".join(values)


def _purposes(plan: CertificatePlan) -> str:
    return _words(sorted(name_of(oid, PURPOSE_NAMES) for oid in plan.extended_key_usage))


def _lifetime(plan: CertificatePlan) -> str:
    """Return how long a certificate is valid, in days and what is left of a day; backdating counts."""
    days, rest = divmod(plan.not_after - plan.not_before + timedelta(seconds=1), timedelta(days=1))
    return " ".join(([f"{days}d"] if days else []) + ([duration_text(rest)] if rest else []))


def _extensions(plan: CertificatePlan, other: CertificatePlan) -> str:
    """Return the extensions of a plan that another has not, or not so."""
    return _words(
        f"{each.oid}{' critical' if each.critical else ''}={each.value.hex()}"
        for each in plan.extensions
        if each not in other.extensions
    )
