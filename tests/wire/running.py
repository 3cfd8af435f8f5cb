"""A running server as a foreign client sees it, and the programs that act as clients."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from typer.testing import CliRunner

from server.__main__ import _app
from server.bench.process import ServerProcess, free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.hints import STRONGSWAN_SOURCE
from server.deployment.making import create

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.deployment.folder import Deployment

T = TypeVar("T")
REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = (str(Path(sys.executable).with_name("certwright")),)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A real `certwright serve` on free ports of 127.0.0.1, over a deployment of its own.

    Attributes:
        deployment: its folder.
        process: the server.
        acme_label: of which endpoint `acme_directory` is; the empty label is ``default``.
    """

    deployment: Deployment
    process: ServerProcess
    acme_label: str = ""

    @property
    def folder(self) -> Path:
        return self.deployment.folder

    @property
    def config(self) -> Path:
        """The deployment's server.yaml."""
        return self.deployment.config

    @property
    def root_pem(self) -> Path:
        """The root's certificate."""
        return self.deployment.root_pem

    @property
    def chain_pem(self) -> Path:
        """The issuing CA's certificate first, then the root's."""
        return self.deployment.chain_pem

    @property
    def ra_pem(self) -> Path:
        """The SCEP RA's certificate."""
        return self.deployment.ra_pem

    @property
    def https_url(self) -> str:
        return f"https://localhost:{self.deployment.ports.https}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.deployment.ports.http}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self.deployment.ports.admin}"

    @property
    def est_url(self) -> str:
        return f"{self.https_url}/.well-known/est"

    @property
    def scep_url(self) -> str:
        return f"{self.http_url}/scep"

    @property
    def acme_directory(self) -> str:
        return "/".join(filter(None, (self.https_url, "acme", self.acme_label, "directory")))

    @property
    def http01_port(self) -> int:
        """The port on which the server looks for http-01 answers."""
        return self.deployment.ports.http01

    @property
    def est_username(self) -> str:
        return self.deployment.secrets.est_username

    @property
    def est_password(self) -> str:
        return self.deployment.secrets.est_password

    @property
    def scep_challenge(self) -> str:
        return self.deployment.secrets.scep_challenge

    def certwright(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line in the deployment's folder, where it finds ./server.yaml."""
        return run(*COMMAND, *arguments, cwd=self.folder, check=check)

    def said(self, *arguments: str) -> str:
        """Run the command line here and return what it prints: a process of its own takes a second only to begin.

        In a thread, because tests may have an event loop.
        """
        command = [*arguments, "--config", str(self.config)]
        with ThreadPoolExecutor(1) as thread:
            result = thread.submit(CliRunner().invoke, _app(arguments[0]), command).result()
        if result.exit_code:
            pytest.fail(
                f"certwright {' '.join(arguments)} ended with {result.exit_code}\n{result.output}", pytrace=False
            )
        return result.stdout

    def stored_certificates(self) -> list[x509.Certificate]:
        """Everything in the store's table of certificates, read past the server's own code."""
        with closing(sqlite3.connect(f"file:{self.deployment.database}?mode=ro", uri=True)) as database:
            return [x509.load_der_x509_certificate(row[0]) for row in database.execute("SELECT der FROM certificates")]

    def is_stored(self, certificate: x509.Certificate) -> bool:
        """Whether exactly this certificate is in the store."""
        return certificate in self.stored_certificates()


def start(folder: Path, *, workers: int = 1, prepare: Callable[[], None] | None = None) -> RunningServer:
    """Make a deployment in `folder` on free ports and serve it; the caller stops it."""
    https, http, admin, http01 = free_ports(4)
    deployment = create(folder, ports=Ports(https, http, admin, http01), clock=system_clock)
    return serve(deployment, workers=workers, prepare=prepare)


def serve(deployment: Deployment, *, workers: int = 1, prepare: Callable[[], None] | None = None) -> RunningServer:
    """Serve a deployment that is there already; the caller stops it."""
    process = ServerProcess(
        deployment.config, ready_port=deployment.ports.http, workers=workers, prepare=prepare, command=COMMAND
    )
    return RunningServer(deployment, process.wait_ready())


def run(
    *command: str | Path,
    cwd: Path | None = None,
    check: bool = True,
    environment: dict[str, str] | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run a program with its output captured as text; with `check`, fail the test with that output.

    A bare name is that of a foreign client, which may not be installed.
    """
    program, *arguments = map(str, command)
    done = subprocess.run(
        [program if "/" in program else require_program(program), *arguments],
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
        check=False,
    )
    if check and done.returncode:
        pytest.fail(f"{command[0]} ended with {done.returncode}\n{done.stdout}\n{done.stderr}", pytrace=False)
    return done


def until(look: Callable[[], T | None], alive: Callable[[], bool], log: Callable[[], str], seconds: float = 60) -> T:
    """Return what `look` finds as soon as it finds something; what is not `alive` any more fails the test."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and alive():
        if (found := look()) is not None:
            return found
        time.sleep(0.05)
    pytest.fail(f"it did not get there:\n{log()[-4000:]}", pytrace=False)


def require_program(name: str, hint: str = "") -> str:
    """Return the path of a foreign client; without it the test is skipped, and `hint` says how to get it.

    Without a hint, Debian's package has the program's name.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed: {hint or f'apt-get install {name}'}")
    return path


def require_strongswan() -> str:
    """Return the path of strongSwan's pki; without it, or without the plugins that it needs here, the test is skipped.

    Whoever installs nothing that is merely recommended has it without the plugin that knows elliptic curves.
    """
    path, plugins = require_program("pki", STRONGSWAN_SOURCE), Path("/usr/lib/ipsec/plugins")
    if plugins.is_dir() and not all((plugins / f"libstrongswan-{one}.so").exists() for one in ("curl", "openssl")):
        pytest.skip(f"strongSwan lacks plugins: {STRONGSWAN_SOURCE}")
    return path


def require_certbot(oldest: int = 5) -> str:
    """Return the path of certbot of this major version or later; without it the test is skipped.

    It has a virtual environment of its own beside the project's; the system's may be an older one.
    """
    own = REPOSITORY / ".venv-certbot" / "bin" / "certbot"
    if own.exists():
        return str(own)
    path = require_program("certbot", "make certbot")
    told = run(path, "--version").stdout.strip()
    if int(told.removeprefix("certbot ").partition(".")[0]) < oldest:
        pytest.skip(f"{path} is {told}, too old for this test: make certbot")
    return path


def openssl_verify(server: RunningServer, certificate: x509.Certificate | Path, purpose: str | None = None) -> None:
    """Fail unless ``openssl verify`` builds a chain from the certificate to the deployment's root.

    Args:
        server: whose root and issuing CA to use.
        certificate: the certificate, or a PEM file that begins with it.
        purpose: ``sslclient``, ``sslserver`` or None for any.
    """
    if isinstance(certificate, x509.Certificate):
        path = server.folder / f"verify-{certificate.serial_number:x}.pem"
        path.write_bytes(certificate.public_bytes(Encoding.PEM))
    else:
        path = certificate
    wanted = ["-purpose", purpose] if purpose else []
    openssl = require_program("openssl")
    run(openssl, "verify", "-x509_strict", *wanted, "-CAfile", server.root_pem, "-untrusted", server.chain_pem, path)
