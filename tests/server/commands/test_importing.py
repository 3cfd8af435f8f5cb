"""Other products' profiles as ours: what is carried over, and what is said not to be."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from policies.profile import Profile, parse_profiles
from policies.words import PURPOSE_NAMES
from server.commands.importers import FORMATS, NotImportable
from server.commands.policy import app

if TYPE_CHECKING:
    from pathlib import Path

VAULT = {
    "request_id": "1",
    "data": {
        "allowed_domains": ["plant.example", "*.ot.example", "a*.x.example"],
        "allow_subdomains": True,
        "allow_bare_domains": True,
        "allow_glob_domains": True,
        "allow_ip_sans": False,
        "allow_localhost": False,
        "key_type": "ec",
        "key_bits": 256,
        "key_usage": ["DigitalSignature", "KeyAgreement", "KeyEncipherment"],
        "server_flag": True,
        "client_flag": False,
        "ttl": 2592000,
        "max_ttl": "90d",
        "organization": ["Waterworks"],
        "policy_identifiers": ["1.2.3"],
    },
}
CFSSL = {
    "usages": ["signing", "key encipherment", "server auth", "cert sign"],
    "expiry": "8760h",
    "crl_url": "http://pki.example/crl",
    "ocsp_url": "http://ocsp.example",
    "name_whitelist": r"\.example$",
    "auth_key": "k1",
}
STEP = {
    "type": "ACME",
    "name": "acme",
    "claims": {"defaultTLSCertDuration": "24h", "maxTLSCertDuration": "1h30m", "enableSSHCA": True},
    "policy": {
        "x509": {
            "allow": {"dns": ["*.plant.example"], "ip": ["10.0.0.0/8"], "cn": ["x"]},
            "deny": {"dns": ["a.plant.example"]},
        }
    },
    "forceCN": True,
}
VCERT = {
    "policy": {
        "domains": ["plant.example"],
        "wildcardAllowed": True,
        "maxValidDays": 120,
        "subject": {"orgs": ["Waterworks"], "countries": ["DE"]},
        "keyPair": {
            "keyTypes": ["RSA", "EC"],
            "rsaKeySizes": [1024, 2048, 4096],
            "ellipticCurves": ["P256"],
            "reuseAllowed": True,
        },
        "subjectAltNames": {"dnsAllowed": True, "ipAllowed": True, "ipConstraints": ["10.0.0.0/8"], "uriAllowed": True},
        "certificateAuthority": "TPP\\CA",
    },
    "defaults": {"subject": {"org": "Waterworks", "country": "DE"}},
}


def run(tmp_path: Path, kind: str, content: object, *words: str) -> Result:
    path = tmp_path / "theirs.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return CliRunner().invoke(app, ["import", kind, str(path), *words])


def imported(tmp_path: Path, kind: str, content: object, *words: str) -> tuple[Profile, str]:
    result = run(tmp_path, kind, content, *words)
    assert result.exit_code == 0, result.stderr
    (profile,) = parse_profiles(result.stdout, "ours.yaml")
    left = [line.removeprefix("not carried over: ") for line in result.stderr.splitlines()]
    assert all(f"# not carried over: {line}\n" in result.stdout for line in left)
    return profile, result.stderr


def purposes(profile: Profile) -> list[str]:
    return [PURPOSE_NAMES[oid] for oid in profile.sections.extended_key_usage.forced]


def test_a_vault_role(tmp_path: Path) -> None:
    profile, left = imported(tmp_path, "vault", VAULT, "--name", "pump", "--issuer", "plant")
    assert (profile.name, profile.sections.issuer) == ("pump", "plant")
    assert [key.text for key in profile.sections.key.allowed] == ["ec:P-256"]
    assert profile.sections.names.dns is not None
    patterns = [pattern.text for pattern in profile.sections.names.dns.allowed]
    assert patterns == ["**.ot.example", "**.plant.example", "plant.example"]
    assert profile.sections.names.ip is None
    assert purposes(profile) == ["serverAuth"]
    assert profile.sections.validity.default.days == 30
    assert profile.sections.subject.forced == {"O": "Waterworks"}
    assert profile.sections.key_usage.forced == ("digitalSignature",)
    assert "a*.x.example" in left
    assert "policy_identifiers" in left
    assert "up to 90d" in left


def test_a_vault_role_with_its_defaults_says_what_it_let_through(tmp_path: Path) -> None:
    _, left = imported(
        tmp_path, "vault", {"allow_any_name": True, "key_type": "any", "allowed_uri_sans": ["spiffe://x/**"]}
    )
    assert "allow_any_name" in left
    assert "allow_ip_sans" in left
    assert "no lifetime was named" in left


def test_a_cfssl_profile(tmp_path: Path) -> None:
    profile, left = imported(tmp_path, "cfssl", CFSSL)
    assert purposes(profile) == ["serverAuth"]
    assert profile.sections.validity.default.days == 365
    assert profile.sections.extensions.crl == ("http://pki.example/crl",)
    for word in ("cert sign", "name_whitelist", "auth_key", "subject and names"):
        assert word in left


def test_a_step_ca_provisioner(tmp_path: Path) -> None:
    profile, left = imported(tmp_path, "step-ca", STEP, "--endpoint", "acme/default")
    assert profile.sections.evidence.any == ("account",)
    dns = profile.sections.names.dns
    assert dns is not None
    assert ([one.text for one in dns.allowed], [one.text for one in dns.forbidden]) == (
        ["*.plant.example"],
        ["a.plant.example"],
    )
    assert profile.sections.renewal is not None
    for word in ("claims.enableSSHCA", "policy.x509.allow.cn", "forceCN"):
        assert word in left


def test_a_vcert_policy(tmp_path: Path) -> None:
    profile, left = imported(tmp_path, "vcert", VCERT)
    assert [key.text for key in profile.sections.key.allowed] == ["rsa:2048", "rsa:4096", "ec:P-256"]
    assert profile.sections.subject.default == {"O": "Waterworks", "C": "DE"}
    assert profile.sections.validity.default.days == 120
    assert profile.sections.names.dns is not None
    assert profile.sections.names.dns.wildcards == "allowed"
    for word in ("reuseAllowed", "uriAllowed", "certificateAuthority"):
        assert word in left


# Whole files of the shape that the products' own manuals show: cfssl's doc/cmd/cfssl.txt, step-ca's configuration page,
# the "Venafi Certificate and Key Policy Specification" of vcert, and the answer of Vault's "Read role".
CFSSL_FILE = {
    "auth_keys": {"primary": {"type": "standard", "key": "0123456789ABCDEF"}},
    "signing": {
        "default": {"auth_remote": {"remote": "caserver", "auth_key": "primary"}},
        "profiles": {
            "www": {"usages": ["signing", "key encipherment", "server auth"], "expiry": "2160h"},
            "client": {"usages": ["signing", "client auth"], "expiry": "8760h", "auth_key": "primary"},
        },
    },
}
STEP_FILE = {
    "root": "/home/step/certs/root_ca.crt",
    "dnsNames": ["localhost"],
    "authority": {
        "provisioners": [
            {
                "type": "ACME",
                "name": "acme",
                "challenges": ["http-01"],
                "claims": {"minTLSCertDuration": "5m", "maxTLSCertDuration": "24h", "defaultTLSCertDuration": "24h"},
            },
            {"type": "JWK", "name": "admin@example.com", "key": {"kty": "EC"}, "encryptedKey": "eyJ"},
        ]
    },
}
VCERT_FILE = """\
# vcert setpolicy takes YAML too
policy:
  domains: [plant.example, ot.example]
  wildcardAllowed: false
  maxValidDays: 90
  keyPair: {keyTypes: [EC], ellipticCurves: [P256, P384], serviceGenerated: false}
  subjectAltNames: {dnsAllowed: true, ipAllowed: false}
defaults:
  domain: plant.example
  subject: {org: Waterworks}
  keyPair: {keyType: EC, ellipticCurve: P256}
"""
VAULT_FILE = {
    "request_id": "8a2b", "lease_id": "", "renewable": False, "lease_duration": 0, "wrap_info": None, "warnings": None,
    "data": {
        "allow_any_name": False, "allow_bare_domains": False, "allow_glob_domains": False, "allow_ip_sans": True,
        "allow_localhost": True, "allow_subdomains": True, "allowed_domains": ["davnet.example"],
        "allowed_other_sans": None, "allowed_uri_sans": [], "client_flag": True, "code_signing_flag": False,
        "country": [], "email_protection_flag": False, "enforce_hostnames": True, "ext_key_usage": [],
        "key_bits": 2048, "key_type": "rsa", "key_usage": ["DigitalSignature", "KeyAgreement", "KeyEncipherment"],
        "max_ttl": 7776000, "no_store": False, "not_before_duration": 30, "organization": [], "require_cn": True,
        "server_flag": True, "ttl": 2764800, "use_csr_common_name": True, "use_csr_sans": True,
    },
}  # fmt: skip


def test_a_whole_cfssl_configuration(tmp_path: Path) -> None:
    profile, left = imported(tmp_path, "cfssl", CFSSL_FILE, "--entry", "www")
    assert purposes(profile) == ["serverAuth"]
    assert profile.sections.validity.default.days == 90
    assert "auth_key" in imported(tmp_path, "cfssl", CFSSL_FILE, "--entry", "client")[1]
    assert "subject and names" in left
    result = run(tmp_path, "cfssl", CFSSL_FILE)
    assert (result.exit_code, "--entry with one of client, default, www" in result.stderr) == (2, True)


def test_a_whole_step_ca_configuration(tmp_path: Path) -> None:
    profile, _ = imported(tmp_path, "step-ca", STEP_FILE, "--entry", "acme", "--endpoint", "acme/default")
    assert profile.sections.validity.default.days == 1
    result = run(tmp_path, "step-ca", STEP_FILE, "--entry", "smac")
    assert "one of acme, admin@example.com" in result.stderr
    one = {"authority": {"provisioners": STEP_FILE["authority"]["provisioners"][:1]}}  # type: ignore[index]
    assert imported(tmp_path, "step-ca", one)[0].sections.validity.default.days == 1


def test_a_vcert_policy_in_yaml(tmp_path: Path) -> None:
    profile, _ = imported(tmp_path, "vcert", VCERT_FILE)
    assert [key.text for key in profile.sections.key.allowed] == ["ec:P-256", "ec:P-384"]
    assert profile.sections.validity.default.days == 90
    assert profile.sections.subject.default == {"O": "Waterworks"}


def test_a_vault_role_as_vault_prints_it(tmp_path: Path) -> None:
    profile, left = imported(tmp_path, "vault", VAULT_FILE)
    assert [key.text for key in profile.sections.key.allowed] == ["rsa:2048-4096"]
    assert sorted(purposes(profile)) == ["clientAuth", "serverAuth"]
    assert profile.sections.validity.default.days == 32
    assert "allow_ip_sans" in left


@pytest.mark.parametrize(
    ("kind", "content", "words", "message"),
    [
        ("ejbca", {}, [], "no known format"),
        ("vault", {}, ["--endpoint", "cmp/x"], "an endpoint is written"),
        ("vault", "{", [], "not a vault profile in JSON"),
        ("vault", [], [], "must be a mapping"),
        ("cfssl", {"usages": 7}, [], "must be a list"),
        ("cfssl", {"expiry": "soon"}, [], "is no duration"),
    ],
)
def test_what_is_no_profile_is_told(tmp_path: Path, kind: str, content: object, words: list[str], message: str) -> None:
    result = run(tmp_path, kind, content, *words)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_what_must_be_mended_is_told_with_its_place(tmp_path: Path) -> None:
    result = run(tmp_path, "vcert", {"policy": {"domains": ["not a name"]}})
    assert (result.exit_code, "to be mended:\nimported:" in result.stderr) == (1, True)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["import", "vault", str(tmp_path / "none")])
    assert (result.exit_code, "can't be read" in result.stderr) == (2, True)


json_values: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(FORMATS)), st.data())
def test_any_content_is_imported_or_refused(kind: str, data: st.DataObject) -> None:
    words = {"vault": VAULT["data"], "cfssl": CFSSL, "step-ca": STEP, "vcert": VCERT}[kind]
    content = data.draw(st.dictionaries(st.sampled_from(sorted(words)), json_values, max_size=4))
    with contextlib.suppress(NotImportable, ValueError, TypeError, AttributeError, OverflowError):
        FORMATS[kind](content)
