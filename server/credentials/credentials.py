"""What requesters present, judged endpoint by endpoint."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from policies.request import ChallengeEvidence, PasswordEvidence
from server.credentials import redeeming
from server.credentials.anchors import Rejected
from server.credentials.attempts import Attempts
from server.credentials.certificates import CertificateJudge, objection
from server.credentials.hashes import SecretVerifier, TooManyVerifications
from server.credentials.revoking import BUSY, RevocationChallenges
from server.credentials.stored import Presented, StoredSecrets
from server.outcome import Problem, Reason
from server.store import StoreUnavailable
from server.store.certificates import find_by_serial, find_named
from server.store.credentials import CredentialKind, find_by_username

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta

    from cryptography import x509

    from ca.names import DistinguishedName, GeneralName
    from policies.request import CertificateEvidence, EndpointName
    from server.clock import Clock
    from server.credentials.anchors import ThirdParty, TrustAnchors
    from server.credentials.redeeming import Redeemable
    from server.credentials.sealing import Sealer
    from server.outcome import Issued, Pending
    from server.store import Store
    from server.store.certificates import StoredCertificate

_Who: TypeAlias = "tuple[EndpointName, str | None, str | None]"
"""Whose failures count together: where, under which name, from which address; not where that is not known."""


@dataclass(frozen=True, slots=True)
class Authenticators:
    """How requesters of one endpoint prove who they are; the default is: not at all.

    Attributes:
        passwords: user names with argon2 hashes; empty: no passwords here.
        challenge: the argon2 hash of the static challenge; None: no challenge here.
        certificates: the endpoints whose certificates count; empty: no certificates here.
        stored: whether secrets of the store count, such as one-time passwords.
        anchors: other parties whose certificates count for first enrollments.
        sealer: opens shared secrets; None: none here.
    """

    passwords: Mapping[str, str]
    challenge: str | None
    certificates: frozenset[EndpointName]
    stored: bool = False
    anchors: tuple[TrustAnchors, ...] = ()
    sealer: Sealer | None = None


class Credentials:
    """Judges evidence.

    Args:
        store: the record of what was issued.
        endpoints: how requesters prove who they are, for each endpoint.
        issuers: the certificates of our issuers, by their configured names.
        clock: tells the time.
        seconds: a monotonic clock, for those who must wait.
        key: 32 random bytes that no other process has.
    """

    def __init__(
        self,
        *,
        store: Store,
        endpoints: Mapping[EndpointName, Authenticators],
        issuers: Mapping[str, x509.Certificate],
        clock: Clock,
        seconds: Callable[[], float],
        key: bytes,
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._clock = clock
        self._attempts = Attempts(seconds)
        self._secrets = SecretVerifier(key)
        self._stored_secrets = StoredSecrets(store, self._secrets, clock, seconds)
        self._judge = CertificateJudge(store, issuers)
        self._revocations = RevocationChallenges(store, self._secrets, clock)

    async def password(
        self, endpoint: EndpointName, username: str, password: str, *, address: str | None = None
    ) -> PasswordEvidence | Redeemable | Problem:
        """Judge an HTTP password; a user that does not exist takes as long as a wrong password.

        Returns:
            Evidence for a password of the endpoint's file; for one of the store, what it is good for.

        Args:
            endpoint: where it was presented.
            username: the user's name, may be empty (RFC 7030 section 3.2.3).
            password: the password.
            address: who presented it; failures count for user and address together, and not where it is not known.
        """
        ways = self._endpoints[endpoint]
        passwords = ways.passwords
        if ways.stored:
            presented = Presented(CredentialKind.EST_PASSWORD, endpoint, password, username)
            found, compared = await self._stored(presented, address, decoy=not passwords)
            # Argon2 is computed once for a wrong password, whoever the user is: the time tells nothing.
            if found is not None or not passwords or (compared and username not in passwords):
                return found or self._wrong((endpoint, username, address), "user name or password")
        if not passwords:
            return Problem(Reason.BAD_CREDENTIALS, "this endpoint takes no passwords")
        stored = passwords.get(username)
        decoy = next(iter(passwords.values()))
        problem = await self._secret((endpoint, username, address), stored, decoy, password, "user name or password")
        return problem or PasswordEvidence(username)

    async def challenge(
        self, endpoint: EndpointName, text: str, *, address: str | None = None
    ) -> ChallengeEvidence | Redeemable | Problem:
        """Judge a SCEP challenge password; arguments and result as for `password`."""
        stored = self._endpoints[endpoint].challenge
        if self._endpoints[endpoint].stored:
            found, _ = await self._stored(Presented(CredentialKind.SCEP_CHALLENGE, endpoint, text, None), address)
            if found is not None or stored is None:
                return found or self._wrong((endpoint, None, address), "challenge password")
        if stored is None:
            return Problem(Reason.BAD_CREDENTIALS, "this endpoint takes no challenge passwords")
        problem = await self._secret((endpoint, None, address), stored, stored, text, "challenge password")
        return problem or ChallengeEvidence("static")

    async def redeem(
        self,
        kind: CredentialKind,
        endpoint: EndpointName,
        secret: str,
        *,
        username: str | None = None,
        address: str | None = None,
    ) -> Redeemable | Problem:
        """Judge a secret of the store.

        It is not used up here: the request that relies on it names it in `EnrollmentRequest.spends`, asks for
        `Redeemable.profile`, and must have nothing against it that `Redeemable.objection` says.

        Args:
            kind: what it is presented for.
            endpoint: where.
            secret: what was presented.
            username: what came with it, None where nothing does.
            address: who presented it; failures count for user and address together, and not where it is not known.
        """
        found = None
        if self._endpoints[endpoint].stored:
            found, _ = await self._stored(Presented(kind, endpoint, secret, username), address)
        return found or self._wrong((endpoint, username, address), "one-time password")

    async def keep_revocation_challenge(
        self, endpoint: EndpointName, outcome: Issued | Pending, secret: str, by: str
    ) -> Problem | None:
        """Keep the secret with which a certificate may be revoked; see `RevocationChallenges.keep`."""
        return await self._revocations.keep(endpoint, outcome, secret, by)

    async def revocation_challenge(
        self, endpoint: EndpointName, certificate: StoredCertificate, secret: str, *, address: str | None = None
    ) -> Problem | None:
        """Judge the secret with which a certificate may be revoked. Returns None when it is right."""
        who, what = (endpoint, f"{certificate.serial:x}", address), "revocation challenge"
        try:
            kept = await self._revocations.hash_of(certificate)
        except StoreUnavailable as error:
            return _unreadable(error)
        return self._wrong(who, what) if kept is None else await self._secret(who, kept, kept, secret, what)

    async def shared_secret(
        self, endpoint: EndpointName, username: str, holds: Callable[[bytes], bool], *, address: str | None = None
    ) -> tuple[Redeemable, bytes] | Problem:
        """Judge a proof that the sender knows a shared secret of the store; used up as those of `redeem`.

        Args:
            endpoint: where.
            username: whose secret it is said to be.
            holds: tells whether the proof was made with these octets.
            address: who presented it; failures count for user and address together, and not where it is not known.

        Returns:
            What it is good for, and the secret.
        """
        sealer, who = self._endpoints[endpoint].sealer, (endpoint, username, address)
        if patience := self._must_wait(who):
            return patience
        kind = CredentialKind.CMC_SECRET
        try:
            found = await self._store.read(lambda c: find_by_username(c, kind, endpoint, username)) if sealer else ()
        except StoreUnavailable as error:
            return _unreadable(error)
        right = redeeming.opened(found, sealer, holds) if sealer is not None else None
        if right is None:
            return self._wrong(who, "identification or shared secret")
        credential, secret = right
        try:
            objection = await self._stored_secrets.why_not(credential)
        except StoreUnavailable as error:
            return _unreadable(error)
        if objection is not None:
            detail = f"credential {credential.id} is {objection}"
            return self._wrong(who, "identification or shared secret", detail)
        return self._succeeded(who) or (redeeming.redeemable(credential), secret)

    async def issued_for(self, endpoint: EndpointName, serial: int) -> StoredCertificate | Problem | None:
        """Return a certificate that was issued here or at an endpoint whose certificates count here, by its serial."""
        try:
            found = await self._store.read(lambda connection: find_by_serial(connection, serial))
        except StoreUnavailable as error:
            return _unreadable(error)
        return found if found and found.endpoint in {endpoint, *self._endpoints[endpoint].certificates} else None

    async def certificate(
        self, endpoint: EndpointName, presented: tuple[x509.Certificate, ...], *, grace: timedelta
    ) -> tuple[CertificateEvidence, StoredCertificate] | Problem:
        """Judge a presented certificate, whose key was proven already, each time anew.

        Args:
            endpoint: where it was presented.
            presented: what was presented, leaf first; not empty.
            grace: how long after its end it still counts.
        """
        accepted = self._endpoints[endpoint].certificates
        if not accepted:
            return Problem(Reason.CERTIFICATE_REJECTED, "this endpoint takes no certificates")
        return await self._judge.judge(presented[0], accepted=accepted, now=self._clock(), grace=grace)

    async def third_party(
        self, endpoint: EndpointName, presented: tuple[x509.Certificate, ...]
    ) -> ThirdParty | Problem | None:
        """Judge a presented certificate by the trust anchors of other parties, each time anew.

        Args:
            endpoint: where it was presented.
            presented: what was presented, leaf first; not empty.

        Returns:
            None when it is under none of the endpoint's anchors.
        """
        now, detail = self._clock(), f"serial number {presented[0].serial_number:x}"
        problem = None
        for anchors in self._endpoints[endpoint].anchors:
            try:
                found = await asyncio.to_thread(anchors.judge, presented, now)
            except Rejected as error:
                problem = Problem(Reason.CERTIFICATE_REJECTED, str(error), detail=f"{anchors.name}: {detail}")
                if not error.by_name:
                    return problem
                continue
            if found is not None:
                return found
        return problem

    async def renewable(
        self, endpoint: EndpointName, subject: DistinguishedName, names: Collection[GeneralName], *, grace: timedelta
    ) -> StoredCertificate | Problem | None:
        """Return the newest certificate for a subject and names that a registration authority may have renewed.

        Args:
            endpoint: where it asks; the certificate must be one that counts there.
            subject: the subject, found by its text with letters of either case; the policy compares it as RFC 5280
                section 7.1 says.
            names: the subject alternative names, in any order.
            grace: how long after its end a certificate may still be renewed.
        """
        accepted, now = self._endpoints[endpoint].certificates, self._clock()
        wanted = tuple(map(str, names))
        try:
            found = await self._store.read(lambda connection: find_named(connection, str(subject), wanted))
        except StoreUnavailable as error:
            return _unreadable(error)
        return next((one for one in found if not objection(one, accepted, now, grace)), None)

    def issues_as(self, name: bytes) -> bool:
        """Return whether one of our issuers has this encoded name; whether it has issued anything is judged later."""
        return name in self._judge.issuer_names

    async def _secret(self, who: _Who, stored: str | None, decoy: str, secret: str, what: str) -> Problem | None:
        """Return None when the secret is right."""
        if patience := self._must_wait(who):
            return patience
        try:
            if stored is None:
                await self._secrets.verify_nothing(decoy, secret)
            elif await self._secrets.verify(stored, secret):
                return self._succeeded(who)
        except TooManyVerifications:
            return BUSY
        return self._wrong(who, what)

    def _must_wait(self, who: _Who) -> Problem | None:
        """Return the refusal of who has failed too often to be judged now; None for others."""
        wait = self._attempts.wait(who)
        if not wait:
            return None
        return Problem(Reason.RATE_LIMITED, f"too many wrong attempts; wait {wait} s", retry_after=wait)

    def _succeeded(self, who: _Who) -> Problem | None:
        """Forget the failures of who is right, but not of who must wait by now: it was one of many guesses at once."""
        patience = self._must_wait(who)
        if patience is None:
            self._attempts.succeeded(who)
        return patience

    def _wrong(self, who: _Who, what: str, detail: str = "") -> Problem:
        if who[2]:
            self._attempts.failed(who)
        return Problem(Reason.BAD_CREDENTIALS, f"wrong {what}", detail=detail)

    async def _stored(
        self, presented: Presented, address: str | None, *, decoy: bool = False
    ) -> tuple[Redeemable | Problem | None, bool]:
        """Return what a secret of the store is good for, or why not any more; None when there is none such.

        Also whether argon2 was computed for it; for `decoy` see `StoredSecrets.find`.
        """
        who = (presented.endpoint, presented.username, address)
        if patience := self._must_wait(who):
            return patience, False
        try:
            found, compared = await self._stored_secrets.find(presented, decoy=decoy)
            objection = None if found is None else await self._stored_secrets.why_not(found)
        except StoreUnavailable as error:
            message = "the credentials can't be checked now"
            return Problem(Reason.STORE_UNAVAILABLE, message, detail=str(error), retry_after=5), False
        except TooManyVerifications:
            return BUSY, False
        if found is None:
            return None, compared
        if objection is not None:
            is_challenge = presented.kind is CredentialKind.SCEP_CHALLENGE
            what = "challenge password" if is_challenge else "user name or password"
            return self._wrong(who, what, f"credential {found.id} is {objection}"), compared
        return self._succeeded(who) or redeeming.redeemable(found), compared

    def close(self) -> None:
        """Let what runs in the background end."""
        self._secrets.close()


def _unreadable(error: StoreUnavailable) -> Problem:
    return Problem(Reason.STORE_UNAVAILABLE, "the record can't be read now", detail=str(error), retry_after=5)
