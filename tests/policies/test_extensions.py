from __future__ import annotations

from typing import Any

import pytest
from cryptography import x509

from ca.issuer import Permit
from ca.lint import Linter
from policies.document import DocumentErrors
from policies.extensions import Extensions
from tests.fakes.issuer import make_issuer, make_plan
from tests.fakes.policy import judge, plan

EVERYTHING: dict[str, Any] = {
    "certificate_policies": {"1.3.6.1.4.1.32473.7": "https://pki.example/cps", "1.3.6.1.4.1.32473.8": None},
    "crl": ["http://pki.example/issuing.crl", "ldap://pki.example/cn=CRL?certificateRevocationList"],
    "ocsp": ["http://ocsp.example"],
    "issuers": ["http://pki.example/issuing.cer"],
    "must_staple": True,
    "others": [
        {"oid": "1.3.6.1.4.1.32473.1", "text": "plant 7"},
        {"oid": "1.3.6.1.4.1.32473.2", "value": "0500", "critical": True},
    ],
}


async def certificate(section: dict[str, Any]) -> x509.Certificate:
    """Issue a certificate as the profile has it, linted as the server does."""
    made = make_plan(extensions=plan(judge({"extensions": section})).extensions)
    issuer = make_issuer()
    assert Linter().lint(made, 17, issuer.chain()[0]) == ()
    return x509.load_der_x509_certificate(await issuer.issue(Permit("r", made, 17), made, 17))


async def test_a_certificate_has_what_the_profile_says() -> None:
    extensions = (await certificate(EVERYTHING)).extensions
    policies = extensions.get_extension_for_class(x509.CertificatePolicies).value
    assert [each.policy_identifier.dotted_string for each in policies] == ["1.3.6.1.4.1.32473.7", "1.3.6.1.4.1.32473.8"]
    assert list(policies[0].policy_qualifiers or ()) == ["https://pki.example/cps"]
    points = extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for point in points for name in point.full_name or ()] == EVERYTHING["crl"]
    access = extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    places = [(each.access_method._name, each.access_location.value) for each in access]
    assert places == [("OCSP", "http://ocsp.example"), ("caIssuers", "http://pki.example/issuing.cer")]
    assert list(extensions.get_extension_for_class(x509.TLSFeature).value) == [x509.TLSFeatureType.status_request]
    own = {
        each.oid.dotted_string: each for each in extensions if each.oid.dotted_string.startswith("1.3.6.1.4.1.32473")
    }
    assert own["1.3.6.1.4.1.32473.1"].value.public_bytes() == b"\x0c\x07plant 7"
    assert own["1.3.6.1.4.1.32473.2"].critical


async def test_a_certificate_has_nothing_that_the_profile_does_not_say() -> None:
    extensions = (await certificate({})).extensions
    for kind in (x509.CertificatePolicies, x509.CRLDistributionPoints, x509.TLSFeature):
        with pytest.raises(x509.ExtensionNotFound):
            extensions.get_extension_for_class(kind)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"must_staple": True}, "must_staple needs an OCSP responder"),
        ({"certificate_policies": {"2.5.29.32.0": None}}, "anyPolicy is for CA certificates"),
        ({"certificate_policies": {"1.2.3.x": None}}, "no object identifier"),
        ({"certificate_policies": {"1.2.3": "see our wiki"}}, "no address of a statement"),
        ({"crl": ["https://pki.example/crl"]}, "begins with http:// or ldap://"),
        ({"crl": ["no uri"]}, "URI"),
        ({"others": [{"oid": "2.5.29.30", "value": "3000"}]}, "nameConstraints can't be written here: it is for CA"),
        ({"others": [{"oid": "2.5.29.37", "value": "3000"}]}, "write extended_key_usage"),
        ({"others": [{"oid": "1.2.3"}]}, "write either value"),
        ({"others": [{"oid": "1.2.3", "value": "05"}]}, "no DER in hex"),
        ({"others": [{"oid": "1.2.3", "value": "xy"}]}, "no DER in hex"),
        ({"others": [{"oid": "1.2.3", "text": "a"}, {"oid": "1.2.3", "text": "b"}]}, "an extension twice"),
    ],
)
def test_what_makes_no_sense_is_told(section: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentErrors, match=message):
        judge({"extensions": section})


def test_the_same_extensions_are_encoded_once() -> None:
    section = Extensions.model_validate(EVERYTHING)
    assert section.planned is section.planned
