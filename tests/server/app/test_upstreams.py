"""CAs elsewhere as the configuration names them: what is taken, and what is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ca.backends.upstream import UpstreamIssuer
from ca.ceremony import generate_key, make_root
from ca.issuer import IssuerConfigurationError
from ca.names import DistinguishedName
from policies.document import DocumentErrors
from server.app.hsms import Hsms
from server.app.issuers import load_issuer
from server.app.secret_sources import Reader
from server.clock import system_clock
from server.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from ca.issuer import Issuer

FILES = "certificate: ca/issuing.pem, chain: chain.pem"
EST = f"type: est, {FILES}, url: 'https://ca.example/.well-known/est/plant'"
ACME = f"type: acme, {FILES}, url: 'https://acme.example/dir', account_key: account.key, terms_agreed: true"
CMP = f"type: cmp, {FILES}, url: 'http://ca.example/pkix/', reference: door, secret: {{file: token}}"
VAULT = f"type: vault, {FILES}, url: 'https://vault.example:8200', role: devices, token: {{file: token}}"


def load(folder: Path, settings: str) -> Issuer:
    """Load a deployment's configuration with one more issuer, and make that one."""
    path = folder / "server.yaml"
    path.write_text(path.read_text().replace("\nissuers:\n", f"\nissuers:\n  other: {{{settings}}}\n"))
    text = path.read_text()
    for protocol in ("est", "scep", "acme"):
        text = text.replace(f"  {protocol}/default:\n", f"  {protocol}/default:\n    issuer: issuing\n")
    path.write_text(text)
    config = load_config(path)
    reader = Reader(config)
    return load_issuer("other", config.issuers["other"], reader, Hsms(reader))


@pytest.fixture
def secrets(folder: Path) -> Path:
    (folder / "token").write_text("s.token\n")
    client = make_root(DistinguishedName.from_text("CN=door"), now=system_clock(), key=generate_key("P-256"))
    (folder / "client.pem").write_bytes(client.certificate_pem())
    (folder / "client.key").write_bytes(client.key_pem(b"s.token"))
    (folder / "account.key").write_bytes(client.key_pem(b"s.token"))
    other = make_root(DistinguishedName.from_text("CN=other"), now=system_clock(), key=generate_key("P-384"))
    (folder / "p384.key").write_bytes(other.key_pem())
    (folder / "eab").write_text("c2VjcmV0")
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        f"{EST}, username: door, password: {{file: token}}, trust: root.pem",
        f"{EST}, client: {{certificate: client.pem, key: client.key, passphrase: {{file: token}}}}",
        f"{ACME}, account_passphrase: {{file: token}}, contact: ['mailto:pki@example.com'], dns01: [./publish]",
        f"{ACME}, account_passphrase: {{file: token}}, external_account: {{kid: one, key: {{file: eab}}}}",
        CMP,
        f"{CMP}, trust: root.pem",
        f"{VAULT}, namespace: plant",
        f"{VAULT.replace('https://vault.example:8200', 'http://127.0.0.1:8200')}",
        f"type: exec, {FILES}, command: [./sign, now], timeout_seconds: 60",
    ],
)
async def test_a_ca_elsewhere_is_made_without_asking_it(secrets: Path, settings: str) -> None:
    issuer = load(secrets, settings)
    assert [each.subject.rfc4514_string() for each in issuer.chain()]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EST, "give username and password, or client"),
        (f"{EST}, username: door", "username and password go together"),
        (f"{EST.replace('https', 'http')}, username: door, password: {{file: token}}", "http is for programs on this"),
        (f"{EST.replace('ca.example', 'me@ca.example')}, username: door, password: {{file: token}}", "without user"),
        (f"{EST.replace('/plant', '/plant?x=1')}, username: door, password: {{file: token}}", "without user"),
        (f"{VAULT.replace('role: devices', 'role: ../../sys')}", "role"),
        (f"type: exec, {FILES}, command: []", "command"),
        (f"type: exec, {FILES}, command: [x], timeout_seconds: 301", "timeout_seconds"),
        (ACME.replace("true", "false"), "terms_agreed"),
        (CMP.replace("http:", "ftp:"), "url"),
        (f"{VAULT}, tokn: x", 'did you mean "token"'),
        (f"{VAULT.replace('file: token', 'file: nothing')}", "can't be read"),
    ],
)
def test_what_can_not_work_is_told_with_its_place(secrets: Path, settings: str, message: str) -> None:
    with pytest.raises(DocumentErrors, match=rf"server.yaml:\d+:\d+: .*{message}"):
        load(secrets, settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (f"{VAULT}, trust: token", "holds no PEM certificates"),
        (ACME, "account_key: .* can't be opened"),
        (f"{ACME.replace('account.key', 'p384.key')}", "must be a P-256 key"),
        (
            f"{ACME}, account_passphrase: {{file: token}}, external_account: {{kid: one, key: {{file: token}}}}",
            "not base64url",
        ),
        (f"{VAULT}, client: {{certificate: client.pem, key: client.key}}", "don't work together"),
        (f"{VAULT}, client: {{certificate: root.pem, key: client.key, passphrase: {{file: token}}}}", "together"),
    ],
)
def test_what_does_not_fit_together_is_told(secrets: Path, settings: str, message: str) -> None:
    with pytest.raises(IssuerConfigurationError, match=message):
        load(secrets, settings)


PLUGIN = """
class Upstream:
    def __init__(self, options, folder):
        self.region, self.folder = options["region"], folder
    async def enroll(self, order):
        raise AssertionError
    async def close(self):
        self.region = "closed"
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a package with a backend."""
    info = tmp_path / "site" / "our_ca-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-ca\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[certwright.issuers]\nour-ca = our_ca_backend:Upstream\n")
    (tmp_path / "site" / "our_ca_backend.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return f"type: plugin, {FILES}"


async def test_a_backend_of_another_package_is_found_by_its_entry_point(secrets: Path, plugin: str) -> None:
    issuer = load(secrets, f"{plugin}, plugin: our-ca, options: {{region: north}}")
    assert isinstance(issuer, UpstreamIssuer)
    upstream = issuer._upstream
    assert (upstream.region, upstream.folder) == ("north", secrets)  # type: ignore[attr-defined] # the plugin's own
    await issuer.close()
    assert upstream.region == "closed"  # type: ignore[attr-defined] # as above


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("plugin: our-cb", 'no installed package has an issuer "our-cb"; did you mean "our-ca"'),
        ("plugin: our-ca", "can't be set up: KeyError"),
    ],
)
def test_a_plugin_that_can_not_be_had_is_told(secrets: Path, plugin: str, settings: str, message: str) -> None:
    with pytest.raises(IssuerConfigurationError, match=message):
        load(secrets, f"{plugin}, {settings}")
