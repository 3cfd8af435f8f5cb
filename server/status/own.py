"""The certificate of an OCSP responder: asked for by the server itself, through the one door like everybody's."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import der
from ca.csr import Csr
from ca.issuer import IssuerError
from ca.keys import key_shape
from ca.names import COMMON_NAME, Attribute, DistinguishedName
from ca.ocsp import NO_CHECK, SIGNING, write_response
from ca.plan import CertificatePlan, KeyUsage, PlannedExtension
from ca.tbs import IssuerProfile, signer
from policies.decision import Approved, Trace
from policies.request import EndpointName, EnrollmentRequest, Kind, Protocol, Requester
from server.outcome import Issued

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from datetime import datetime

    from ca.keys import SubjectKey
    from ca.ocsp import Answer, Validity
    from ca.tbs import SigningKey
    from policies.decision import Decision
    from server.clock import Clock
    from server.outcome import Outcome

PROFILE = "ocsp-responder"
BACKDATE = timedelta(minutes=5)
"""For clients whose clocks are slow."""
_DIGEST = hashlib.sha256(b"certwright: the certificate of an OCSP responder, 1").hexdigest()


class NoResponder(Exception):
    """There is no valid responder certificate now. The text says why."""


@dataclass(frozen=True, slots=True)
class Responding:
    """A responder's key and certificate.

    Attributes:
        profile: the certificate, as a signer of answers.
        sign: signs octets.
        not_before, not_after: its validity.
        executor: where it signs; None for at once.
    """

    profile: IssuerProfile
    sign: Callable[[bytes], bytes]
    not_before: datetime
    not_after: datetime
    executor: Executor | None = None

    async def write(self, answers: Sequence[Answer], validity: Validity, nonce: bytes | None) -> bytes:
        """Return a signed response, see `ca.ocsp.write_response`. Raises IssuerError when the key can't be used now."""
        if self.executor is None:
            return write_response(answers, validity, nonce, self.profile, self.sign)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self.executor, write_response, answers, validity, nonce, self.profile, self.sign
        )


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A responder's key that stays, as one in an HSM; it blocks, so that it is used through an executor."""

    key: SigningKey
    executor: Executor


class OwnPlans:
    """Decides what the server asks for itself, and leaves everything else to the policy.

    Args:
        decide: the policy.
        ends: until when each issuer's certificate is valid, by configured name.
        lifetimes: of the responder certificates of each.
    """

    def __init__(
        self,
        decide: Callable[[EnrollmentRequest], Decision],
        ends: Mapping[str, datetime],
        lifetimes: Mapping[str, timedelta],
    ) -> None:
        self._decide = decide
        self._ends = ends
        self._lifetimes = lifetimes

    def decide(self, request: EnrollmentRequest) -> Decision:
        """Return what is to be signed, or why nothing is."""
        if request.endpoint.protocol is not Protocol.OCSP:
            return self._decide(request)
        issuer, now = request.endpoint.label, request.now.replace(microsecond=0)
        plan = CertificatePlan(
            issuer=issuer,
            profile=PROFILE,
            policy_digest=_DIGEST,
            subject=request.csr.subject,
            names=(),
            spki=request.csr.spki,
            not_before=now - BACKDATE,
            not_after=min(now + self._lifetimes[issuer], self._ends[issuer]),
            key_usage=frozenset({KeyUsage.DIGITAL_SIGNATURE}),
            extended_key_usage=(SIGNING,),
            extensions=(PlannedExtension(NO_CHECK, critical=False, value=der.null()),),
        )
        return Approved(plan, Trace(PROFILE, _DIGEST))


class OwnCertificates:
    """Gets responder certificates. Their keys never leave the memory of the process, or the HSM.

    Args:
        submit: the one door.
        clock: tells the time.
        make_key: returns a new key of a kind.
        kept: keys that are there already, by the issuer's configured name. Since the same key asks the same, all
            processes of a server get the same certificate for it.
        bases: under which name the responder of an issuer stands, where the CA's name constraints want it under one.
    """

    def __init__(
        self,
        submit: Callable[[EnrollmentRequest], Awaitable[Outcome]],
        clock: Clock,
        make_key: Callable[[str], SigningKey],
        kept: Mapping[str, KeptKey] | None = None,
        bases: Mapping[str, DistinguishedName] | None = None,
    ) -> None:
        self._submit = submit
        self._clock = clock
        self._make_key = make_key
        self._kept = kept or {}
        self._bases = bases or {}

    async def responder(self, issuer: str, kind: str) -> Responding:
        """Return a new key of this kind, or the kept one, with a certificate of this issuer. Raises NoResponder."""
        kept = self._kept.get(issuer)
        if kept is None:
            executor, key = None, self._make_key(kind)
            request = self._request(issuer, key)
        else:
            executor, key = kept.executor, kept.key
            try:
                request = await asyncio.get_running_loop().run_in_executor(executor, self._request, issuer, key)
            except IssuerError as error:
                raise NoResponder(f"the key of the OCSP responder of {issuer} can't be used: {error}") from error
        outcome = await self._submit(request)
        if not isinstance(outcome, Issued):
            raise NoResponder(f"no certificate for the OCSP responder of {issuer}: {outcome}")
        certificate = x509.load_der_x509_certificate(outcome.certificate)
        return Responding(
            IssuerProfile.of(certificate),
            signer(key),
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
            executor,
        )

    def _request(self, issuer: str, key: SigningKey) -> EnrollmentRequest:
        base = self._bases.get(issuer, DistinguishedName())
        subject = DistinguishedName((*base.rdns, (Attribute(COMMON_NAME, f"OCSP responder of {issuer}"[:64]),)))
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        csr = Csr(
            der=_csr(key, subject),
            subject=subject,
            spki=spki,
            key=cast("SubjectKey", key.public_key()),  # ML-DSA too: it is our own and needs no proof
            key_shape=key_shape(key.public_key()),
            names=(),
            extensions=(),
            attributes=(),
            challenge_password=None,
        )
        return EnrollmentRequest(
            key=f"ocsp:{issuer}:{hashlib.sha256(spki).hexdigest()}",
            kind=Kind.ENROLL,
            endpoint=EndpointName(Protocol.OCSP, issuer),
            profile=None,
            csr=csr,
            requester=Requester("certwright", ()),
            now=self._clock(),
        )


def _csr(key: SigningKey, subject: DistinguishedName) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject.to_x509())
    digest = SHA256() if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) else None
    return builder.sign(key, digest).public_bytes(Encoding.DER)
