"""ACME with mod_md: Apache gets, renews and activates the certificates of its virtual hosts by itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.wire.devices import dns_names
from tests.wire.running import require_program, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cryptography import x509

    from tests.wire.acme_site import AcmeSite
    from tests.wire.running import RunningServer

T = TypeVar("T")
MODULES = Path("/usr/lib/apache2/modules")
GLOBAL = """\
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
DefaultRuntimeDir {folder}
Mutex file:{folder}
ErrorLog {folder}/log
LogLevel warn md:debug
GracefulShutdownTimeout 1
{modules}
Listen 127.0.0.1:{http}
Listen 127.0.0.1:{https}
Protocols http/1.1 acme-tls/1
SSLRandomSeed startup builtin

MDStoreDir md
MDChallengeDns01 {folder}/dns-hook
MDStoreLocks off
MDPortMap http:{http} https:{https}
MDCertificateAuthority {directory}
MDCACertificateFile {folder}/root.pem
MDCertificateAgreement accepted
MDContactEmail pki@example.com
MDCheckInterval 1s
MDInitialDelay 0
MDRetryDelay 1s
MDMatchNames all
"""
HOST = """\
<MDomain {names}>
    {settings}
</MDomain>
<VirtualHost 127.0.0.1:{https}>
    ServerName {name}
    SSLEngine on
</VirtualHost>
"""


BY_HTTP = "MDCAChallenges http-01\nMDPrivateKeys secp256r1"
HOOK = """\
#!/bin/sh
# setup NAME TEXT, teardown NAME
case $1 in setup) exec DNS "$2" "$3" ;; esac
"""


@dataclass
class Apache:
    """One machine with Apache, run by somebody who may do nothing: configuration and storage are in his folder."""

    site: AcmeSite
    folder: Path
    hosts: str = ""
    server: RunningServer = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.server = self.site.server

    def host(self, *names: str, settings: str = "") -> str:
        """Add a virtual host; return its first name."""
        self.hosts += HOST.format(names=" ".join(names), name=names[0], settings=settings, https=self.site.tls_port)
        return names[0]

    def _write(self) -> Path:
        modules = "\n".join(
            f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in ("mpm_event", "authz_core", "ssl", "md")
        )
        values = {"http": self.server.http01_port, "https": self.site.tls_port, "directory": self.server.acme_directory}
        text = GLOBAL.format(folder=self.folder, modules=modules, **values)
        (self.folder / "httpd.conf").write_text(f"{text}{self.hosts}")
        shutil.copy(self.server.root_pem, self.folder)
        hook = self.folder / "dns-hook"
        hook.write_text(HOOK.replace("DNS", str(self.site.dns_hook)))
        hook.chmod(0o755)
        return self.folder / "httpd.conf"

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [require_program("apache2", "apt-get install apache2-bin"), "-DFOREGROUND", "-f", str(self._write())]
        user, group = ("nobody", "nogroup") if os.getuid() == 0 else (None, None)
        if user and group:
            for path in (self.folder, *self.folder.iterdir()):
                shutil.chown(path, user, group)
        with (self.folder / "output").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=user, group=group
            )
        try:
            yield
        finally:
            self.process.terminate()
            self.process.wait(30)

    def until(self, look: Callable[[], T | None]) -> T:
        """Return what `look` finds, as soon as it finds something."""
        return until(look, lambda: self.process.poll() is None, self.log)

    def took_up(self, name: str, before: x509.Certificate | None = None) -> x509.Certificate:
        """Wait for a new certificate of a host, and for the reload that takes it up, which is daily elsewhere."""
        staged = self.folder / "md" / "staging" / name / "job.json"
        self.until(lambda: (staged.exists() and json.loads(staged.read_text()).get("finished")) or None)
        self.process.send_signal(signal.SIGUSR1)

        def look() -> x509.Certificate | None:
            found = self.site.served(name)
            return None if found == before else found

        return self.until(look)

    def log(self) -> str:
        return "".join(file.read_text() for file in (self.folder / "output", self.folder / "log") if file.exists())


@pytest.fixture
def apache(site: AcmeSite) -> Iterator[Apache]:
    # not below pytest's folder, which nobody but its user may enter
    with tempfile.TemporaryDirectory(prefix="certwright-apache-") as folder:
        yield Apache(site, Path(folder))


def test_apache_gets_what_its_hosts_need(apache: Apache, eab_key: tuple[str, str]) -> None:
    site = apache.site
    by_http = apache.host(site.name("apache"), settings=f"{BY_HTTP}\nMDProfile short\nMDProfileMandatory on")
    # mod_md doesn't find its own answer when all of its keys are on curves
    by_tls = apache.host(site.name("apache"), settings="MDCAChallenges tls-alpn-01\nMDPrivateKeys rsa2048")
    named = site.name("apache")
    by_dns = apache.host(named, f"*.{named}", settings="MDCAChallenges dns-01\nMDPrivateKeys secp384r1")
    binding = "MDExternalAccountBinding {} {}".format(*eab_key)
    directory = f"MDCertificateAuthority {site.bound.acme_directory}"
    bound = apache.host(site.name("apache"), settings=f"{directory}\n{binding}\n{BY_HTTP}")
    with apache.running():
        found = {name: apache.took_up(name) for name in (by_http, by_tls, by_dns, bound)}
    assert (found[by_http].not_valid_after_utc - found[by_http].not_valid_before_utc).days == 7
    assert set(dns_names(found[by_dns])) == {named, f"*.{named}"}
    assert dns_names(found[by_tls]) == [by_tls]


def test_apache_renews_when_its_renewal_window_is_moved(apache: Apache) -> None:
    name = apache.host(apache.site.name("apache"), settings=BY_HTTP)
    with apache.running():
        first = apache.took_up(name)
        apache.server.said("renewals", "push", "--serial", format(first.serial_number, "x"), "--within", "0s")
        second = apache.took_up(name, first)
    assert second != first
    assert "renew via ARI" in apache.log()


def test_apache_logs_which_name_is_forbidden_and_why(apache: Apache) -> None:
    apache.host("apache.google.com")
    with apache.running():
        apache.until(lambda: "rejectedIdentifier" in apache.log() or None)
    assert "not allowed" in apache.log()
