"""ACME with the certbot that Debian brings (2.1 in 12, 4.0 in 13), which knows no renewal information."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import dns_names
from tests.wire.test_acme_certbot import Certbot

if TYPE_CHECKING:
    from tests.wire.acme_site import AcmeSite

PROGRAM = Path("/usr/bin/certbot")
AGREED = ("--register-unsafely-without-email", "--agree-tos")
HOOK = """\\
#!/bin/sh
exec DNS "$CERTBOT_DOMAIN" "$CERTBOT_VALIDATION"
"""


@pytest.fixture
def certbot(site: AcmeSite, tmp_path: Path) -> Certbot:
    if not PROGRAM.exists():
        pytest.skip("Debian's certbot is not installed: apt-get install certbot")
    return Certbot(site.server, tmp_path, name=site.name("certbot-2"), program=str(PROGRAM))


def test_certbot_2_lives_a_whole_life(certbot: Certbot, site: AcmeSite) -> None:
    names = (certbot.name, f"www.{certbot.name}")
    certbot.issue(*names)
    first = certbot.accepted()
    assert set(dns_names(first)) == set(names)
    certbot.renew()
    second = certbot.accepted()
    assert second != first
    certbot("revoke", "--cert-path", certbot.live / "cert.pem", "--reason", "superseded", "--no-delete-after-revoke")
    assert site.is_revoked(second)
    certbot("update_account", "--email", "pki@example.com")
    certbot("unregister")


def test_certbot_2_gets_a_wildcard_by_dns_with_its_account_bound(
    certbot: Certbot, site: AcmeSite, eab_key: tuple[str, str], tmp_path: Path
) -> None:
    hook = tmp_path / "hook"
    hook.write_text(HOOK.replace("DNS", str(site.dns_hook)))
    hook.chmod(0o755)
    certbot.server = site.bound
    certbot("register", *AGREED, "--eab-kid", eab_key[0], "--eab-hmac-key", eab_key[1])
    names = ("-d", certbot.name, "-d", f"*.{certbot.name}")
    dns = ("--manual", "--preferred-challenges", "dns", "--manual-auth-hook", hook)
    certbot("certonly", *dns, "--key-type", "rsa", *names)
    assert set(dns_names(certbot.accepted())) == {certbot.name, f"*.{certbot.name}"}


def test_certbot_2_logs_which_name_is_forbidden_and_why(certbot: Certbot) -> None:
    refused = certbot.issue(certbot.name, "certbot.google.com", check=False)
    assert refused.returncode != 0
    # It says "can't set attribute" of every refusal of every CA; only its log has the reason.
    log = (certbot.folder / "logs" / "letsencrypt.log").read_text()
    assert "Problem for certbot.google.com" in log
    assert "not allowed" in log
