"""GetCRL (RFC 5272 section 6.10): the newest revocation list of the issuing CA, for anybody, as `/crls` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from ca import der
from ca.name_codec import read_name
from ca.names import DistinguishedName
from server.est.cmc.messages import CmcFault, FailInfo, Status, StatusInfo
from server.est.fullcmc.results import Result, refusal
from server.outcome import Problem, Reason
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from server.est.cmc.messages import CrlQuery
    from server.est.fullcmc.identity import Identity
    from server.est.gate import EstEndpoint

_UNKNOWN = Problem(Reason.UNKNOWN_REQUEST, "There is no revocation list of this issuer here.")
_OLDER = Problem(Reason.STALE, "Only the newest revocation list is here, and it is from after that time.")
_NO_STORE = Problem(Reason.STORE_UNAVAILABLE, "The record can't be read now.", retry_after=5)


async def show(endpoint: EstEndpoint, identity: Identity, asked: CrlQuery, transaction: str | None) -> Result:
    """Return the list, or why there is none."""
    try:
        crl = await _found(endpoint, asked)
    except CmcFault as fault:
        requester = identity.caller.identity
        return await refusal(
            endpoint, identity.submission, fault, part=asked.part, requester=requester, transaction=transaction
        )
    return Result(StatusInfo(Status.SUCCESS, (asked.part,)), crl=crl)


async def _found(endpoint: EstEndpoint, asked: CrlQuery) -> bytes:
    if not _is_named(endpoint.chain()[0], asked.issuer):
        raise CmcFault(FailInfo.BAD_CERT_ID, _UNKNOWN, (asked.part,))
    try:
        crl = await endpoint.newest_crl()
    except StoreUnavailable as error:
        raise CmcFault(None, _NO_STORE, (asked.part,)) from error
    if crl is None:
        raise CmcFault(FailInfo.BAD_CERT_ID, _UNKNOWN, (asked.part,))
    if asked.at is not None and x509.load_der_x509_crl(crl).last_update_utc > asked.at:
        raise CmcFault(FailInfo.BAD_TIME, _OLDER, (asked.part,))
    return crl


def _is_named(certificate: x509.Certificate, name: bytes) -> bool:
    try:
        return read_name(der.read(name, ber=True)).matches(DistinguishedName.from_x509(certificate.subject))
    except ValueError:  # MalformedDer, MalformedName: nobody's name
        return False
