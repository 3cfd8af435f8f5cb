"""Making a deployment folder: keys, certificates, secrets, profiles, configuration, database."""

from __future__ import annotations

import secrets
import shutil
import string
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from argon2 import PasswordHasher
from cryptography.hazmat.primitives import hashes

from ca.names import MalformedName
from server.deployment import authorities
from server.deployment.files import write_public, write_secret
from server.deployment.folder import PROTECTED, Deployment, Ports, Secrets
from server.deployment.template import server_yaml
from server.store.migrations import upgrade

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from server.clock import Clock

HOSTS = ("127.0.0.1", "localhost")
# PrintableString, which SCEP clients put the challenge into, and nothing that a shell reads
_ALPHABET = string.ascii_letters + string.digits


class DeploymentRefused(Exception):
    """The folder can't take a deployment. The text says why and what to do."""


class SettingsRefused(DeploymentRefused):
    """No deployment can be made with these ports or host names."""


def create(
    folder: Path,
    *,
    clock: Clock,
    ports: Ports | None = None,
    hostnames: Sequence[str] = (),
    beside: Collection[str] = (),
) -> Deployment:
    """Make a complete deployment. Nothing is left behind when that fails, and nothing is overwritten.

    Args:
        folder: where; it is made when it isn't there.
        clock: for the validity of certificates.
        ports: of the listeners; the usual ones when None.
        hostnames: names or addresses by which clients reach the server, before 127.0.0.1 and localhost.
        beside: names that may be in the folder already and stay.

    Raises:
        DeploymentRefused: the folder holds something else, or can't be written.
        SettingsRefused: a host name is none, or two listeners have one port.
    """
    ports = ports or Ports()
    listening = (ports.https, ports.http, ports.admin)
    if len(set(listening) - {0}) < sum(map(bool, listening)):
        raise SettingsRefused("each listener needs a port of its own")
    try:
        hosts = tuple(dict.fromkeys(authorities.host_name(name) for name in (*hostnames, *HOSTS)))
    except MalformedName as error:
        raise SettingsRefused(str(error)) from error
    with _workshop(folder, beside) as workshop:
        for name in PROTECTED:
            (workshop / name).mkdir(mode=0o700)
        root = authorities.make(workshop, hosts, clock)
        generated = _secrets(workshop)
        profiles = resources.files("policies") / "profiles"
        (workshop / "policies").mkdir()
        for profile in profiles.iterdir():
            if profile.name.endswith(".yaml"):
                write_public(workshop / "policies" / profile.name, profile.read_bytes())
        write_public(workshop / "server.yaml", server_yaml(ports, [str(host.value) for host in hosts]).encode())
        upgrade(f"sqlite+aiosqlite:///{workshop / 'certwright.db'}")
        (workshop / "certwright.db").chmod(0o600)
    return Deployment(folder, ports, generated, root.fingerprint(hashes.SHA256()))


def _secrets(workshop: Path) -> Secrets:
    """Generate what clients present, and keep the hashes that the server checks it by."""
    generated = Secrets(est_username=f"device-{secrets.token_hex(3)}", est_password=_word(24), scep_challenge=_word(24))
    hasher = PasswordHasher()
    password = hasher.hash(generated.est_password)
    passwords = f'# user name: argon2 hash of the password\n{generated.est_username}: "{password}"\n'
    write_secret(workshop / "secrets" / "est-passwords.yaml", passwords.encode())
    write_secret(workshop / "secrets" / "scep-challenge", f"{hasher.hash(generated.scep_challenge)}\n".encode())
    write_secret(workshop / "credentials.json", generated.to_json().encode())
    return generated


def _word(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


@contextmanager
def _workshop(folder: Path, beside: Collection[str]) -> Iterator[Path]:
    """Give a folder to build in; when all is built, its content moves into `folder`, the configuration last."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir() if path.name not in beside)
    except OSError as error:
        raise DeploymentRefused(f"{folder}: {error.strerror}") from error
    if found:
        raise DeploymentRefused(
            f"{folder} holds {', '.join(found[:5])}{' and more' if len(found) > 5 else ''}: nothing is overwritten; "
            "name a new folder, or empty this one"
        )
    workshop = Path(mkdtemp(prefix=".making-", dir=folder))
    try:
        yield workshop
        # Whoever sees server.yaml sees a whole deployment.
        for path in sorted(workshop.iterdir(), key=lambda path: path.name == "server.yaml"):
            path.rename(folder / path.name)
    finally:
        shutil.rmtree(workshop)
