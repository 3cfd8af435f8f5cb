"""ACME with uacme, a client in C, whose hook program answers http-01, dns-01 and, through ualpn, tls-alpn-01."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.wire.devices import dns_names
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.wire.acme_site import AcmeSite

HOOK = """\
#!/bin/sh
# METHOD TYPE IDENT TOKEN AUTH
case $1:$2 in
    begin:WANTED) ;;
    begin:*) exit 1 ;;
esac
case $1:$2 in
    begin:http-01) printf %s "$5" > "TOKENS/$4" ;;
    begin:dns-01) DNS "$3" "$5" ;;
esac
"""
# uacme trusts what the system trusts, so it gets a system of its own, which trusts the root and nothing else.
TRUSTING = 'mount --bind "$0" /etc/ssl/certs/ca-certificates.crt && exec "$@"'


@dataclass
class Uacme:
    """One machine with uacme: its account and keys are in a folder of its own."""

    site: AcmeSite
    folder: Path
    challenge: str = "http-01"
    options: tuple[str, ...] = ()
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.site.name("uacme")

    def __call__(self, *arguments: str | Path, check: bool = True) -> CompletedProcess[str]:
        uacme = require_program("uacme", "apt-get install uacme")
        hook = self.folder / "hook"
        tokens = self.folder / "web" / ".well-known" / "acme-challenge"
        text = HOOK.replace("WANTED", self.challenge).replace("TOKENS", str(tokens))
        hook.write_text(text.replace("DNS", str(self.site.dns_hook)))
        hook.chmod(0o755)
        unshare = require_program("unshare", "apt-get install util-linux")
        return run(
            *(unshare, "--map-root-user", "--mount", "sh", "-c", TRUSTING, self.site.server.root_pem),
            *(uacme, "-v", "-v","-v", "-y", "-c", self.folder, "-h", hook, "-a", self.site.server.acme_directory),
            *self.options,
            *arguments,
            check=check, timeout=8,
        )

    def issue(self, *names: str, check: bool = True) -> CompletedProcess[str]:
        with self.site.web(self.folder / "web"):
            return self("issue", *(names or (self.name,)), check=check)
