"""revokeCert (RFC 8555 section 7.6): by the account that has the certificate or its names, or by its own key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.names import DnsName, IpAddress, MalformedName, OtherName, names_of
from policies.request import account_identity
from server.acme.codec.device_identifiers import from_other_name
from server.acme.codec.requests import decode_revocation
from server.acme.messages import ErrorType, Identifier, ProblemDocument, Rejected, Reply, rejected
from server.acme.records import authorizations, orders
from server.acme.records.compromised import certificates_with_key
from server.acme.service.authentication import active
from server.acme.service.endpoint import STORE_RETRY
from server.store import StoreUnavailable
from server.store.certificates import RevocationOutcome, StoredCertificate, find_exactly
from server.store.revocations import may_become

if TYPE_CHECKING:
    import sqlalchemy as sa

    from server.acme.messages import Revocation as Request
    from server.acme.service.authentication import Authentication, Call, Signed
    from server.acme.service.endpoint import AcmeEndpoint

REASONS = {
    None: x509.ReasonFlags.unspecified,
    0: x509.ReasonFlags.unspecified,
    1: x509.ReasonFlags.key_compromise,
    3: x509.ReasonFlags.affiliation_changed,
    4: x509.ReasonFlags.superseded,
    5: x509.ReasonFlags.cessation_of_operation,
}
"""CRLReason codes that a subscriber may give (RFC 5280 section 5.3.1); the others are the CA's to give."""
_KEY_COMPROMISE = 1
_NOT_ITS_KEY = "only the account that got the certificate, or its key, can say that the key was compromised"
"""What others say would keep the key from its owner everywhere: it gets no certificate any more."""


class Revocation:
    """The revokeCert resource."""

    def __init__(self, endpoint: AcmeEndpoint, authentication: Authentication) -> None:
        self._endpoint = endpoint
        self._authentication = authentication

    async def revoke(self, call: Call) -> Reply:
        """Answer revokeCert: 200 with an empty body."""
        signed = await self._authentication.by_either(call)
        request = decode_revocation(signed.payload)
        if request.reason not in REASONS:
            allowed = ", ".join(str(code) for code in REASONS if code is not None)
            raise rejected(ErrorType.BAD_REVOCATION_REASON, f"the reason must be one of {allowed}")
        stored = await self._endpoint.read(lambda c: self._judge(c, signed, request))
        call.transaction = stored.request_id
        by = account_identity(signed.account) if signed.account else "certificate key"
        try:
            if request.reason == _KEY_COMPROMISE and not signed.account:
                await self._revoke_others(stored, signed)
            outcome = await self._endpoint.enrollment.revoke(stored.serial, REASONS[request.reason], by)
        except StoreUnavailable:
            detail = "the revocation can't be recorded at the moment"
            raise Rejected(ProblemDocument(ErrorType.SERVER_INTERNAL, detail, 503, retry_after=STORE_RETRY)) from None
        if outcome is not RevocationOutcome.REVOKED:
            raise rejected(ErrorType.ALREADY_REVOKED, "the certificate is revoked already")
        return Reply(200, facts={"serial": format(stored.serial, "x")})

    async def _revoke_others(self, stored: StoredCertificate, signed: Signed) -> None:
        """Revoke every other certificate with the key that says of itself that somebody else has it.

        Before the one that was asked for: should there be trouble, the client can ask again. Raises StoreUnavailable.
        """
        now = self._endpoint.clock()
        found = await self._endpoint.read(lambda c: certificates_with_key(c, signed.key.spki, now))
        for serial in found:
            if serial != stored.serial:
                await self._endpoint.enrollment.revoke(serial, x509.ReasonFlags.key_compromise, "certificate key")

    def _judge(self, connection: sa.Connection, signed: Signed, request: Request) -> StoredCertificate | Rejected:
        """Find the certificate by every octet of it, and say whether the signer may revoke it, for this reason."""
        if signed.account:
            refusal = active(connection, signed)
            if refusal:
                return refusal
        stored = find_exactly(connection, request.certificate)
        if stored is None or stored.endpoint != self._endpoint.name:
            return rejected(ErrorType.MALFORMED, "the certificate was not issued here", 404)
        certificate = x509.load_der_x509_certificate(stored.der)
        own = _is_its_own(connection, signed, stored, certificate)
        if not own and not self._has_names(connection, signed, stored, certificate):
            return rejected(ErrorType.UNAUTHORIZED, "the signer has no authority over the certificate")
        # A hold may end, and a key turn out to be compromised: who says so has to be heard.
        if stored.revoked_at is not None and not may_become(stored.revocation_reason, REASONS[request.reason]):
            return rejected(ErrorType.ALREADY_REVOKED, "the certificate is revoked already")
        if not own and request.reason == _KEY_COMPROMISE:
            return rejected(ErrorType.BAD_REVOCATION_REASON, _NOT_ITS_KEY)
        return stored

    def _has_names(
        self, connection: sa.Connection, signed: Signed, stored: StoredCertificate, certificate: x509.Certificate
    ) -> bool:
        """Say whether an account is authorized for every name, as the certificate's profile wants it shown."""
        if not signed.account:
            return False
        try:
            names = names_of(certificate)
        except MalformedName:  # one that is refused today: no account can show that it has it
            return False
        wanted = {Identifier("dns", name.value) for name in names if isinstance(name, DnsName)}
        wanted |= {Identifier("ip", str(name.value)) for name in names if isinstance(name, IpAddress)}
        for name in names:
            device = from_other_name(name.type_id, name.value) if isinstance(name, OtherName) else None
            wanted |= {device} if device else set()
        held = authorizations.authorized_names(
            connection,
            signed.account,
            wanted,
            self._endpoint.clock(),
            lambda profile: self._endpoint.same_proofs(profile, stored.profile),
        )
        return len(wanted) == len(set(names)) and bool(wanted) and wanted <= held


def _is_its_own(
    connection: sa.Connection, signed: Signed, stored: StoredCertificate, certificate: x509.Certificate
) -> bool:
    """Say whether the signer is the account that got the certificate, or has its key."""
    if signed.account:
        return orders.issued_to(connection, signed.account, stored.request_id)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return spki == signed.key.spki
