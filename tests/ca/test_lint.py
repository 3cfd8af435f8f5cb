from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from pkilint.loader import RFC5280CertificateDocumentLoader

from ca.ceremony import generate_key
from ca.lint import STRICTER_THAN_RFC, Linter, LintFinding
from ca.names import (
    Attribute,
    DirectoryName,
    DistinguishedName,
    GeneralName,
    OtherName,
    dns_name,
    email_address,
    ip_address,
    uri,
)
from ca.pkix_rules import PkixRules
from ca.plan import CertificatePlan, KeyUsage, PlannedExtension
from tests.contract.issuer import issue
from tests.fakes.issuer import make_issuer, make_plan, spki_of

ISSUER = make_issuer()
CERTIFICATE = ISSUER.chain()[0]
PLAN = make_plan()
BAD = replace(PLAN, extensions=(PlannedExtension("2.5.29.30", critical=True, value=b"\x30\x00"),))  # nameConstraints


class CountingLinter(Linter):
    runs = 0

    def examine(self, certificate: bytes) -> tuple[LintFinding, ...]:
        self.runs += 1
        return super().examine(certificate)


def codes(plan: CertificatePlan, linter: Linter | None = None) -> set[str]:
    return {finding.code for finding in (linter or Linter()).lint(plan, 7, CERTIFICATE)}


@pytest.mark.parametrize("kind", ["P-256", "P-384", "rsa:2048", "ed25519"])
def test_an_ordinary_plan_is_clean_for_every_kind_of_issuer_and_key(kind: str) -> None:
    issuer = make_issuer(kind)
    plan = make_plan(spki=spki_of(generate_key(kind)))
    assert Linter().lint(plan, 7, issuer.chain()[0]) == ()


def test_a_plan_against_the_rules_is_found_with_its_place() -> None:
    (finding, *_) = Linter().lint(BAD, 7, CERTIFICATE)
    assert finding.code.startswith("pkix.")
    assert finding.severity in {"error", "fatal"}
    assert finding.path.startswith("certificate.tbsCertificate")


def test_a_plan_that_nobody_may_sign_is_a_finding_too() -> None:
    assert codes(replace(PLAN, ca=True)) == {"unsignable"}


def test_octets_that_are_no_key_are_a_finding_too() -> None:
    assert codes(replace(PLAN, spki=b"\x30\x00")) == {"unsignable"}
    assert codes(replace(PLAN, spki=b"\x30\x06\x30\x00\x03\x02\x00\x00"))


@pytest.mark.parametrize(
    "names",
    [
        (dns_name("localhost"),),
        (dns_name("*.example"), dns_name("_x.example")),
        (uri("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), uri("spiffe://pump/17"), uri("https://localhost/")),
        (email_address("root@localhost"), ip_address(bytes(16)), ip_address(b"\xc0\x00\x02\x01")),
    ],
)
def test_names_that_the_rfc_allows_are_clean(names: tuple[GeneralName, ...]) -> None:
    assert codes(replace(PLAN, names=names)) == set()
    assert all(STRICTER_THAN_RFC.values())


def test_the_same_shape_is_linted_once() -> None:
    linter = CountingLinter()
    for n in range(5):
        spki = spki_of(generate_key("P-256"))
        subject = DistinguishedName.from_text(f"CN=device {n},O=Test")
        plan = replace(PLAN, subject=subject, names=(dns_name(f"device-{n}.test"),), spki=spki)
        assert linter.lint(plan, n + 1, CERTIFICATE) == ()
    assert linter.runs == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "other"},
        {"policy_digest": "1" * 64},
        {"subject": DistinguishedName.from_text("CN=Pump 17")},
        {"names": (ip_address(bytes(4)),)},
        {"names": ()},
        {"spki": spki_of(generate_key("P-384"))},
        {"spki": b"no key"},
        {"not_after": CERTIFICATE.not_valid_after_utc.replace(year=2051)},
        {"key_usage": frozenset({KeyUsage.KEY_AGREEMENT})},
        {"extended_key_usage": ("1.2.3",)},
        {"extensions": (PlannedExtension("1.2.3", critical=False, value=b"\x05\x00"),)},
        {"ca": True},
    ],
)
def test_another_shape_is_not_taken_for_the_same(changes: dict[str, object]) -> None:
    linter = Linter()
    assert codes(PLAN, linter) == set()
    linter.lint(replace(PLAN, **changes), 7, CERTIFICATE)  # type: ignore[arg-type] # checked by the plan
    assert (len(linter._clean) == 2) or codes(replace(PLAN, **changes), linter)  # type: ignore[arg-type]


def test_another_issuer_is_another_shape() -> None:
    linter = CountingLinter()
    for certificate in (CERTIFICATE, make_issuer().chain()[0]):
        linter.lint(PLAN, 7, certificate)
    assert linter.runs == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": DistinguishedName(((Attribute("1.2.840.113549.1.9.1", "a@b.test"),),))},
        {"subject": DistinguishedName(((Attribute("0.9.2342.19200300.100.1.25", "test"),),))},
        {"names": (DirectoryName(DistinguishedName.from_text("CN=x")),)},
        {"names": (OtherName("1.2.3", b"\x05\x00"),)},
    ],
)
def test_a_plan_whose_values_matter_to_the_rules_is_linted_every_time(changes: dict[str, object]) -> None:
    linter = CountingLinter()
    for _ in range(2):
        linter.lint(replace(PLAN, **changes), 7, CERTIFICATE)  # type: ignore[arg-type] # checked by the plan
    assert linter.runs == 2


def test_a_shape_with_findings_is_never_remembered() -> None:
    linter = CountingLinter()
    assert codes(BAD, linter) == codes(BAD, linter) != set()
    assert linter.runs == 2


def test_always_means_always() -> None:
    linter = CountingLinter("always")
    assert codes(PLAN, linter) == codes(PLAN, linter) == set()
    assert linter.runs == 2


def test_a_sample_is_linted_in_full() -> None:
    linter = CountingLinter()
    for full in (False, True):
        assert linter.lint(PLAN, 7, CERTIFICATE, full=full) == ()
    assert linter.runs == 2


def test_the_memory_for_shapes_is_bounded() -> None:
    linter = CountingLinter(remembered=2)
    for profile in ("a", "b", "c", "b", "c", "a"):
        linter.lint(replace(PLAN, profile=profile), 7, CERTIFICATE)
    assert linter.runs == 4


async def test_the_signed_certificate_has_no_findings_that_its_twin_had_not() -> None:
    certificate = await issue(ISSUER, PLAN)
    document = RFC5280CertificateDocumentLoader().load_der_document(certificate.public_bytes(Encoding.DER))
    serious = [
        found.finding.code
        for result in PkixRules().container.validate(document.root)
        for found in result.finding_descriptions
        if found.finding.severity.name in {"ERROR", "FATAL", "WARNING"}
    ]
    assert serious == []
