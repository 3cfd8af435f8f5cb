"""Another ACME server as the CA: Pebble, which wants every name proven by dns-01."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.backends.acme import AcmeUpstream, Dns01
from ca.backends.acme_account import AcmeAccount, ExternalAccount
from ca.backends.chain import load_chain
from ca.backends.http_client import HttpClient
from ca.backends.upstream import UpstreamIssuer, issuer_of
from ca.issuer import IssuerPending, IssuerRefused, IssuerUnavailable, Permit
from ca.names import DistinguishedName, Uri, dns_name
from server.clock import system_clock
from tests.contract.issuer import IssuerContract, RevokerContract, accept, issue
from tests.fakes.issuer import csr_of, make_plan
from tests.wire.devices import device
from tests.wire.issuing import add_issuer, enroll, make_deployment
from tests.wire.pebble import pebble
from tests.wire.running import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container, Iterator
    from pathlib import Path

    from ca.issuer import Issuer
    from ca.plan import CertificatePlan
    from tests.wire.pebble import Pebble
    from tests.wire.running import RunningServer

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    with pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


def make(
    ca: Pebble,
    *,
    hook: str = "./dns01",
    seconds: float = 20,
    key: ec.EllipticCurvePrivateKey = KEY,
    **account: object,
) -> UpstreamIssuer:
    client = HttpClient(ssl.create_default_context(cafile=ca.folder / "trust.pem"))
    mine = AcmeAccount(ca.directory, key, client, **account)  # type: ignore[arg-type] # fails if mistyped
    upstream = AcmeUpstream(mine, Dns01((hook,), ca.folder) if hook else None, seconds)
    chain = load_chain((ca.folder / "issuing.pem").read_bytes(), (ca.folder / "root.pem").read_bytes())
    return issuer_of(upstream, chain, seconds=seconds + 5, subject=True)


def plan_for(**changes: object) -> CertificatePlan:
    """Make a plan as Pebble issues: names only, for TLS servers, from now."""
    subject = changes.get("subject")
    if isinstance(subject, DistinguishedName) and subject:
        changes["names"] = (dns_name(re.sub(r"[^a-z0-9]+", "-", str(subject).lower()) + ".test"),)
    now = system_clock().replace(microsecond=0)
    usual = {"subject": DistinguishedName(), "extended_key_usage": ("1.3.6.1.5.5.7.3.1",)}
    dates = {"not_before": now, "not_after": now + timedelta(days=90)}
    return make_plan(**({**usual, **dates, **changes} | {"subject": DistinguishedName()}))


@pytest.fixture
async def made(ca: Pebble) -> AsyncIterator[Callable[..., UpstreamIssuer]]:
    """Make issuers that are closed in the end."""
    issuers: list[UpstreamIssuer] = []

    def one(**settings: Any) -> UpstreamIssuer:
        issuers.append(make(ca, **settings))
        return issuers[-1]

    yield one
    for issuer in issuers:
        await issuer.close()


@dataclass(frozen=True)
class AskedOneByOne:
    """The certificates that Pebble has revoked."""

    ca: Pebble

    def __contains__(self, serial: object) -> bool:
        assert isinstance(serial, int)
        return self.ca.status(serial) == "Revoked"


class TestAcme(RevokerContract, IssuerContract):
    kinds: ClassVar[tuple[str, ...]] = ("P-256", "P-384", "rsa:2048")

    def plan(self, **changes: object) -> CertificatePlan:
        return plan_for(**changes)

    @pytest.fixture
    def issuer(self, made: Callable[..., UpstreamIssuer]) -> Issuer:
        return made()

    @pytest.fixture
    def revoked(self, ca: Pebble) -> Callable[[], Container[int]]:
        return lambda: AskedOneByOne(ca)


async def test_an_order_that_takes_longer_is_gone_on_with(made: Callable[..., UpstreamIssuer]) -> None:
    plan = plan_for(names=(dns_name("slow-order.test"),))
    hasty, patient = made(seconds=0.05), made()
    with pytest.raises(IssuerPending) as pending:
        await issue(hasty, plan)
    assert "/my-order/" in pending.value.reference
    permit = Permit("request", plan, 1, csr_of(plan), pending.value.reference)
    accept(patient, plan, x509.load_der_x509_certificate(await patient.issue(permit, plan, 1)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"names": (dns_name("blocked.example"),)}, "rejectedIdentifier"),
        ({"names": (Uri("urn:x:y"),)}, "no identifier"),
    ],
)
async def test_names_that_the_ca_does_not_certify_are_refused(
    made: Callable[..., UpstreamIssuer], changes: dict[str, object], text: str
) -> None:
    issuer = made()
    with pytest.raises(IssuerRefused, match=text):
        await issue(issuer, plan_for(**changes))


async def test_without_a_way_to_prove_names_the_request_is_refused(made: Callable[..., UpstreamIssuer]) -> None:
    issuer = made(hook="")
    with pytest.raises(IssuerRefused, match="no way to do it"):
        await issue(issuer, plan_for(names=(dns_name("never-proven.test"),)))


async def test_a_proof_that_is_not_there_makes_the_order_invalid(made: Callable[..., UpstreamIssuer]) -> None:
    issuer = made(hook="/bin/true")
    with pytest.raises(IssuerRefused, match="invalid"):
        await issue(issuer, plan_for(names=(dns_name("unproven.test"),)))


async def test_a_hook_that_fails_leaves_the_order_for_later(made: Callable[..., UpstreamIssuer]) -> None:
    issuer = made(hook="/bin/false")
    with pytest.raises(IssuerPending):
        await issue(issuer, plan_for(names=(dns_name("hook.test"),)))


async def test_an_account_that_is_not_taken_is_no_fault_of_the_requester(made: Callable[..., UpstreamIssuer]) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = made(key=key, external=ExternalAccount.of("nobody", "c2VjcmV0"))
    with pytest.raises(IssuerUnavailable, match="our account is not taken"):
        await issue(issuer, plan_for())


async def test_an_order_that_the_ca_does_not_know_is_refused(ca: Pebble, made: Callable[..., UpstreamIssuer]) -> None:
    issuer, plan = made(), plan_for()
    permit = Permit("request", plan, 1, csr_of(plan), ca.directory.replace("/dir", "/my-order/nothing"))
    with pytest.raises(IssuerRefused, match="404"):
        await issuer.issue(permit, plan, 1)


async def test_names_that_differ_from_the_csr_are_not_ordered(made: Callable[..., UpstreamIssuer]) -> None:
    issuer, plan = made(), plan_for()
    other = replace(plan, names=(dns_name("other.test"),))
    with pytest.raises(IssuerRefused, match="from the CSR"):
        await issuer.issue(Permit("request", other, 1, csr_of(plan)), other, 1)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, ca: Pebble) -> Iterator[RunningServer]:
    deployment = make_deployment(tmp_path_factory.mktemp("acme-door") / "deployment")
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (deployment.folder / "secrets" / "account.key").write_bytes(key)
    files = f"certificate: {ca.folder}/issuing.pem, chain: {ca.folder}/root.pem, trust: {ca.folder}/trust.pem"
    who = f"url: '{ca.directory}', account_key: secrets/account.key, terms_agreed: true"
    add_issuer(deployment, "public", f"{{type: acme, {files}, {who}, dns01: [{ca.folder}/dns01]}}")
    profile = deployment.folder / "policies" / "public.yaml"
    profile.write_text(profile.read_text().replace("forced: [clientAuth]", "forced: [serverAuth]"))
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0, running.process.tail()


def test_a_device_enrolls_by_est_and_gets_a_certificate_of_the_acme_ca(
    ca: Pebble, door: RunningServer, tmp_path: Path
) -> None:
    pump = device(tmp_path / "pump", "public-1.example")
    status, text = enroll(door, pump, "public")
    for _ in range(9):
        if status == 202:  # the other server takes longer than one attempt
            status, text = enroll(door, pump, "public")
    assert status == 200, text + door.process.tail()
    (certificate,) = x509.load_pem_x509_certificates(pump.certificate.read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((ca.folder / "issuing.pem").read_bytes()))
    assert door.is_stored(certificate)
