from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, x25519

from ca import ceremony
from ca.backends.local import LocalIssuer, load_local_issuer
from ca.issuer import IssuerConfigurationError, IssuerRefused, Permit
from ca.names import Attribute, DistinguishedName
from ca.plan import KeyUsage, PlannedExtension
from tests.contract.issuer import SigningContract, issue
from tests.fakes.issuer import NOW, FakeIssuer, make_issuer, make_plan

if TYPE_CHECKING:
    from ca.issuer import Issuer

KINDS = ["P-256", "P-384", "P-521", "ed25519", "rsa:2048", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87"]
ROOT = ceremony.make_root(DistinguishedName.from_text("CN=Root"), now=NOW)
ISSUING = ceremony.make_issuing_ca(ROOT, DistinguishedName.from_text("CN=Issuing"), now=NOW)
OTHER = ceremony.make_root(DistinguishedName.from_text("CN=Other"), now=NOW)
PSS = ceremony.make_root(DistinguishedName.from_text("CN=PSS"), now=NOW, key=ceremony.generate_key("rsa:2048"))


@pytest.fixture(scope="module", params=KINDS)
def local(request: pytest.FixtureRequest) -> LocalIssuer:
    return make_issuer(request.param)


class TestLocalIssuer(SigningContract):
    @pytest.fixture
    def issuer(self, local: LocalIssuer) -> Issuer:
        return local


class TestFakeIssuer(SigningContract):
    @pytest.fixture
    def issuer(self) -> Issuer:
        return FakeIssuer(make_issuer())


def load(
    certificate: bytes = ISSUING.certificate_pem(),
    key: bytes = ISSUING.key_pem(),
    passphrase: bytes = b"",
    chain: bytes = ROOT.certificate_pem(),
) -> LocalIssuer:
    return load_local_issuer(certificate, key, passphrase, chain)


@pytest.mark.parametrize(
    "chain",
    [
        ROOT.certificate_pem(),
        ISSUING.certificate_pem() + ROOT.certificate_pem(),
        ROOT.certificate_pem() + ISSUING.certificate_pem() + ROOT.certificate_pem(),
    ],
)
def test_the_chain_is_brought_into_order(chain: bytes) -> None:
    assert load(chain=chain).chain() == (ISSUING.certificate, ROOT.certificate)


def test_an_issuer_without_a_chain_stands_alone() -> None:
    assert load(chain=b"\n").chain() == (ISSUING.certificate,)


def test_a_root_may_issue_itself() -> None:
    alone = load(ROOT.certificate_pem(), ROOT.key_pem(), chain=ROOT.certificate_pem())
    assert alone.chain() == (ROOT.certificate,)


def test_an_encrypted_key_is_read_with_its_passphrase() -> None:
    assert load(key=ISSUING.key_pem(b"secret"), passphrase=b"secret").chain()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"key": ISSUING.key_pem(b"secret"), "passphrase": b"other"}, "passphrase is wrong"),
        ({"key": ISSUING.key_pem(b"secret")}, "is encrypted, but there is not a passphrase"),
        ({"passphrase": b"secret"}, "is not encrypted, but there is a passphrase"),
        ({"key": b"garbage"}, "damaged"),
        ({"key": OTHER.key_pem()}, "does not belong"),
        ({"certificate": b"garbage"}, "issuing CA's certificate can't be read"),
        ({"chain": b"garbage"}, "chain can't be read"),
        ({"chain": OTHER.certificate_pem()}, "foreign certificate: CN=Other"),
        ({"chain": ROOT.certificate_pem() + OTHER.certificate_pem()}, "foreign certificate: CN=Other"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_the_cause(files: dict[str, bytes], text: str) -> None:
    with pytest.raises(IssuerConfigurationError, match=text):
        load(**files)


def test_a_key_that_cannot_sign_is_refused() -> None:
    key = x25519.X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(IssuerConfigurationError, match="neither RSA, EC, Ed25519 nor ML-DSA"):
        load(key=key)


def test_a_chain_whose_signature_does_not_hold_is_refused() -> None:
    namesake = ceremony.make_root(DistinguishedName.from_text("CN=Root"), now=NOW)
    with pytest.raises(IssuerConfigurationError, match="CN=Issuing is not issued by CN=Root"):
        load(chain=namesake.certificate_pem())


def self_signed(
    key: ec.EllipticCurvePrivateKey, *, ca: bool, usage: bool = True, keyed: bool = True
) -> x509.Certificate:
    name = DistinguishedName.from_text("CN=Made by hand").to_x509()
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, NOW.replace(tzinfo=None), NOW.replace(tzinfo=None)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    if usage:
        bits = x509.KeyUsage(True, False, False, False, False, keyed, False, False, False)  # noqa: FBT003 - nine bits
        builder = builder.add_extension(bits, critical=True)
    return builder.sign(key, hashes.SHA256())


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ({"ca": False}, "not a CA"),
        ({"ca": True, "keyed": False}, "not a CA"),
        ({"ca": True, "usage": False}, "lacks basicConstraints or keyUsage"),
    ],
)
def test_a_certificate_that_is_not_a_ca_is_refused(shape: dict[str, bool], text: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(IssuerConfigurationError, match=text):
        LocalIssuer(key, self_signed(key, **shape))


def test_a_ca_key_on_an_unknown_curve_is_refused() -> None:
    key = ec.generate_private_key(ec.SECP256K1())
    with pytest.raises(IssuerConfigurationError, match="can't be used"):
        LocalIssuer(key, self_signed(key, ca=True))


async def test_a_ca_without_key_identifier_gets_one() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = LocalIssuer(key, self_signed(key, ca=True))
    certificate = await issue(issuer, make_plan(not_before=NOW, not_after=NOW))
    value = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert value.key_identifier is not None
    assert len(value.key_identifier) == 20


async def test_the_issuing_ca_does_not_certify_its_own_key() -> None:
    spki = ISSUING.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(IssuerRefused, match="own"):
        await issue(load(), make_plan(spki=spki))


@pytest.mark.parametrize(
    "changes",
    [
        {"spki": b"\x30\x00"},
        {"spki": b"no key"},
        {"extended_key_usage": ("1.2.3", "1.2.3")},
        {"extended_key_usage": ("not an oid",)},
        {"key_usage": frozenset({KeyUsage.DIGITAL_SIGNATURE, KeyUsage.ENCIPHER_ONLY})},
        {"extensions": (PlannedExtension("2.5.29.17", critical=False, value=b"\x30\x00"),)},
        {"extensions": (PlannedExtension("1.2.3", critical=False, value=b"\x05\x00"),) * 2},
        {"extensions": (PlannedExtension("1.2.3", critical=False, value=b"not DER"),)},
        {"subject": DistinguishedName(((Attribute("2.5.4.6", "Germany"),),))},
        {"not_before": NOW.replace(microsecond=1)},
        {"not_after": NOW.replace(year=2025)},
    ],
)
async def test_a_plan_that_cannot_be_written_is_refused(changes: dict[str, object]) -> None:
    plan = make_plan(**changes)
    with pytest.raises(IssuerRefused):
        await load().issue(Permit("request", plan, 1), plan, 1)


async def test_a_failing_fake_raises_each_failure_once() -> None:
    fake = FakeIssuer(make_issuer())
    fake.failures.append(IssuerRefused("told to"))
    with pytest.raises(IssuerRefused):
        await issue(fake, make_plan())
    await issue(fake, make_plan())
    assert fake.issued == ["request"]
    assert cast("Issuer", fake).chain() == fake.inner.chain()


class TestLocalIssuerWithPss(SigningContract):
    @pytest.fixture
    def issuer(self) -> Issuer:
        return LocalIssuer(PSS.key, PSS.certificate, pss=True)

    async def test_certificates_name_pss_with_sha_256(self, issuer: Issuer) -> None:
        certificate = await issue(issuer, make_plan())
        assert certificate.signature_algorithm_oid == x509.SignatureAlgorithmOID.RSASSA_PSS
        parameters = certificate.signature_algorithm_parameters
        assert isinstance(parameters, padding.PSS)
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)


def test_pss_with_a_key_that_is_not_rsa_is_refused() -> None:
    with pytest.raises(IssuerConfigurationError, match="RSASSA-PSS is for RSA keys"):
        LocalIssuer(ISSUING.key, ISSUING.certificate, pss=True)


def test_an_rsa_key_that_is_too_small_to_sign_certificates_is_refused() -> None:
    key = ceremony.generate_key("rsa:1024")
    root = ceremony.make_root(DistinguishedName.from_text("CN=Small"), now=NOW, key=key)
    with pytest.raises(IssuerConfigurationError, match="1024 bits; 2048 to 4096 are possible"):
        LocalIssuer(key, root.certificate)
