"""A full request, answered: each request, each question and each revocation in it for itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ca.csr import MalformedCsr, read_recorded_csr, without_challenge
from server.est import linking
from server.est.cmc import codec, envelope, proofs
from server.est.cmc.messages import WHOLE, CmcFault, FailInfo, PkiResponse, malformed
from server.est.fullcmc.identity import Identity, identify
from server.est.fullcmc.lists import show
from server.est.fullcmc.results import Result, of_outcome, refusal
from server.est.fullcmc.revoking import revoke
from server.est.gate import Refusal, expect_enough
from server.est.messages import Malformed
from server.est.service import kept, look_at, question
from server.outcome import Problem, Reason
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from server.est.cmc.messages import CertificationRequest, PkiData, Query
    from server.est.gate import EstEndpoint, Submission
    from server.store.requests import StoredRequest

_NO_STORE = Problem(Reason.STORE_UNAVAILABLE, "The record can't be read now.", retry_after=5)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back.

    Attributes:
        response: the statuses, and what was issued.
        results: the same for HTTP and the log.
    """

    response: PkiResponse
    results: tuple[Result, ...]


class _Waiting(NamedTuple):
    """A request that is asked for: its record, who asked, and the SubjectPublicKeyInfo that it is for."""

    request_id: str
    requester: str | None
    key: bytes


async def answer(endpoint: EstEndpoint, submission: Submission) -> Answer:
    """Answer a full request. What is refused goes on record, but for what comes from nobody."""
    data: PkiData | None = None
    content = b""
    try:
        message, content = envelope.open_envelope(codec.unwrap(await submission.body()))
        data = codec.decode_pki_data(content)
        waiting = await _waiting(endpoint, data.queries)
        keys = [*(each.csr.spki for each in data.requests), *(each.key for each in waiting if each is not None)]
        signer = envelope.verify_signer(message, keys)
        identity = await identify(endpoint, submission, signer, data)
    except Malformed as error:
        results = [await refusal(endpoint, submission, CmcFault(None, error.problem), part=WHOLE)]
    except StoreUnavailable:
        results = [await refusal(endpoint, submission, CmcFault(None, _NO_STORE), part=WHOLE)]
    except (CmcFault, Refusal) as error:
        data = data or codec.read_echo(content)
        results = [await refusal(endpoint, submission, error, part=WHOLE, transaction=_transaction(data))]
    else:
        results = await _each(endpoint, identity, data, waiting)
    return Answer(_response(data, results), tuple(results))


def _response(data: PkiData | None, results: Iterable[Result]) -> PkiResponse:
    response = PkiResponse(
        statuses=tuple(each.info for each in results),
        certificates=tuple(each.certificate for each in results if each.certificate is not None),
        crls=tuple(each.crl for each in results if each.crl is not None),
    )
    if data is None:
        return response
    return replace(
        response, transaction=data.transaction, recipient_nonce=data.sender_nonce, data_return=data.data_return
    )


async def _each(
    endpoint: EstEndpoint, identity: Identity, data: PkiData, waiting: list[_Waiting | None]
) -> list[Result]:
    transaction, requester = _transaction(data), identity.caller.identity
    results = [
        await refusal(
            endpoint,
            identity.submission,
            fault,
            part=fault.parts[0],
            requester=requester,
            transaction=transaction,
        )
        for fault in data.faults
    ]
    asked = [_enroll(endpoint, identity, data, each) for each in data.requests]
    if identity.caller.redeemed is None:
        results += await asyncio.gather(*asked)
    else:  # in their order: what can be used once is used by the first
        results += [await each for each in asked]
    for query, one in zip(data.queries, waiting, strict=True):
        results.append(await _poll(endpoint, identity, query, one))
    for revocation in data.revocations:
        results.append(await revoke(endpoint, identity, revocation, transaction))
    if data.crl_query is not None:
        results.append(await show(endpoint, identity, data.crl_query, transaction))
    return results


async def _enroll(endpoint: EstEndpoint, identity: Identity, data: PkiData, request: CertificationRequest) -> Result:
    caller, submission, transaction = identity.caller, identity.submission, _transaction(data)
    try:
        _expect_issuer(endpoint, request)
        linked = proofs.is_linked(request, identity.secret, data.link_random)
        asked = look_at(endpoint, submission, caller, request.csr, linked=linked)
        wanted = await question(endpoint, submission, caller, asked)
    except (CmcFault, Refusal) as error:
        csr = without_challenge(request.csr, linking.READ_HERE)
        return await refusal(
            endpoint,
            submission,
            error,
            part=request.part,
            requester=caller.identity,
            csr=csr,
            transaction=transaction,
        )
    outcome = await endpoint.enrollment.submit(replace(wanted, transaction=transaction))
    return of_outcome(endpoint, request.part, await kept(endpoint, outcome, asked.claims, wanted.requester))


def _expect_issuer(endpoint: EstEndpoint, request: CertificationRequest) -> None:
    """Raise CmcFault when a CRMF request names another issuer than that of the endpoint."""
    if request.issuer is None:
        return
    ours = endpoint.chain()[0].subject.public_bytes()
    if request.issuer != ours:
        raise malformed("The template names an issuer that is not the one of this service.", request.part)


async def _waiting(endpoint: EstEndpoint, queries: Iterable[Query]) -> list[_Waiting | None]:
    """Return the requests that are asked for, None for those that were not made here. Raises StoreUnavailable."""
    found: list[_Waiting | None] = []
    for query in queries:
        row = await endpoint.enrollment.find(query.token.decode("ascii", "replace"))
        here = row is not None and row.endpoint == endpoint.name
        found.append(_read(row) if row is not None and here else None)
    return found


def _read(row: StoredRequest) -> _Waiting | None:
    try:
        return _Waiting(row.id, row.requester, read_recorded_csr(row.csr or b"").spki)
    except MalformedCsr:  # nothing was asked for, or the parser has become stricter since
        return None


async def _poll(endpoint: EstEndpoint, identity: Identity, query: Query, waiting: _Waiting | None) -> Result:
    """Answer queryPending (RFC 5272 section 6.13)."""
    try:
        request_id = _theirs(endpoint, identity, query, waiting)
    except (CmcFault, Refusal) as error:
        requester = identity.caller.identity
        return await refusal(endpoint, identity.submission, error, part=query.part, requester=requester)
    return of_outcome(endpoint, query.part, await endpoint.enrollment.poll(request_id))


def _theirs(endpoint: EstEndpoint, identity: Identity, query: Query, waiting: _Waiting | None) -> str:
    """Return the request, if it is of who asks now, or who asks has the key that it is for. Raises what it says."""
    if waiting is not None and identity.own_key == waiting.key:
        return waiting.request_id
    if waiting is not None:
        expect_enough(endpoint, identity.caller)
    if waiting is None or waiting.requester != identity.caller.identity:
        problem = Problem(Reason.UNKNOWN_REQUEST, "Nothing is known of this request of yours.")
        raise CmcFault(FailInfo.BAD_REQUEST, problem, (query.part,))
    return waiting.request_id


def _transaction(data: PkiData) -> str | None:
    return None if data.transaction is None else f"{data.transaction:x}"
