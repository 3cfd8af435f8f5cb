"""What every issuing backend must do. A backend's test class inherits a contract here and gives the fixture `issuer`.

`IssuerContract` is for all; `SigningContract` adds what holds when the octets that are signed are ours, and
`RevokerContract` is for backends that tell their CA of revocations; its class gives the fixture `revoked` too.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca.ceremony import generate_key
from ca.check import check
from ca.crl import REASONS
from ca.issuer import NO_LATITUDE, IssuerRefused, Permit, PermitMismatch, PermitSpent, RemoteIssuer, Revoker
from ca.names import DistinguishedName
from ca.plan import KeyUsage, PlannedExtension
from ca.tbs import SERIAL_LIMIT
from tests.fakes.issuer import NOW, csr_of, make_issuer, make_plan, spki_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from ca.issuer import Issuer
    from ca.plan import CertificatePlan


_NOT_FINAL = {x509.ReasonFlags.remove_from_crl, x509.ReasonFlags.certificate_hold}


def permit_for(issuer: Issuer, plan: CertificatePlan, serial: int, request_id: str = "request") -> Permit:
    """Make a permit, with the CSR for a CA that wants to see it."""
    return Permit(request_id, plan, serial, csr_of(plan) if isinstance(issuer, RemoteIssuer) else None)


async def issue(
    issuer: Issuer, plan: CertificatePlan, serial: int = 0x5EA1, request_id: str = "request"
) -> x509.Certificate:
    return x509.load_der_x509_certificate(
        await issuer.issue(permit_for(issuer, plan, serial, request_id), plan, serial)
    )


def accept(issuer: Issuer, plan: CertificatePlan, certificate: x509.Certificate, serial: int = 0x5EA1) -> None:
    """Fail unless the door would let this certificate out."""
    latitude = issuer.latitude() if isinstance(issuer, RemoteIssuer) else NO_LATITUDE
    check(plan, serial, certificate.public_bytes(Encoding.DER), issuer.chain()[0], latitude)


class IssuerContract:
    kinds: ClassVar[tuple[str, ...]] = ("P-256", "P-384", "P-521", "rsa:2048", "ed25519")
    """The kinds of subject keys that the CA takes."""

    def plan(self, **changes: object) -> CertificatePlan:
        """Make a plan that the CA can sign."""
        return make_plan(**changes)

    @pytest.fixture
    def issuer(self) -> Issuer:
        raise LookupError("a backend's test class gives its issuer")

    async def test_what_is_signed_is_what_was_planned(self, issuer: Issuer) -> None:
        plan = self.plan()
        accept(issuer, plan, await issue(issuer, plan))

    async def test_every_kind_of_subject_key_is_signed(self, issuer: Issuer) -> None:
        for kind in self.kinds:
            plan = self.plan(spki=spki_of(generate_key(kind)))
            accept(issuer, plan, await issue(issuer, plan, request_id=kind))

    async def test_names_are_critical_when_there_is_no_subject(self, issuer: Issuer) -> None:
        plan = self.plan(subject=DistinguishedName())
        certificate = await issue(issuer, plan)
        assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
        accept(issuer, plan, certificate)

    async def test_a_permit_is_good_for_one_certificate(self, issuer: Issuer) -> None:
        plan = self.plan()
        permit = permit_for(issuer, plan, 1)
        await issuer.issue(permit, plan, 1)
        with pytest.raises(PermitSpent):
            await issuer.issue(permit, plan, 1)

    async def test_a_permit_is_good_for_its_own_plan_only(self, issuer: Issuer) -> None:
        plan = self.plan()
        permit = permit_for(issuer, plan, 1)
        with pytest.raises(PermitMismatch):
            await issuer.issue(permit, replace(plan, names=()), 1)
        with pytest.raises(PermitSpent):
            await issuer.issue(permit, plan, 1)

    async def test_a_permit_is_good_for_its_own_serial_number_only(self, issuer: Issuer) -> None:
        plan = self.plan()
        with pytest.raises(PermitMismatch):
            await issuer.issue(permit_for(issuer, plan, 1), plan, 2)

    async def test_a_permit_used_twice_at_the_same_time_gives_one_certificate(self, issuer: Issuer) -> None:
        plan = self.plan()
        permit = permit_for(issuer, plan, 1)
        tries = (issuer.issue(permit, plan, 1) for _ in range(8))
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(result, bytes) for result in results) == 1
        assert sum(isinstance(result, PermitSpent) for result in results) == 7

    async def test_many_at_once_are_kept_apart(self, issuer: Issuer) -> None:
        plans = [self.plan(subject=DistinguishedName.from_text(f"CN=device {n}")) for n in range(16)]
        certificates = await asyncio.gather(*(issue(issuer, plan, n + 1, str(n)) for n, plan in enumerate(plans)))
        for n, (plan, certificate) in enumerate(zip(plans, certificates, strict=True)):
            accept(issuer, plan, certificate, n + 1)

    @pytest.mark.parametrize("serial", [0, -1, SERIAL_LIMIT])
    async def test_other_serial_numbers_are_refused(self, issuer: Issuer, serial: int) -> None:
        with pytest.raises(IssuerRefused):
            await issue(issuer, self.plan(), serial)

    @pytest.mark.parametrize(
        "changes",
        [
            {"ca": True},
            {"key_usage": frozenset({KeyUsage.KEY_CERT_SIGN})},
            {"key_usage": frozenset({KeyUsage.DIGITAL_SIGNATURE, KeyUsage.CRL_SIGN})},
            {"extended_key_usage": ()},
            {"subject": DistinguishedName(), "names": ()},
        ],
    )
    async def test_a_plan_that_nobody_may_sign_is_refused(self, issuer: Issuer, changes: dict[str, object]) -> None:
        with pytest.raises(IssuerRefused):
            await issue(issuer, self.plan(**changes))

    async def test_nothing_outlives_the_issuing_ca(self, issuer: Issuer) -> None:
        end = issuer.chain()[0].not_valid_after_utc
        assert (await issue(issuer, self.plan(not_after=end))).not_valid_after_utc <= end
        with pytest.raises(IssuerRefused):
            await issue(issuer, self.plan(not_after=end + timedelta(seconds=1)))

    async def test_the_same_request_again_is_answered_again(self, issuer: Issuer) -> None:
        plan = self.plan()
        for _ in range(2):
            accept(issuer, plan, await issue(issuer, plan))

    async def test_the_chain_begins_with_the_issuer_and_holds(self, issuer: Issuer) -> None:
        chain = issuer.chain()
        (await issue(issuer, self.plan())).verify_directly_issued_by(chain[0])
        for below, above in pairwise(chain):
            below.verify_directly_issued_by(above)


class SigningContract(IssuerContract):
    async def test_extensions_of_the_profile_are_signed_as_they_are(self, issuer: Issuer) -> None:
        plan = self.plan(extensions=(PlannedExtension("1.3.6.1.4.1.55555.1", False, b"\x0c\x02hi"),))  # noqa: FBT003 - a field
        accept(issuer, plan, await issue(issuer, plan))

    async def test_the_same_request_again_gives_the_same_content(self, issuer: Issuer) -> None:
        plan = self.plan()
        first, second = await issue(issuer, plan), await issue(issuer, plan)
        assert first.tbs_certificate_bytes == second.tbs_certificate_bytes

    @pytest.mark.parametrize("serial", [1, 0x80, SERIAL_LIMIT - 1])
    async def test_serial_numbers_of_up_to_20_octets_are_signed(self, issuer: Issuer, serial: int) -> None:
        assert (await issue(issuer, self.plan(), serial)).serial_number == serial

    async def test_a_plan_is_signed_to_the_end_of_the_issuing_ca(self, issuer: Issuer) -> None:
        end = issuer.chain()[0].not_valid_after_utc
        assert (await issue(issuer, self.plan(not_after=end))).not_valid_after_utc == end


class RevokerContract:
    """Inherit it beside `IssuerContract`."""

    foreign: ClassVar[type[Exception]] = IssuerRefused
    """What comes of a certificate that the CA does not know."""

    @pytest.fixture
    def revoked(self) -> Callable[[], Container[int]]:
        """Return what gives the serial numbers that the CA has revoked."""
        raise LookupError("a backend's test class says what its CA has revoked")

    def certificate(self) -> x509.Certificate:
        """Make a certificate of another CA."""
        return make_issuer().chain()[0]

    async def test_the_ca_is_told_of_a_revocation(self, issuer: Issuer, revoked: Callable[[], Container[int]]) -> None:
        assert isinstance(issuer, Revoker)
        plans = [self.plan(), self.plan()]  # type: ignore[attr-defined] # of the contract beside this one
        kept, lost = [await issue(issuer, plan, n + 1, f"revoked-{n}") for n, plan in enumerate(plans)]
        await issuer.revoke(lost, x509.ReasonFlags.key_compromise, lost.not_valid_before_utc)
        assert lost.serial_number in revoked()
        assert kept.serial_number not in revoked()

    async def test_a_revocation_may_be_told_again(self, issuer: Issuer) -> None:
        assert isinstance(issuer, Revoker)
        lost = await issue(issuer, self.plan())  # type: ignore[attr-defined] # of the contract beside this one
        for _ in range(2):
            await issuer.revoke(lost, x509.ReasonFlags.superseded, lost.not_valid_before_utc)

    @pytest.mark.parametrize("reason", [reason for reason in REASONS if reason not in _NOT_FINAL])
    async def test_every_final_reason_revokes(
        self, issuer: Issuer, revoked: Callable[[], Container[int]], reason: x509.ReasonFlags
    ) -> None:
        assert isinstance(issuer, Revoker)
        lost = await issue(issuer, self.plan())  # type: ignore[attr-defined] # of the contract beside this one
        await issuer.revoke(lost, reason, lost.not_valid_before_utc)
        assert lost.serial_number in revoked()

    async def test_a_certificate_of_another_ca_is_not_revoked(self, issuer: Issuer) -> None:
        assert isinstance(issuer, Revoker)
        with pytest.raises(self.foreign):
            await issuer.revoke(self.certificate(), x509.ReasonFlags.unspecified, NOW)
