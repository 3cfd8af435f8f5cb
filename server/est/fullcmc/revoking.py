"""RevokeRequest (RFC 5272 section 6.11): by the certificate, its successor, an RA, or with the agreed secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from ca import der
from ca.name_codec import read_name
from ca.names import DistinguishedName
from policies.request import certificate_identity
from server.est.cmc.messages import CmcFault, FailInfo, Revocation
from server.est.fullcmc.results import Result, granted, refusal
from server.est.gate import Refusal, expect_enough
from server.outcome import Problem, Reason
from server.store import StoreUnavailable
from server.store.certificates import RevocationOutcome

if TYPE_CHECKING:
    from server.est.fullcmc.identity import Identity
    from server.est.gate import EstEndpoint
    from server.store.certificates import StoredCertificate


async def revoke(endpoint: EstEndpoint, identity: Identity, asked: Revocation, transaction: str | None) -> Result:
    """Revoke a certificate, if the sender may."""
    try:
        stored = await _found(endpoint, asked)
        by = await _authorized(endpoint, identity, asked, stored)
        _expect_past(endpoint, asked)
        done = await endpoint.enrollment.revoke(stored.serial, asked.reason, by, invalid_since=asked.invalid_since)
    except StoreUnavailable:
        fault: Refusal | CmcFault = CmcFault(None, _NO_STORE, (asked.part,))
    except (Refusal, CmcFault) as error:
        fault = error
    else:
        return granted(asked.part, "" if done is RevocationOutcome.REVOKED else "The certificate was revoked before.")
    return await refusal(
        endpoint,
        identity.submission,
        fault,
        part=asked.part,
        requester=identity.caller.identity,
        transaction=transaction,
        known=asked.passphrase is not None and isinstance(fault, CmcFault) and fault.fail is None,
    )


async def _found(endpoint: EstEndpoint, asked: Revocation) -> StoredCertificate:
    found = await endpoint.credentials.issued_for(endpoint.name, asked.serial)
    if isinstance(found, Problem):
        raise CmcFault(None, found, (asked.part,))
    if found is not None:
        issuer = x509.load_der_x509_certificate(found.der).issuer
        try:
            if read_name(der.read(asked.issuer, ber=True)).matches(DistinguishedName.from_x509(issuer)):
                return found
        except ValueError:  # MalformedDer, MalformedName: no name of an issuer of ours
            pass
    problem = Problem(Reason.UNKNOWN_REQUEST, "No certificate of this service has this issuer and serial number.")
    raise CmcFault(FailInfo.BAD_CERT_ID, problem, (asked.part,))


def _expect_past(endpoint: EstEndpoint, asked: Revocation) -> None:
    if asked.invalid_since is not None and asked.invalid_since > endpoint.clock():
        problem = Problem(Reason.MALFORMED, "The invalidity date is in the future.")
        raise CmcFault(FailInfo.BAD_TIME, problem, (asked.part,))


async def _authorized(endpoint: EstEndpoint, identity: Identity, asked: Revocation, stored: StoredCertificate) -> str:
    """Return who revokes, for the record. Raises Refusal and CmcFault."""
    if asked.passphrase is not None:
        problem = await endpoint.credentials.revocation_challenge(
            endpoint.name, stored, asked.passphrase, address=identity.submission.address
        )
        if problem is not None:
            raise CmcFault(None, problem, (asked.part,))
        return certificate_identity(stored.serial)
    caller = identity.caller
    if caller.stored is not None and caller.stored.not_after >= endpoint.clock() and _may(caller.stored, stored):
        return certificate_identity(caller.stored.serial)
    expect_enough(endpoint, caller)
    if caller.ra is not None and stored.endpoint == endpoint.name:
        return certificate_identity(caller.ra.serial)
    message = (
        "A certificate is revoked by itself, by the one that renews it, by another that the same requester has for the "
        "same names, by a registration authority, or with the secret that came with its request (RFC 7894)."
    )
    raise CmcFault(FailInfo.BAD_IDENTITY, Problem(Reason.POLICY, message), (asked.part,))


def _may(signer: StoredCertificate, revoked: StoredCertificate) -> bool:
    """Tell whether the certificates are one and the same, one renews the other, or both are of the same holder.

    The same names alone are not enough: whom else the profile lets have them is not known here.
    """
    if revoked.serial in {signer.serial, signer.renews}:
        return True
    first, second = ((one.endpoint, one.requester, one.subject, sorted(one.names)) for one in (signer, revoked))
    return first == second


_NO_STORE = Problem(Reason.STORE_UNAVAILABLE, "The server can't record a revocation now.", retry_after=5)
