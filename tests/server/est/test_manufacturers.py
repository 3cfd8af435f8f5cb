"""Devices that bring a certificate of their manufacturer, and registration authorities, on real connections."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca.csr import parse_csr
from policies.document import DocumentErrors
from policies.request import (
    EndpointName,
    EnrollmentRequest,
    Kind,
    PasswordEvidence,
    Requester,
)
from server.app.material import load_material
from server.clock import system_clock
from server.config import load_config
from server.outcome import Issued
from server.store.certificates import list_certificates
from server.store.requests import list_requests
from tests.fakes.manufacturer import make
from tests.server.est.lab import Holder, csr, lab

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.est.lab import Answer, Lab

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  reenroll_first: {reenroll}
  authenticate:
    certificates: true
    manufacturers:
      acme: {{anchors: trust/acme.pem, crls: [trust/root.crl, trust/sub.crl]}}
est/closed:
  profiles: [iot-device]
  authenticate: {{certificates: true}}
"""
ROOT = make("Acme Root", ca=True)
SUB = make("Acme Sub CA", ROOT, ca=True)


@pytest.fixture
def trust(folder: Path) -> Path:
    ROOT.write(folder / "trust" / "acme.pem")
    ROOT.crl(folder / "trust" / "root.crl")
    SUB.crl(folder / "trust" / "sub.crl")
    return folder


def holder(name: str, **fields: Any) -> Holder:
    device = make(name, SUB, **fields)
    return Holder(device.key, (device.certificate, SUB.certificate))


async def post(running: Lab, path: str, shown: Holder, name: str) -> Answer:
    return await running.post(path, csr(name), holder=shown)


async def test_a_manufacturers_certificate_is_good_for_the_first_certificate_with_its_names_alone(trust: Path) -> None:
    async with lab(trust, ENDPOINTS.format(reenroll="false")) as running:
        device = holder("pump-17")
        first = await post(running, "simpleenroll", device, "pump-17")
        assert first.certificate.issuer != device.chain[0].issuer
        assert (await post(running, "simpleenroll", device, "pump-18")).status == 403
        (stored,) = await running.application.services.store.read(list_certificates)
        assert re.fullmatch(rf"certificate:acme\.[0-9a-f]{{16}}\.{device.chain[0].serial_number:x}", stored.requester)
        assert stored.renews is None


async def test_devices_with_one_serial_number_of_two_sub_cas_are_two_requesters(trust: Path) -> None:
    """A serial number is unique within one issuer alone: limits, records and pending requests go by the issuer too."""
    text = ENDPOINTS.format(reenroll="false").replace("crls: [trust/root.crl, trust/sub.crl]", "revocation: none")
    other = make("Acme Sub CA 2", ROOT, ca=True)
    async with lab(trust, text) as running:
        for ca in (SUB, other):
            device = make("pump", ca, serial=7)
            shown = Holder(device.key, (device.certificate, ca.certificate))
            assert (await post(running, "simpleenroll", shown, "pump")).status == 200
        requesters = [one.requester for one in await running.application.services.store.read(list_certificates)]
        assert len(set(requesters)) == 2
        assert all(one.startswith("certificate:acme.") and one.endswith(".7") for one in requesters)


async def test_two_manufacturers_whose_cas_have_the_same_name_are_told_apart(trust: Path) -> None:
    other = make("Acme Sub CA", ca=True)
    other.write(trust / "trust" / "other.pem")
    more = "\n      zenith: {{anchors: trust/other.pem, revocation: none}}\nest/closed"
    text = ENDPOINTS.replace("trust/acme.pem", "trust/sub.pem").replace("\nest/closed", more)
    SUB.write(trust / "trust" / "sub.pem")
    async with lab(trust, text.format(reenroll="false").replace("trust/root.crl, ", "")) as running:
        for ca, name in ((SUB, "acme"), (other, "zenith")):
            device = make(f"pump-{name}", ca)
            shown = Holder(device.key, (device.certificate,))
            assert (await post(running, "simpleenroll", shown, f"pump-{name}")).status == 200
            newest = (await running.application.services.store.read(list_certificates))[0]
            assert newest.requester.startswith(f"certificate:{name}.")
        forged = make("pump", make("Acme Sub CA", ca=True))
        answer = await post(running, "simpleenroll", Holder(forged.key, (forged.certificate,)), "pump")
        assert (answer.status, b"signature" in answer.body) == (403, True)


async def test_a_revoked_certificate_of_ours_is_no_manufacturers_whoever_has_certified_our_ca(trust: Path) -> None:
    text = ENDPOINTS.format(reenroll="true").replace("crls: [trust/root.crl, trust/sub.crl]", "revocation: none")
    async with lab(trust, text) as running:
        first = holder("pump")
        key = ec.generate_private_key(ec.SECP256R1())
        ours = (await running.post("simpleenroll", csr("pump", key=key), holder=first)).certificate
        (issuer,) = running.application.services.material.issuers.values()
        ca = issuer.chain()[0]
        builder = x509.CertificateBuilder(ROOT.certificate.subject, ca.subject, ca.public_key(), 77)
        builder = builder.not_valid_before(ca.not_valid_before_utc).not_valid_after(ca.not_valid_after_utc)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        crossed = builder.sign(ROOT.key, hashes.SHA256())
        reason = x509.ReasonFlags.superseded
        await running.application.services.enrollment.revoke(ours.serial_number, reason, "admin:eve")
        answer = await post(running, "simpleenroll", Holder(key, (ours, crossed)), "pump")
        assert (answer.status, answer.body) == (403, b"the presented certificate is revoked\n")


async def test_a_device_that_does_not_present_the_cas_above_it_is_told_so(trust: Path) -> None:
    """It never was to have a certificate of this service: what is missing is its chain, or the anchor here."""
    async with lab(trust, ENDPOINTS.format(reenroll="false")) as running:
        device = holder("pump")
        device.chain = device.chain[:1]
        answer = await post(running, "simpleenroll", device, "pump")
        assert (answer.status, b"or came without the CAs above it" in answer.body) == (403, True)
        (record,) = await running.application.services.store.read(list_requests)
        assert record.requester == f"certificate:?.{device.chain[0].serial_number:x}"


async def test_where_the_manufacturer_is_not_trusted_its_certificates_prove_nothing(trust: Path) -> None:
    async with lab(trust, ENDPOINTS.format(reenroll="false")) as running:
        device = holder("pump")
        answer = await post(running, "closed/simpleenroll", device, "pump")
        assert (answer.status, answer.body) == (403, b"the presented certificate was not issued by this service\n")
        (refused,) = await running.application.services.store.read(list_requests)
        assert refused.requester == f"certificate:?.{device.chain[0].serial_number:x}"  # ours alone have none before it


@pytest.mark.parametrize(("reenroll", "status"), [("true", 200), ("false", 403)])
async def test_simplereenroll_with_it_is_a_first_enrollment_where_the_endpoint_says_so(
    trust: Path, reenroll: str, status: int
) -> None:
    async with lab(trust, ENDPOINTS.format(reenroll=reenroll)) as running:
        assert (await post(running, "simplereenroll", holder("pump"), "pump")).status == status
        stored = await running.application.services.store.read(list_certificates)
        assert [one.renews for one in stored] == ([None] if status == 200 else [])


async def test_it_is_judged_anew_on_every_request_and_the_reason_is_in_the_reply_and_on_record(trust: Path) -> None:
    async with lab(trust, ENDPOINTS.format(reenroll="false")) as running:
        device = holder("pump")
        assert (await post(running, "simpleenroll", device, "pump")).status == 200
        SUB.crl(trust / "trust" / "sub.crl", device.chain[0])
        answer = await post(running, "simpleenroll", device, "pump")
        assert (answer.status, answer.body) == (403, b"the presented certificate, or one above it, is revoked\n")
        refused = (await running.application.services.store.read(list_requests))[0]
        assert refused.message == "the presented certificate, or one above it, is revoked"
        assert refused.detail == f"acme: serial number {device.chain[0].serial_number:x}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"anchors: trust/acme.pem": "anchors: chain.pem"}, "is our own CA"),
        ({"anchors: trust/acme.pem": "anchors: trust/device.pem"}, "is no CA"),
        ({"anchors: trust/acme.pem": "anchors: server.yaml"}, "holds no PEM certificate"),
        ({"trust/sub.crl": "trust/none.crl"}, "No such file"),
        ({"trust/sub.crl": "chain.pem"}, "holds no CRL"),
        ({", crls: [trust/root.crl, trust/sub.crl]": ""}, "revocation: none"),
        ({"acme:": "own:"}, "own is what our certificates are called"),
    ],
)
def test_anchors_that_can_not_be_used_are_a_configuration_error(trust: Path, change: dict[str, str], says: str) -> None:
    make("pump", ROOT).write(trust / "trust" / "device.pem")
    text = ENDPOINTS.format(reenroll="false")
    for old, new in change.items():
        text = text.replace(old, new)
    file = trust / "server.yaml"
    head, _, _ = file.read_text().partition("\nendpoints:")
    file.write_text(head + "\nendpoints:\n" + "\n".join("  " + line for line in text.splitlines()))
    with pytest.raises(DocumentErrors, match=says):
        load_material(load_config(file))


# --- registration authorities ------------------------------------------------------------------------------------

GATEWAY = """
  {name}:
    endpoints: ["est/*"]
    issuer: issuing
    evidence: {{any: [password]}}
    key: {{allowed: ["ec:P-256"]}}
    subject: {{allowed: {{CN: {{like: ["*"], required: true}}}}}}
    extended_key_usage: {{forced: [{usages}]}}
    validity: {{default: 30d}}
    renewal: {{evidence: {{any: [certificate]}}}}
"""
PROFILES = f"""
version: 1
profiles:
{GATEWAY.format(name="gateway", usages="clientAuth, cmcRA")}
{GATEWAY.format(name="powerless-gateway", usages="clientAuth")}
{GATEWAY.format(name="unnamed-gateway", usages="clientAuth, cmcRA")}
  behind-gateway:
    endpoints: ["est/*"]
    issuer: issuing
    evidence: {{any: [ra]}}
    key: {{allowed: ["ec:P-256"]}}
    subject: {{allowed: {{CN: {{like: ["valve-*", "VALVE-*"], required: true}}}}}}
    names: {{dns: {{allowed: ["*.example"], max: 2}}}}
    extended_key_usage: {{forced: [clientAuth]}}
    validity: {{default: 30d}}
    renewal: {{evidence: {{any: [ra]}}}}
"""
RA_ENDPOINTS = """
est/default:
  profiles: [behind-gateway, gateway, powerless-gateway, unnamed-gateway, iot-device]
  renewal_grace: 7d
  authenticate:
    certificates: true
    registration_authorities: [gateway, powerless-gateway]
    manufacturers: {acme: {anchors: trust/acme.pem, revocation: none}}
est/other:
  profiles: [behind-gateway]
  authenticate: {certificates: true, registration_authorities: [gateway]}
est/trusting:
  profiles: [behind-gateway]
  authenticate: {certificates: true, certificates_from: [est/default], registration_authorities: [gateway]}
"""


async def gateway(running: Lab, profile: str = "gateway") -> Holder:
    """Return the holder of a certificate that the door issued under a profile."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = EnrollmentRequest(
        key=profile,
        kind=Kind.ENROLL,
        endpoint=EndpointName.parse("est/default"),
        profile=profile,
        csr=parse_csr(csr("gateway-1", key=key)),
        requester=Requester("password:x", (PasswordEvidence("x"),)),
        now=system_clock(),
    )
    outcome = await running.application.services.enrollment.submit(request)
    assert isinstance(outcome, Issued), outcome
    return Holder(key, (x509.load_der_x509_certificate(outcome.certificate),))


@pytest.fixture
def profiles(trust: Path) -> Path:
    (trust / "policies" / "gateways.yaml").write_text(PROFILES)
    return trust


async def test_a_registration_authority_asks_for_others_as_far_as_the_profile_lets_it(profiles: Path) -> None:
    async with lab(profiles, RA_ENDPOINTS) as running:
        ra = await gateway(running)
        assert (await post(running, "simpleenroll", ra, "valve-1")).status == 200
        assert (await post(running, "simpleenroll", ra, "pump-1")).status == 403
        newest = (await running.application.services.store.read(list_certificates))[0]
        assert newest.requester == f"certificate:{ra.chain[0].serial_number:x}"
        assert newest.profile == "behind-gateway"


async def test_it_has_the_certificates_of_others_renewed_by_their_names(profiles: Path) -> None:
    async with lab(profiles, RA_ENDPOINTS) as running:
        ra, key = await gateway(running), ec.generate_private_key(ec.SECP256R1())
        asked = csr("valve-1", dns=("a.example", "b.example"), key=key)
        first = (await running.post("simpleenroll", asked, holder=ra)).certificate
        again = csr("VALVE-1", dns=("b.example", "a.example"))
        assert (await running.post("simplereenroll", again, holder=ra)).status == 200
        newest = (await running.application.services.store.read(list_certificates))[0]
        assert newest.renews == first.serial_number
        for name, dns in (("valve-1", ("a.example",)), ("valve-2", ("a.example", "b.example"))):
            answer = await running.post("simplereenroll", csr(name, dns=dns), holder=ra)
            assert answer.status == 403
            assert b"no valid certificate with this subject" in answer.body
            assert (await running.application.services.store.read(list_requests))[0].csr is not None


async def test_it_renews_its_own_certificate_as_anybody_where_it_asks_for_others(profiles: Path) -> None:
    async with lab(profiles, RA_ENDPOINTS) as running:
        ra = await gateway(running)
        assert (await post(running, "simpleenroll", ra, "valve-1")).status == 200
        assert (await post(running, "simplereenroll", ra, "gateway-1")).status == 200
        newest = (await running.application.services.store.read(list_certificates))[0]
        assert newest.renews == ra.chain[0].serial_number


async def test_its_certificate_is_nothing_at_another_endpoint(profiles: Path) -> None:
    async with lab(profiles, RA_ENDPOINTS) as running:
        answer = await post(running, "other/simpleenroll", await gateway(running), "valve-1")
        assert (answer.status, b"issued for another endpoint" in answer.body) == (403, True)


async def test_where_its_certificate_counts_as_one_it_makes_no_authority(profiles: Path) -> None:
    """`certificates_from` takes certificates of another endpoint, not the rights that they have there."""
    async with lab(profiles, RA_ENDPOINTS) as running:
        ra = await gateway(running)
        answer = await post(running, "trusting/simpleenroll", ra, "valve-1")
        assert answer.status == 403
        assert (await post(running, "simpleenroll", ra, "valve-1")).status == 200


async def test_neither_another_profile_nor_a_manufacturers_cmcra_makes_an_authority(profiles: Path) -> None:
    async with lab(profiles, RA_ENDPOINTS) as running:
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")])
        for shown in (holder("gateway-1", extensions=[(purposes, False)]), await gateway(running, "iot-device")):
            answer = await post(running, "simpleenroll", shown, "valve-1")
            assert (answer.status, b"not enough" in answer.body or b"renew" in answer.body) == (403, True), answer


@pytest.mark.parametrize("profile", ["powerless-gateway", "unnamed-gateway"])
async def test_neither_the_profile_nor_cmcra_by_itself_makes_an_authority(profiles: Path, profile: str) -> None:
    async with lab(profiles, RA_ENDPOINTS) as running:
        shown = await gateway(running, profile)
        for operation in ("simpleenroll", "simplereenroll"):
            assert (await post(running, operation, shown, "valve-1")).status == 403


async def test_the_grace_lets_an_authority_renew_itself_and_nobody_else(profiles: Path) -> None:
    passed = [timedelta(0)]
    async with lab(profiles, RA_ENDPOINTS, clock=lambda: system_clock() + passed[0]) as running:
        ra = await gateway(running)
        assert (await post(running, "simpleenroll", ra, "valve-1")).status == 200
        passed[0] = timedelta(days=31)
        for operation, name in (("simpleenroll", "valve-2"), ("simplereenroll", "valve-1")):
            assert (await post(running, operation, ra, name)).status == 403
        assert (await post(running, "simplereenroll", ra, "gateway-1")).status == 200


@pytest.mark.parametrize(("days", "status"), [(36, 200), (38, 403)])
async def test_the_grace_holds_for_the_certificates_that_an_authority_has_renewed(
    profiles: Path, days: int, status: int
) -> None:
    passed = [timedelta(0)]
    async with lab(profiles, RA_ENDPOINTS, clock=lambda: system_clock() + passed[0]) as running:
        ra, key = await gateway(running), ec.generate_private_key(ec.SECP256R1())
        assert (await post(running, "simpleenroll", ra, "valve-1")).status == 200
        passed[0] = timedelta(days=20)
        newer = await running.post("simplereenroll", csr("gateway-1", key=key), holder=ra)
        passed[0] = timedelta(days=days)
        answer = await post(running, "simplereenroll", Holder(key, (newer.certificate,)), "valve-1")
        assert (answer.status, b"no valid certificate" in answer.body) == (status, status == 403), answer


async def test_a_registration_authoritys_clients_may_be_bound_to_connections_of_their_own(profiles: Path) -> None:
    async with lab(profiles, RA_ENDPOINTS) as running:
        linking = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.58")
        ra = await gateway(running)
        bound = csr("valve-1", attributes={linking: "the connection of the valve"})
        assert (await running.post("simpleenroll", bound, holder=ra)).status == 200
        own = csr("gateway-1", attributes={linking: "the connection of the valve"})
        assert (await running.post("simplereenroll", own, holder=ra)).status == 400
        plain = await gateway(running, "iot-device")
        bound = csr("gateway-1", attributes={linking: "another"})
        assert (await running.post("simpleenroll", bound, holder=plain)).status == 400
