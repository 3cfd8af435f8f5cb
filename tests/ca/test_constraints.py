from __future__ import annotations

import ipaddress
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from ca import ceremony, der
from ca.backends.local import LocalIssuer
from ca.constraints import NameConstraints, permitted_base
from ca.issuer import IssuerConfigurationError, IssuerRefused
from ca.lint import Linter
from ca.names import (
    DirectoryName,
    DistinguishedName,
    GeneralName,
    IpAddress,
    OtherName,
    dns_name,
    email_address,
    uri,
)
from tests.contract.issuer import issue
from tests.fakes.issuer import NOW, make_plan

DNS, EMAIL, URL = x509.DNSName, x509.RFC822Name, x509.UniformResourceIdentifier
DNS_TEST = x509.NameConstraints([DNS("test")], None)


def directory(text: str) -> x509.DirectoryName:
    return x509.DirectoryName(x509.Name.from_rfc4514_string(text))


def network(text: str) -> x509.IPAddress:
    return x509.IPAddress(ipaddress.ip_network(text))


def ip(text: str) -> IpAddress:
    return IpAddress(ipaddress.ip_address(text))


def named(text: str) -> DirectoryName:
    return DirectoryName(DistinguishedName.from_text(text))


CASES: list[tuple[x509.GeneralName, GeneralName, bool]] = [
    (DNS("a.test"), dns_name("a.test"), True),
    (DNS("A.TEST"), dns_name("x.y.a.test"), True),
    (DNS("a.test"), dns_name("xa.test"), False),
    (DNS("a.test"), dns_name("*.a.test"), True),
    (DNS(".a.test"), dns_name("x.a.test"), True),
    (DNS(".a.test"), dns_name("a.test"), False),
    (DNS(""), dns_name("a.test"), True),
    (EMAIL("a.test"), email_address("ann@a.test"), True),
    (EMAIL("a.test"), email_address("ann@x.a.test"), False),
    (EMAIL(".a.test"), email_address("ann@x.a.test"), True),
    (EMAIL(".a.test"), email_address("ann@a.test"), False),
    (EMAIL("ann@a.test"), email_address("ann@A.test"), True),
    (EMAIL("ann@a.test"), email_address("Ann@a.test"), False),
    (URL("a.test"), uri("https://ann@A.test:8443/x"), True),
    (URL("a.test"), uri("https://x.a.test/"), False),
    (URL(".a.test"), uri("https://x.a.test/"), True),
    (URL("a.test"), uri("https://evil.example/a.test"), False),
    (network("10.0.0.0/8"), ip("10.1.2.3"), True),
    (network("10.0.0.0/8"), ip("11.1.2.3"), False),
    (network("10.0.0.0/8"), ip("::ffff:10.0.0.1"), False),
    (network("2001:db8::/32"), ip("2001:db8::1"), True),
    (directory("O=Test,C=DE"), named("CN=a,O=TEST,C=DE"), True),
    (directory("O=Test,C=DE"), named("CN=a,O=Other,C=DE"), False),
    (directory("O=Test,C=DE"), named("C=DE"), False),
]


@pytest.mark.parametrize(("tree", "name", "within"), CASES, ids=str)
def test_a_name_is_within_a_subtree_or_not(tree: x509.GeneralName, name: GeneralName, within: bool) -> None:  # noqa: FBT001
    plan = make_plan(subject=DistinguishedName(), names=(name,))
    assert bool(list(NameConstraints((tree,), ()).violations(plan))) is not within
    assert bool(list(NameConstraints((), (tree,)).violations(plan))) is within


def test_what_is_permitted_binds_names_of_its_form_only() -> None:
    assert not list(NameConstraints((DNS("test"),), ()).violations(make_plan(names=(ip("10.0.0.1"),))))
    assert not list(NameConstraints((network("10.0.0.0/8"),), ()).violations(make_plan(names=(dns_name("a.b"),))))


@pytest.mark.parametrize("name", [uri("urn:a:b"), uri("https://10.0.0.1/"), uri("https://[::1]/")])
def test_a_uri_without_a_host_name_is_refused_where_hosts_are_constrained(name: GeneralName) -> None:
    plan = make_plan(names=(name,))
    assert list(NameConstraints((URL("a.test"),), ()).violations(plan))
    assert list(NameConstraints((), (URL("a.test"),)).violations(plan))


def test_a_wildcard_that_covers_what_is_excluded_is_refused() -> None:
    excluded = NameConstraints((), (DNS("admin.test"),))
    assert list(excluded.violations(make_plan(names=(dns_name("*.test"),))))
    assert not list(excluded.violations(make_plan(names=(dns_name("*.other.test"),))))


def test_the_subject_and_a_mail_address_in_it_count() -> None:
    plan = make_plan(names=(), subject=DistinguishedName.from_text("1.2.840.113549.1.9.1=ann@b.test,O=Test"))
    assert list(NameConstraints((EMAIL("a.test"),), ()).violations(plan))
    assert not list(NameConstraints((EMAIL("b.test"), directory("O=Test")), ()).violations(plan))
    assert list(NameConstraints((directory("O=Other"),), ()).violations(plan))


def test_a_form_that_cannot_be_compared_is_refused_where_such_are_constrained() -> None:
    plan = make_plan(names=(OtherName("1.2.3", der.utf8("a")),))
    tree = x509.OtherName(x509.ObjectIdentifier("1.2.3"), der.utf8("b"))
    assert list(NameConstraints((), (tree,)).violations(plan))
    assert not list(NameConstraints((DNS("test"),), ()).violations(plan))


def test_subjects_are_permitted_under_the_first_name_that_says_so() -> None:
    every = [NameConstraints((DNS("test"),), (directory("O=No"),)), NameConstraints((directory("O=Test,C=DE"),), ())]
    assert permitted_base(every) == DistinguishedName.from_text("O=Test,C=DE")
    assert not permitted_base(every[:1])


def constrained(value: x509.ExtensionType, *, above: bool = False) -> LocalIssuer:
    """Make a CA, or one under a CA, whose certificate has this extension."""
    root = ceremony.make_root(DistinguishedName.from_text("CN=Root"), now=NOW)
    middle = ceremony.make_issuing_ca(root, DistinguishedName.from_text("CN=Middle"), now=NOW)
    builder = (
        x509.CertificateBuilder()
        .subject_name(middle.certificate.subject)
        .issuer_name(root.certificate.subject)
        .public_key(middle.key.public_key())
        .serial_number(5)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=999))
        .add_extension(value, critical=True)
    )
    for extension in middle.certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    certificate = builder.sign(root.key, hashes.SHA256())
    if not above:
        return LocalIssuer(middle.key, certificate, (root.certificate,))
    below = ceremony.make_issuing_ca(middle, DistinguishedName.from_text("CN=Below"), now=NOW)
    return LocalIssuer(below.key, below.certificate, (certificate, root.certificate))


@pytest.mark.parametrize("above", [False, True])
async def test_nothing_is_signed_that_a_path_would_not_let_through(above: bool) -> None:  # noqa: FBT001
    issuer = constrained(DNS_TEST, above=above)
    await issue(issuer, make_plan())
    with pytest.raises(IssuerRefused, match=r"dns:a\.example is outside of the name constraints"):
        await issue(issuer, make_plan(names=(dns_name("a.example"),)))


def test_the_linter_tells_it_for_each_plan_whatever_its_shape() -> None:
    linter, certificate = Linter(), constrained(DNS_TEST).chain()[0]
    assert linter.lint(make_plan(), 7, certificate) == ()
    (finding,) = linter.lint(make_plan(names=(dns_name("a.example"),)), 7, certificate)
    assert finding.code == "name_constraints"


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(
    "octets",
    [
        b"\x30\x03\x02\x01\x05",
        b"\x30\x09\xa0\x07\x30\x05\x87\x03abc",  # an address range of three octets
        b"\x30\x08\xa0\x06\x30\x04\xa3\x02\x30\x00",  # an X.400 address
    ],
)
def test_constraints_that_cannot_be_read_are_told_at_once(octets: bytes, above: bool) -> None:  # noqa: FBT001
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.30"), octets)
    with pytest.raises(IssuerConfigurationError, match=r"the extensions of the CA certificate .* can't be read"):
        constrained(broken, above=above)


@pytest.mark.parametrize("above", [False, True])
def test_a_directory_name_that_no_subject_can_be_under_is_told_at_once(above: bool) -> None:  # noqa: FBT001
    number = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x05", _ASN1Type.BitString)
    trees = [x509.DirectoryName(x509.Name([number]))]
    with pytest.raises(IssuerConfigurationError, match="the name constraints of the issuing CA, or of one above"):
        constrained(x509.NameConstraints(trees, None), above=above)
    assert constrained(x509.NameConstraints(None, trees), above=above).chain()
    assert constrained(x509.NameConstraints([directory("O=Test"), *trees], None), above=above).chain()
