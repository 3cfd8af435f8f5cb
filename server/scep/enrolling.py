"""PKCSReq and RenewalReq (RFC 8894 section 3.3.1): who asks is settled, and the one door asked."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from policies.request import EnrollmentRequest, Kind, PendingLimits, Requester, certificate_identity
from server.outcome import Problem
from server.scep.authorization import Asked
from server.scep.problems import KEY_MISMATCH, NO_RENEWAL, OTHER_PROFILE, Rejected
from server.scep.transactions import idempotency_key, signer_of
from server.store.certificates import renewed_from

if TYPE_CHECKING:
    from ca.csr import Csr
    from policies.request import EndpointName, Renewed
    from server.clock import Clock
    from server.cms.certificates import BagCertificate
    from server.config import ScepEndpointConfig
    from server.credentials import ThirdParty
    from server.enrollment import Enrollment
    from server.outcome import Outcome
    from server.scep.authorization import Panel
    from server.scep.gate import Authentic, Sealed
    from server.scep.keyring import Keyring
    from server.scep.opening import Envelopes, Operation
    from server.scep.signers import Signers


class Enrolling:
    """Puts the requests of one endpoint to the one door.

    Args:
        endpoint: the endpoint.
        config: whether it renews, and how many may wait for a person.
        enrollment: the one door to the signer.
        envelopes: opens what was sent.
        signers: judges the signers' certificates.
        panel: says who may have a first certificate.
        keys: know which requests are for the CA to come.
        proxies: SHA-256 of the certificates that may sign requests for keys of others.
        clock: tells the time of a request.
    """

    def __init__(
        self,
        endpoint: EndpointName,
        config: ScepEndpointConfig,
        *,
        enrollment: Enrollment,
        envelopes: Envelopes,
        signers: Signers,
        panel: Panel,
        keys: Keyring,
        proxies: frozenset[bytes],
        clock: Clock,
    ) -> None:
        self._endpoint = endpoint
        self._renews = config.renewal
        self._pending = PendingLimits(config.most_pending, config.most_pending_of_address)
        self._enrollment = enrollment
        self._envelopes = envelopes
        self._signers = signers
        self._panel = panel
        self._keys = keys
        self._proxies = proxies
        self._clock = clock

    async def pkcs_req(self, operation: Operation, request: Sealed) -> Outcome:
        """PKCSReq: a first enrollment, or a renewal where a certificate of ours signed it. Raises Rejected.

        Renewals by PKCSReq are what most clients send; the challenge that some repeat in them is long spent, and is
        ignored.
        """
        authentic = request.authentic
        is_proxy = self._signs_for_others(authentic.signer)  # whose certificate may be one of ours
        if not is_proxy and self._renews and self._signers.claims_to_be_ours(authentic.signer):
            return await self.renewal_req(operation, request)
        vouched = None if is_proxy else await self._signers.alternate(authentic)
        if vouched is not None:
            return await self._alternate(operation, request, vouched)
        csr, bare = await self._envelopes.request(operation, request)
        if csr.key != authentic.key and not is_proxy:
            raise Rejected(KEY_MISMATCH)
        asked = Asked(self._endpoint, authentic.message.transaction, csr, csr.challenge_password, operation.address)
        admission = await self._panel.admit(asked)
        if isinstance(admission, Problem):
            raise Rejected(admission)
        requester = Requester(admission.identity, (admission.evidence,), operation.address)
        outcome = await self._submit(
            operation, authentic, bare, requester, profile=admission.profile, spends=admission.spends
        )
        return await self._panel.settle(asked.transaction, csr.der, outcome)

    def _signs_for_others(self, signer: BagCertificate) -> bool:
        return bool(self._proxies) and sha256(signer.der).digest() in self._proxies

    async def renewal_req(self, operation: Operation, request: Sealed) -> Outcome:
        """RenewalReq: the signer's certificate is the authentication. Raises Rejected."""
        if not self._renews:
            raise Rejected(NO_RENEWAL)
        authentic = request.authentic
        vouched = await self._signers.alternate(authentic)
        if vouched is not None:
            return await self._alternate(operation, request, vouched)
        _with_challenge, csr = await self._envelopes.request(operation, request)
        evidence, stored = await self._signers.own(authentic.signer)
        requester = Requester(certificate_identity(stored.serial), (evidence,), operation.address)
        return await self._submit(operation, authentic, csr, requester, renewed=renewed_from(stored))

    async def _alternate(self, operation: Operation, request: Sealed, vouched: ThirdParty) -> Outcome:
        """A certificate of another CA is the authentication; for us it is a first enrollment, of the names in it."""
        _with_challenge, csr = await self._envelopes.request(operation, request)
        requester = Requester(vouched.identity, (vouched.evidence,), operation.address)
        return await self._submit(operation, request.authentic, csr, requester)

    async def _submit(
        self,
        operation: Operation,
        authentic: Authentic,
        csr: Csr,
        requester: Requester,
        *,
        renewed: Renewed | None = None,
        profile: str | None = None,
        spends: tuple[str, ...] = (),
    ) -> Outcome:
        transaction = operation.message.transaction
        coming = self._keys.asks_next(operation.ra.addressed)
        if coming is not None and profile not in {None, coming.profile}:
            raise Rejected(OTHER_PROFILE)
        return await self._enrollment.submit(
            EnrollmentRequest(
                key=idempotency_key(self._endpoint, transaction, authentic, csr, renewed),
                kind=Kind.ENROLL if renewed is None else Kind.RENEW,
                endpoint=self._endpoint,
                profile=profile if coming is None else coming.profile,
                csr=csr,
                requester=requester,
                now=self._clock(),
                renewed=renewed,
                transaction=transaction,
                spends=spends,
                pending=self._pending,
                signer=signer_of(authentic),
            )
        )
