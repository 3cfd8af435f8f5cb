"""A policy on a script: it approves what is asked, or what a name asks it to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from ca.plan import CertificatePlan, KeyUsage
from policies.decision import Approved, Decision, Deferred, Denied, Finding, Location, Trace

if TYPE_CHECKING:
    from policies.request import EnrollmentRequest

RULE = Location("script.yaml", 7, 3)
DAY = timedelta(days=1)


class ScriptedPolicy:
    """Denies the common name ``denied``, defers ``deferred``, approves all else for `days`; keeps what it saw."""

    def __init__(self, issuer: str = "issuing", days: int = 30) -> None:
        self.issuer = issuer
        self.days = days
        self.seen: list[EnrollmentRequest] = []

    def decide(self, request: EnrollmentRequest) -> Decision:
        self.seen.append(request)
        trace = Trace("scripted", "0" * 64)
        names = request.csr.subject.common_names
        if "denied" in names:
            return Denied((Finding("subject.cn", "this name is not allowed", RULE, "denied", "another"),), trace)
        now = request.now.replace(microsecond=0)
        plan = CertificatePlan(
            issuer=self.issuer,
            profile="scripted",
            policy_digest="0" * 64,
            subject=request.csr.subject,
            names=request.csr.names,
            spki=request.csr.spki,
            not_before=now - timedelta(hours=1),
            not_after=now + self.days * DAY,
            key_usage=frozenset({KeyUsage.DIGITAL_SIGNATURE}),
            extended_key_usage=("1.3.6.1.5.5.7.3.2",),
        )
        if "deferred" in names:
            return Deferred((Finding("approval", "a person must approve", RULE),), plan, trace)
        return Approved(plan, trace)
