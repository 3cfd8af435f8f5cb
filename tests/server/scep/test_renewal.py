"""Renewals: the old certificate signs, by RenewalReq or by PKCSReq."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from policies.request import CertificateEvidence, Kind
from server.outcome import Reason
from tests.server.scep.device import NOW, Message, common_name, csr, enrollment, envelope, rsa_key, self_signed
from tests.server.scep.lab import ISSUING

if TYPE_CHECKING:
    from server.scep.service import ScepEndpoint
    from tests.server.scep.lab import Lab

RENEWAL_REQ, PKCS_REQ = der.printable("17"), der.printable("19")


def renewal(lab: Lab, old: x509.Certificate, kind: bytes = RENEWAL_REQ, **changes: str | None) -> Message:
    """Return a renewal with a new key, signed by the old one."""
    request = csr(rsa_key("new"), changes.get("name") or "device-1.test", changes.get("challenge"))
    return Message(envelope(request, lab.ra_der), rsa_key(), old.public_bytes(Encoding.DER), kind=kind)


@pytest.mark.parametrize("kind", [RENEWAL_REQ, PKCS_REQ], ids=["17", "19"])
@pytest.mark.parametrize("challenge", [None, "spent long ago"])
async def test_the_old_certificate_authenticates_and_a_challenge_is_ignored(
    lab: Lab, kind: bytes, challenge: str | None
) -> None:
    old = await lab.enroll()
    reply = await lab.ask(renewal(lab, old, kind, challenge=challenge))
    assert reply.status == "0", reply.text
    new = x509.load_der_x509_certificate(reply.certificates[0])
    assert new.public_key() == rsa_key("new").public_key()
    asked = lab.policy.seen[-1]
    assert asked.kind is Kind.RENEW
    assert asked.renewed is not None
    assert asked.renewed.serial == old.serial_number
    assert isinstance(asked.requester.evidence[0], CertificateEvidence)
    assert asked.requester.identity == f"certificate:{old.serial_number:x}"


@pytest.mark.parametrize("kind", [RENEWAL_REQ, PKCS_REQ], ids=["17", "19"])
async def test_a_renewal_with_the_same_key_and_transaction_gets_a_new_certificate(lab: Lab, kind: bytes) -> None:
    first = enrollment(lab.ra_der)
    old = await lab.enroll(content=first.content)
    lab.pass_time(timedelta(hours=1))
    again = Message(first.content, rsa_key(), old.public_bytes(Encoding.DER), kind=kind)
    new = (await lab.ask(again)).certificates[0]
    assert new != old.public_bytes(Encoding.DER)
    assert (await lab.ask(again)).certificates == (new,)
    assert await lab.issued() == 2


async def test_a_renewal_of_the_renewed_certificate_is_another_one(lab: Lab) -> None:
    old = await lab.enroll()
    content = enrollment(lab.ra_der).content
    new = await lab.enroll(content=content, certificate=old.public_bytes(Encoding.DER))
    newest = await lab.enroll(content=content, certificate=new.public_bytes(Encoding.DER))
    assert len({old, new, newest}) == 3


async def refused(lab: Lab, message: Message, endpoint: ScepEndpoint | None = None) -> Reason | None:
    before = await lab.issued()
    reply = await lab.ask(message, endpoint)
    assert reply.status == "2"
    assert await lab.issued() == before
    newest = (await lab.requests())[0]
    assert newest.transaction == "transaction-1"
    return newest.reason


@pytest.mark.parametrize("kind", [RENEWAL_REQ, PKCS_REQ], ids=["17", "19"])
async def test_an_expired_certificate_renews_nothing(lab: Lab, kind: bytes) -> None:
    old = await lab.enroll()
    lab.pass_time(timedelta(days=31))
    assert await refused(lab, renewal(lab, old, kind, challenge="sesame")) is Reason.CERTIFICATE_REJECTED


async def test_an_expired_certificate_renews_within_the_grace_of_the_endpoint(lab: Lab) -> None:
    old = await lab.enroll()
    lab.pass_time(timedelta(days=31))
    reply = await lab.ask(renewal(lab, old), lab.endpoint(renewal_grace="2d"))
    assert reply.status == "0"


@pytest.mark.parametrize("kind", [RENEWAL_REQ, PKCS_REQ], ids=["17", "19"])
async def test_a_revoked_certificate_renews_nothing(lab: Lab, kind: bytes) -> None:
    old = await lab.enroll()
    await lab.enrollment.revoke(old.serial_number, x509.ReasonFlags.key_compromise, "the test")
    assert await refused(lab, renewal(lab, old, kind, challenge="sesame")) is Reason.CERTIFICATE_REJECTED


@pytest.mark.parametrize("kind", [RENEWAL_REQ, PKCS_REQ], ids=["17", "19"])
async def test_a_certificate_of_another_endpoint_renews_nothing(lab: Lab, kind: bytes) -> None:
    old = await lab.enroll(lab.endpoint("other"))
    assert await refused(lab, renewal(lab, old, kind, challenge="sesame")) is Reason.CERTIFICATE_REJECTED


async def test_a_renewal_signed_by_a_self_signed_certificate_is_refused(lab: Lab) -> None:
    message = enrollment(lab.ra_der, kind=RENEWAL_REQ)
    assert await refused(lab, message) is Reason.CERTIFICATE_REJECTED


def claimed(*, ca: bool = False) -> bytes:
    """Return a certificate that names our CA as its issuer, which never signed it."""
    builder = x509.CertificateBuilder(ISSUING.certificate.subject, common_name("x"), rsa_key().public_key(), 5)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    return builder.sign(rsa_key(), hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("kind", [RENEWAL_REQ, PKCS_REQ], ids=["17", "19"])
@pytest.mark.parametrize("certificate", [claimed(), claimed(ca=True)], ids=["leaf", "CA"])
async def test_a_certificate_that_only_claims_to_be_ours_renews_nothing(
    lab: Lab, kind: bytes, certificate: bytes
) -> None:
    message = enrollment(lab.ra_der, kind=kind, certificate=certificate)
    assert await refused(lab, message) is Reason.CERTIFICATE_REJECTED


async def test_the_ra_can_not_renew_itself(lab: Lab) -> None:
    message = Message(envelope(csr(rsa_key("ra")), lab.ra_der), rsa_key("ra"), lab.ra_der, kind=RENEWAL_REQ)
    assert await refused(lab, message) is Reason.CERTIFICATE_REJECTED


async def test_another_key_can_not_sign_with_somebodys_certificate(lab: Lab) -> None:
    old = await lab.enroll()
    thief = rsa_key("thief")
    request = envelope(csr(thief), lab.ra_der)
    message = Message(request, thief, old.public_bytes(Encoding.DER), kind=RENEWAL_REQ)
    reply = await lab.send(message)
    assert reply.notes["reason"] == Reason.BAD_PROOF


async def test_a_signing_certificate_that_can_not_be_loaded_renews_nothing(lab: Lab) -> None:
    fields, algorithm, signature = der.children(der.read(self_signed(rsa_key())))
    broken = der.sequence(
        der.sequence(*(f.raw for f in der.children(fields)), der.null()), algorithm.raw, signature.raw
    )
    message = enrollment(lab.ra_der, kind=RENEWAL_REQ, certificate=broken)
    assert await refused(lab, message) is Reason.CERTIFICATE_REJECTED
    version_11 = claimed().replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0a", 1)
    for kind in (RENEWAL_REQ, PKCS_REQ):
        message = enrollment(lab.ra_der, kind=kind, certificate=version_11)
        assert await refused(lab, message) is Reason.CERTIFICATE_REJECTED


async def test_an_endpoint_without_renewal_takes_a_certificate_for_nothing_special(lab: Lab) -> None:
    old = await lab.enroll()
    endpoint = lab.endpoint(renewal=False)
    assert await refused(lab, renewal(lab, old, RENEWAL_REQ), endpoint) is Reason.NOT_RENEWABLE
    assert await refused(lab, renewal(lab, old, PKCS_REQ, challenge="sesame"), endpoint) is Reason.BAD_PROOF


async def test_a_foreign_certificate_makes_a_first_enrollment_which_needs_the_challenge(lab: Lab) -> None:
    builder = x509.CertificateBuilder(common_name("Vendor"), common_name("x"), rsa_key().public_key(), 5)
    foreign = (
        builder.not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1)).sign(rsa_key("vendor"), hashes.SHA256())
    )
    encoded = foreign.public_bytes(Encoding.DER)
    await lab.enroll(certificate=encoded)
    content = envelope(csr(rsa_key(), "device-1.test", None), lab.ra_der)
    reason = await refused(lab, enrollment(lab.ra_der, certificate=encoded, content=content))
    assert reason is Reason.UNAUTHENTICATED
