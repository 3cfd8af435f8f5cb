"""What EST does with an enrollment: settles who asks, reads what is asked, and puts it to the one door.

No HTTP here: `server.est.routes` says what came in and writes what goes out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from ca.csr import without_challenge
from policies.request import EnrollmentRequest, Kind, PendingLimits, Requester, certificate_identity
from server.cohort import next_step
from server.enrollment import RefusedAttempt
from server.est import codec, linking
from server.est.gate import Caller, EstEndpoint, Refusal, Submission, authenticate, expect_enough, redeem
from server.est.linking import Linking, Meaning
from server.est.messages import Malformed, Operation
from server.est.records import wishes
from server.outcome import Pending, Problem, Reason, Refused
from server.store.certificates import renewed_from

if TYPE_CHECKING:
    from ca.csr import Csr
    from policies.request import EndpointName, Renewed
    from server.est.keygen import NewKey
    from server.est.linking import Claims
    from server.outcome import Outcome

__all__ = ["Asked", "EstEndpoint", "Submission", "enroll", "idempotency_key", "kept", "look_at", "question"]


class Asked(NamedTuple):
    """What came, without its secrets; what is asked for; what is claimed.

    The first two differ where ChangeSubjectName asks for other names than those in the request.
    """

    csr: Csr
    wanted: Csr
    claims: Claims


async def enroll(endpoint: EstEndpoint, submission: Submission) -> Outcome:
    """Enroll or renew (RFC 7030 section 4.2); what is refused before the policy is asked goes on record too."""
    try:
        caller = await authenticate(endpoint, submission)
        asked = await _asked(endpoint, submission, caller)
        request = await question(endpoint, submission, caller, asked)
    except Refusal as refusal:
        if not refusal.recorded:
            return Refused(refusal.problem)
        attempt = RefusedAttempt(
            endpoint=endpoint.name,
            problem=refusal.problem,
            requester=refusal.requester,
            address=submission.address,
            transaction=None,
            csr=refusal.csr,
        )
        return await endpoint.enrollment.refuse(attempt)
    if submission.new_key is None or endpoint.generated is None:
        outcome = await endpoint.enrollment.submit(request)
    else:
        outcome = await endpoint.generated.submit(request, submission.new_key)
    if isinstance(outcome, Pending) and submission.new_key is not None:
        return await endpoint.enrollment.turn_away(outcome.request_id, _KEY_CANT_WAIT)
    return await kept(endpoint, outcome, asked.claims, request.requester)


async def kept(endpoint: EstEndpoint, outcome: Outcome, claims: Claims, by: Requester) -> Outcome:
    """Keep the revocation challenge of what is issued or waits for a person; a refusal when that can't be done now."""
    secret = claims.revocation_challenge
    if secret is None or isinstance(outcome, Refused):
        return outcome
    problem = await endpoint.credentials.keep_revocation_challenge(endpoint.name, outcome, secret, by.identity)
    return outcome if problem is None else Refused(problem, outcome.request_id)


def idempotency_key(
    endpoint: EndpointName, identity: str, csr: Csr, renewed: Renewed | None, profile: str | None = None
) -> str:
    """Return what must be issued once: who wants which names and uses for which key, in place of which certificate.

    Not the octets of the request: section 4.2.3 has clients repeat it, newly signed when it is bound to a connection.
    """
    names = sorted(map(str, csr.names))
    serial = None if renewed is None else f"{renewed.serial:x}"
    identity = identity if renewed is None else certificate_identity(renewed.serial)
    parts = [str(endpoint), identity, sha256(csr.spki).hexdigest(), csr.subject.canonical(), names, serial]
    return json.dumps(parts + wishes(csr, profile))


async def question(endpoint: EstEndpoint, submission: Submission, caller: Caller, asked: Asked) -> EnrollmentRequest:
    """Return what one request asks of the one door. Raises Refusal."""
    now = endpoint.clock()
    csr, wanted, claims = asked
    both = endpoint.config.authenticate.require == "both"
    if claims.one_time_password is not None and (both or not _is_renewal(caller, csr, submission.operation)):
        caller = await redeem(endpoint, submission, caller, claims.one_time_password, csr)
    expect_enough(endpoint, caller, csr)
    renewed = await _renewed(endpoint, caller, csr, submission.operation)
    if renewed is not None and wanted is not csr and not _has_names(csr, renewed):
        raise Refusal(_CHANGED_TWICE, caller.identity, csr=csr)
    if renewed is not None and endpoint.config.keep_absent_names and not wanted.names and not wanted.renamed:
        wanted = replace(wanted, names=renewed.names, renamed=True)
    caller = _settled(endpoint, caller, renewed)
    expect_enough(endpoint, caller, csr)  # of what is left
    _expect_bound(caller, wanted)
    identity = caller.identity or ""
    profile = caller.redeemed.profile if caller.redeemed else None
    request = EnrollmentRequest(
        key=idempotency_key(endpoint.name, identity, wanted, renewed, profile),
        kind=Kind.ENROLL if renewed is None else Kind.RENEW,
        endpoint=endpoint.name,
        profile=profile,
        csr=wanted,
        requester=Requester(identity, caller.evidence, submission.address),
        now=now,
        renewed=renewed,
        spends=(caller.redeemed.id,) if caller.redeemed else (),
        pending=PendingLimits(endpoint.config.most_pending, endpoint.config.most_pending_of_address),
    )
    # Last: nothing is made for who gets nothing.
    return request if submission.new_key is None else await _with_key(endpoint, submission.new_key, request)


async def _with_key(endpoint: EstEndpoint, new_key: NewKey, request: EnrollmentRequest) -> EnrollmentRequest:
    """Return the request with a key as the profile wants it that will judge it. Raises Refusal."""
    expected, identity = endpoint.judging(request), request.requester.identity
    shape = endpoint.config.key_of_server(expected.key) if expected is not None else None
    try:
        csr = await new_key.make(request.csr, shape)
    except Malformed as error:
        raise Refusal(error.problem, identity, csr=request.csr) from error
    key = idempotency_key(endpoint.name, identity, csr, request.renewed, request.profile)
    return replace(request, csr=csr, key=key)


def _settled(endpoint: EstEndpoint, caller: Caller, renewed: Renewed | None) -> Caller:
    """Return the caller with what counts for this request, once it is known whose certificate it is about."""
    if caller.stored is None:
        return caller
    if renewed is not None and renewed.serial == caller.stored.serial:
        # Whose certificate is renewed is named by it, and it is enough: no one-time password is wasted on it.
        both = endpoint.config.authenticate.require == "both"
        password = None if caller.redeemed is not None and not both else caller.password
        redeemed = caller.redeemed if both else None
        return caller._replace(ra=None, renews_own=True, password=password, redeemed=redeemed)
    if caller.certificate is not None and caller.certificate.not_after < endpoint.clock():
        return caller._replace(certificate=None, stored=None, ra=None)  # the grace is for its own renewal alone
    return caller


def _expect_bound(caller: Caller, csr: Csr) -> None:
    """Raise Refusal when a one-time password was made for something else."""
    objection = caller.redeemed.objection(csr) if caller.redeemed else None
    if objection is not None:
        raise Refusal(Problem(Reason.POLICY, objection), caller.identity, csr=csr)


async def _asked(endpoint: EstEndpoint, submission: Submission, caller: Caller) -> Asked:
    """Return what the body asks for. Raises Refusal."""
    try:
        body, key = await submission.body(), submission.new_key
        await next_step()
        csr = codec.decode_enrollment(body).csr if key is None else key.decode(body)
    except Malformed as error:
        raise Refusal(error.problem, caller.identity) from error
    await next_step()
    return look_at(endpoint, submission, caller, csr)


def look_at(endpoint: EstEndpoint, submission: Submission, caller: Caller, csr: Csr, *, linked: bool = False) -> Asked:
    """Return what a request asks for and says of itself. Raises Refusal.

    Args:
        endpoint: where.
        submission: what it came with.
        caller: who asks.
        csr: the request.
        linked: whether it is known to be made by who sends it, and need not be bound to the connection.
    """
    config = endpoint.config
    public = without_challenge(csr, linking.READ_HERE)
    wanting = Linking(config.linking)
    try:
        wanted = codec.with_changed_names(public)
        claims = linking.read_claims(
            csr,
            binding=submission.peer.binding,
            linking=Linking.OPTIONAL if linked and wanting is Linking.REQUIRED else wanting,
            meaning=Meaning(config.challenge_password),
            foreign=_asks_for_others(caller, public),
        )
    except Malformed as error:
        raise Refusal(error.problem, caller.identity, csr=public) from error
    if claims.is_linked:
        submission.note(linked=submission.peer.binding_type)
    return Asked(public, wanted, claims)


def _has_names(csr: Csr, renewed: Renewed) -> bool:
    """Compare names as RFC 5280 section 7.1 says: not octets, not texts, alternative names in any order."""
    same = renewed.names == csr.names or Counter(renewed.names) == Counter(csr.names)
    return same and renewed.subject.matches(csr.subject)


def _asks_for_others(caller: Caller, csr: Csr) -> bool:
    """Tell whether a registration authority asks for somebody else: its own renewal is like anybody's."""
    return caller.ra is not None and not (caller.stored is not None and _has_names(csr, renewed_from(caller.stored)))


def _is_renewal(caller: Caller, csr: Csr, operation: Operation) -> bool:
    """Tell whether the caller's own certificate is to be renewed: it says so, or asks for the same names."""
    if caller.stored is None:
        return False
    says_so = operation is Operation.SIMPLEREENROLL and caller.ra is None
    return says_so or _has_names(csr, renewed_from(caller.stored))


async def _renewed(endpoint: EstEndpoint, caller: Caller, csr: Csr, operation: Operation) -> Renewed | None:
    """Return the certificate to be renewed, None for a first enrollment. Raises Refusal.

    IoT Edge renews through simpleenroll: the caller's certificate with the same names. Who has no other evidence than
    a certificate of ours can do nothing but renew it, so other names than its own are for the policy to refuse. A
    registration authority can't show the certificate that is to be renewed: it is found by its names.
    """
    if caller.stored is None:
        return None
    if _is_renewal(caller, csr, operation) or (caller.password is None and caller.ra is None):
        return renewed_from(caller.stored)
    if caller.ra is None or operation is not Operation.SIMPLEREENROLL:
        return None
    found = await endpoint.credentials.renewable(
        endpoint.name, csr.subject, csr.names, grace=endpoint.config.renewal_grace
    )
    if found is None or isinstance(found, Problem):
        raise Refusal(found or _NOTHING_FOUND, caller.identity, csr=csr)
    return renewed_from(found)


_KEY_CANT_WAIT = Problem(
    Reason.POLICY,
    "This request can't be answered at once, and keys that are made here are not stored: make the key yourself and use "
    "simpleenroll.",
)
_CHANGED_TWICE = Problem(
    Reason.NOT_RENEWABLE,
    "Beside ChangeSubjectName, subject and subjectAltName must be those of the certificate that is to be renewed "
    "(RFC 7030 section 4.2.2).",
)
_NOTHING_FOUND = Problem(
    Reason.NOT_RENEWABLE, "There is no valid certificate with this subject and these alternative names to be renewed."
)
