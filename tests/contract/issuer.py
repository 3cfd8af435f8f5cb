"""What every issuing backend must do. A backend's test class inherits this and gives the fixture `issuer`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ca.ceremony import generate_key
from ca.check import check
from ca.issuer import IssuerRefused, Permit, PermitMismatch, PermitSpent
from ca.names import DistinguishedName
from ca.plan import KeyUsage, PlannedExtension
from ca.tbs import SERIAL_LIMIT
from tests.fakes.issuer import make_plan, spki_of

if TYPE_CHECKING:
    from ca.issuer import Issuer
    from ca.plan import CertificatePlan


async def issue(issuer: Issuer, plan: CertificatePlan, serial: int = 0x5EA1) -> x509.Certificate:
    return await issuer.issue(Permit("request", plan, serial), plan, serial)


class IssuerContract:
    @pytest.fixture
    def issuer(self) -> Issuer:
        raise LookupError("a backend's test class gives its issuer")

    async def test_what_is_signed_is_what_was_planned(self, issuer: Issuer) -> None:
        plan = make_plan()
        check(plan, 0x5EA1, await issue(issuer, plan), issuer.chain()[0])

    @pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "rsa:2048", "ed25519"])
    async def test_every_kind_of_subject_key_is_signed(self, issuer: Issuer, kind: str) -> None:
        plan = make_plan(spki=spki_of(generate_key(kind)))
        check(plan, 0x5EA1, await issue(issuer, plan), issuer.chain()[0])

    async def test_names_are_critical_when_there_is_no_subject(self, issuer: Issuer) -> None:
        plan = make_plan(subject=DistinguishedName())
        certificate = await issue(issuer, plan)
        assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical
        check(plan, 0x5EA1, certificate, issuer.chain()[0])

    async def test_extensions_of_the_profile_are_signed_as_they_are(self, issuer: Issuer) -> None:
        plan = make_plan(extensions=(PlannedExtension("1.3.6.1.4.1.55555.1", False, b"\x0c\x02hi"),))  # noqa: FBT003 - a field
        check(plan, 0x5EA1, await issue(issuer, plan), issuer.chain()[0])

    async def test_a_permit_is_good_for_one_certificate(self, issuer: Issuer) -> None:
        plan = make_plan()
        permit = Permit("request", plan, 1)
        await issuer.issue(permit, plan, 1)
        with pytest.raises(PermitSpent):
            await issuer.issue(permit, plan, 1)

    async def test_a_permit_is_good_for_its_own_plan_only(self, issuer: Issuer) -> None:
        plan = make_plan()
        permit = Permit("request", plan, 1)
        with pytest.raises(PermitMismatch):
            await issuer.issue(permit, replace(plan, names=()), 1)
        with pytest.raises(PermitSpent):
            await issuer.issue(permit, plan, 1)

    async def test_a_permit_is_good_for_its_own_serial_number_only(self, issuer: Issuer) -> None:
        plan = make_plan()
        with pytest.raises(PermitMismatch):
            await issuer.issue(Permit("request", plan, 1), plan, 2)

    async def test_a_permit_used_twice_at_the_same_time_gives_one_certificate(self, issuer: Issuer) -> None:
        plan = make_plan()
        permit = Permit("request", plan, 1)
        tries = (issuer.issue(permit, plan, 1) for _ in range(8))
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(isinstance(result, x509.Certificate) for result in results) == 1
        assert sum(isinstance(result, PermitSpent) for result in results) == 7

    async def test_the_same_request_again_gives_the_same_content(self, issuer: Issuer) -> None:
        plan = make_plan()
        first, second = await issue(issuer, plan), await issue(issuer, plan)
        assert first.tbs_certificate_bytes == second.tbs_certificate_bytes

    async def test_many_at_once_are_kept_apart(self, issuer: Issuer) -> None:
        plans = [make_plan(subject=DistinguishedName.from_text(f"CN=device {n}")) for n in range(16)]
        certificates = await asyncio.gather(*(issue(issuer, plan, n + 1) for n, plan in enumerate(plans)))
        for n, (plan, certificate) in enumerate(zip(plans, certificates, strict=True)):
            check(plan, n + 1, certificate, issuer.chain()[0])

    @pytest.mark.parametrize("serial", [1, 0x80, SERIAL_LIMIT - 1])
    async def test_serial_numbers_of_up_to_20_octets_are_signed(self, issuer: Issuer, serial: int) -> None:
        assert (await issue(issuer, make_plan(), serial)).serial_number == serial

    @pytest.mark.parametrize("serial", [0, -1, SERIAL_LIMIT])
    async def test_other_serial_numbers_are_refused(self, issuer: Issuer, serial: int) -> None:
        with pytest.raises(IssuerRefused):
            await issue(issuer, make_plan(), serial)

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
            await issue(issuer, make_plan(**changes))

    async def test_nothing_outlives_the_issuing_ca(self, issuer: Issuer) -> None:
        end = issuer.chain()[0].not_valid_after_utc
        assert (await issue(issuer, make_plan(not_after=end))).not_valid_after_utc == end
        with pytest.raises(IssuerRefused):
            await issue(issuer, make_plan(not_after=end + timedelta(seconds=1)))

    async def test_the_chain_begins_with_the_issuer_and_holds(self, issuer: Issuer) -> None:
        chain = issuer.chain()
        (await issue(issuer, make_plan())).verify_directly_issued_by(chain[0])
        for below, above in pairwise(chain):
            below.verify_directly_issued_by(above)
