"""Several RA keys at once, and the CA to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca import der
from ca.ceremony import make_issuing_ca, make_ra_certificate
from server.cms.signed import load_signer_key, read_signed, verify
from server.scep.keyring import Keyring, Rollover
from server.scep.ra import RaKey
from tests.server.scep.device import NOW, csr, degenerate_certificates, enrollment, envelope, read_reply, rsa_key
from tests.server.scep.lab import ISSUING, ROOT, _named

if TYPE_CHECKING:
    from cryptography import x509

    from tests.server.scep.lab import Lab

NEXT = make_issuing_ca(ROOT, _named("Next Issuing"), now=NOW)
NEXT_RA = make_ra_certificate(NEXT, _named("Next RA"), now=NOW, key=rsa_key("next-ra"))
OLD_RA = make_ra_certificate(ISSUING, _named("Old RA"), now=NOW, key=rsa_key("old-ra"))


def encoded(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


@pytest.fixture
def ringed(lab: Lab) -> Lab:
    """The lab with an earlier RA and a CA to come."""
    coming = Rollover(
        RaKey(NEXT_RA.certificate, rsa_key("next-ra")), "next-profile", lambda: (NEXT.certificate, ROOT.certificate)
    )
    lab.keys = Keyring(lab.ra, (RaKey(OLD_RA.certificate, rsa_key("old-ra")),), coming)
    return lab


async def test_get_ca_cert_gives_out_the_current_ra_alone(ringed: Lab) -> None:
    answer = ringed.endpoint().advertising.ca_certificates()
    assert degenerate_certificates(answer.body)[0] == ringed.ra_der
    assert len(degenerate_certificates(answer.body)) == 3


@pytest.mark.parametrize("recipient", [OLD_RA, NEXT_RA], ids=["earlier", "to come"])
async def test_a_reply_is_signed_by_the_ra_that_the_client_wrote_to(ringed: Lab, recipient: object) -> None:
    """Clients keep what GetCACert gave them (IOS trustpoints, FortiGate, MDM profiles) and verify with that."""
    certificate = OLD_RA.certificate if recipient is OLD_RA else NEXT_RA.certificate
    answer = await ringed.send(enrollment(encoded(certificate)))
    reply = read_reply(answer.body, rsa_key())
    assert reply.status == "0"
    signer = reply.signed.signer_certificate()
    assert signer is not None
    assert signer.der == encoded(certificate)


async def test_a_request_to_the_ca_to_come_is_judged_by_its_profile(ringed: Lab) -> None:
    await ringed.ask(enrollment(encoded(NEXT_RA.certificate)))
    assert ringed.policy.seen[-1].profile == "next-profile"
    await ringed.ask(enrollment(encoded(OLD_RA.certificate), transaction=der.printable("another")))
    assert ringed.policy.seen[-1].profile is None


async def test_a_challenge_for_another_profile_is_nothing_to_the_ca_to_come(ringed: Lab) -> None:
    """The envelope is the client's choice, and must not lead around what a challenge is bound to."""
    await ringed.make_challenge("k7qxm-29fzt", profile="vpn")
    request = csr(rsa_key(), "device-1.test", "k7qxm-29fzt")
    for ca, status in ((NEXT_RA, "2"), (OLD_RA, "0")):
        message = enrollment(ringed.ra_der, content=envelope(request, encoded(ca.certificate)))
        assert (await ringed.ask(message, ringed.endpoint(challenge={"one_time": True}))).status == status
    assert [asked.profile for asked in ringed.policy.seen] == ["vpn"]


async def test_a_challenge_for_the_profile_of_the_ca_to_come_is_good_there(ringed: Lab) -> None:
    await ringed.make_challenge("k7qxm-29fzt", profile="next-profile")
    request = envelope(csr(rsa_key(), "device-1.test", "k7qxm-29fzt"), encoded(NEXT_RA.certificate))
    message = enrollment(ringed.ra_der, content=request)
    assert (await ringed.ask(message, ringed.endpoint(challenge={"one_time": True}))).status == "0"


async def test_get_next_ca_cert_is_signed_by_the_present_ra(ringed: Lab) -> None:
    answer = await ringed.endpoint().advertising.next_ca_certificates()
    assert (answer.status, answer.content_type) == (200, "application/x-x509-next-ca-cert")
    signed = read_signed(answer.body)
    verify(signed, load_signer_key(ringed.ra.addressed.spki))
    inside = degenerate_certificates(signed.content or b"")
    assert inside == (encoded(NEXT_RA.certificate), encoded(NEXT.certificate), encoded(ROOT.certificate))


async def test_get_next_ca_cert_is_a_404_as_long_as_none_is_announced(lab: Lab) -> None:
    assert (await lab.endpoint().advertising.next_ca_certificates()).status == 404


def test_a_key_that_is_gone_meanwhile_leaves_the_reply_to_the_current_one(lab: Lab) -> None:
    assert Keyring(lab.ra).holder(RaKey(OLD_RA.certificate, rsa_key("old-ra")).addressed) is lab.ra
