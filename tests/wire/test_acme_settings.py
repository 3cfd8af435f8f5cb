"""An ACME endpoint with external accounts, a second profile and every challenge, as certbot and lego see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cryptography import x509

from tests.wire.acme_site import OLD_ROOT
from tests.wire.devices import dns_names
from tests.wire.test_acme_certbot import Certbot
from tests.wire.test_acme_lego import Lego

if TYPE_CHECKING:
    from pathlib import Path

    from tests.wire.acme_site import AcmeSite

HOOK = """\
#!/bin/sh
exec DNS "$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION"
"""

LEGO_HOOK = """\
#!/bin/sh
# present -- NAME TOKEN TEXT, made ready for a record here
digest() { printf %s "$1" | openssl dgst -sha256 -binary | basenc --base64url | tr -d =; }
case $1 in present) exec DNS "$3" "$(digest "$5")" ;; esac
"""


def new_key(site: AcmeSite) -> tuple[str, str]:
    """Make a key for one account."""
    made = site.server.said("eab", "new", "acme/bound", "--name", "dns:**.localhost", "--json")
    return json.loads(made)["kid"], json.loads(made)["hmac_key"]


def test_certbot_binds_its_account_and_chooses_a_profile(site: AcmeSite, tmp_path: Path) -> None:
    certbot = Certbot(site.bound, tmp_path)
    refused = certbot.issue(check=False)
    assert refused.returncode != 0
    kid, key = new_key(site)
    agreed = ("--register-unsafely-without-email", "--agree-tos")
    certbot("register", *agreed, "--eab-kid", kid, "--eab-hmac-key", key)
    port = str(site.server.http01_port)
    certbot("certonly", "--standalone", "--http-01-port", port, "-d", certbot.name, "--required-profile", "short")
    certificate = certbot.accepted()
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 7


def test_certbot_gets_a_wildcard_by_dns(site: AcmeSite, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(HOOK.replace("DNS", str(site.dns_hook)))
    hook.chmod(0o755)
    certbot = Certbot(site.server, tmp_path)
    certbot(
        *("certonly", "--manual", "--preferred-challenges", "dns", "--manual-auth-hook", str(hook)),
        *("--register-unsafely-without-email", "--agree-tos"),
        *("--required-profile", "short", "-d", certbot.name, "-d", f"*.{certbot.name}"),
    )
    assert set(dns_names(certbot.accepted())) == {certbot.name, f"*.{certbot.name}"}


def test_certbot_and_lego_choose_the_other_chain(site: AcmeSite, tmp_path: Path) -> None:
    certbot, lego = Certbot(site.server, tmp_path / "certbot"), Lego(site.server, tmp_path / "lego")
    certbot.issue(options=("--preferred-chain", OLD_ROOT))
    lego("run", "--preferred-chain", OLD_ROOT)
    for chain in (certbot.live / "chain.pem", lego.folder / "certificates" / f"{lego.name}.issuer.crt"):
        (crossed,) = x509.load_pem_x509_certificates(chain.read_bytes())
        assert crossed.issuer.rfc4514_string() == f"CN={OLD_ROOT}"


def test_lego_gets_a_wildcard_by_dns(site: AcmeSite, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(LEGO_HOOK.replace("DNS", str(site.dns_hook)))
    hook.chmod(0o755)
    lego = Lego(site.server, tmp_path, solver=("--dns", "exec", "--dns.disable-cp"))
    lego.environment = {"EXEC_PATH": str(hook), "EXEC_MODE": "RAW", "EXEC_POLLING_INTERVAL": "1"}
    lego("run", names=(f"*.{lego.name}",))
    lego.name = f"_.{lego.name}"  # so it calls the file
    assert dns_names(lego.accepted()) == [lego.name.replace("_", "*")]


def test_lego_gets_a_name_by_tls(site: AcmeSite, eab_key: tuple[str, str], tmp_path: Path) -> None:
    kid, key = eab_key
    solver = ("--tls", "--tls.port", f"127.0.0.1:{site.tls_port}")
    lego = Lego(site.bound, tmp_path, options=("--eab", "--kid", kid, "--hmac", key), solver=solver)
    lego("run")
    assert dns_names(lego.accepted()) == [lego.name]


def test_lego_binds_its_account(site: AcmeSite, tmp_path: Path) -> None:
    kid, key = new_key(site)
    lego = Lego(site.bound, tmp_path, options=("--eab", "--kid", kid, "--hmac", key))
    lego("run")
    assert (lego.accepted().not_valid_after_utc - lego.accepted().not_valid_before_utc).days == 90
    wrong = Lego(site.bound, tmp_path / "other", options=("--eab", "--kid", kid, "--hmac", key[::-1]))
    assert wrong("run", check=False).returncode != 0
