"""What a newcomer needs next: the root's fingerprint, and client lines to copy and paste."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from policies.request import EndpointName, Protocol
from server.deployment.folder import Ports, Secrets

if TYPE_CHECKING:
    from server.config import Config
    from server.deployment.folder import Deployment

STRONGSWAN_SOURCE = "apt-get install strongswan-pki libstrongswan-extra-plugins libstrongswan-standard-plugins"
"""What installs strongSwan's `pki` on Debian, with the plugins that it reads and fetches by here."""


def first_steps(deployment: Deployment) -> str:
    """Return what is said when a deployment was made."""
    fingerprint = ":".join(f"{octet:02X}" for octet in deployment.fingerprint)
    config = _shown(deployment.config)
    return f"""\
Made {_shown(deployment.folder)}. The root's SHA-256 fingerprint, to compare when it is installed:
  {fingerprint}
Next:
  {_program("certwright")} doctor --config {config}
  {_program("certwright")} serve --config {config}
Clients trust {_shown(deployment.root_pem)}; what they authenticate with is in \
{_shown(deployment.folder / "credentials.json")}.
The server never needs {_shown(deployment.folder / "ca" / "root.key")} and its passphrase: \
in production, keep them elsewhere."""


def client_lines(config: Config, *, for_a_person: bool = True) -> str:
    """Return one line for each protocol that enrolls at this server as it stands, ready for a shell.

    None for ACME where an account needs more than that, a key or another proof than http-01.

    The empty text when there is no ``credentials.json`` beside the configuration, or not all three listeners and
    default endpoints that `certwright init` sets up.

    Args:
        config: the server's configuration.
        for_a_person: write the secrets themselves; otherwise, for what ends in a log, let the shell read them.
    """
    folder = config.file.parent
    file = folder / "credentials.json"
    https, http = config.listeners.https, config.listeners.http
    acme = config.endpoints.acme.get(EndpointName(Protocol.ACME, "default"))
    try:
        secrets = Secrets.from_json(file.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    if https is None or http is None or acme is None:
        return ""
    ports = Ports(https=https.port, http=http.port, http01=acme.http01.port)
    password, challenge = (
        (shlex.quote(secrets.est_password), shlex.quote(secrets.scep_challenge))
        if for_a_person
        else (_read_by_shell(file, "password"), _read_by_shell(file, "challenge"))
    )
    user = f"{shlex.quote(secrets.est_username)}:{password}"
    source = "" if shutil.which("pki") else f" ({STRONGSWAN_SOURCE})"
    lines = {
        "EST with openssl and curl": _est(folder, ports, user),
        f"SCEP with strongSwan{source}": _scep(folder, ports, challenge),
    }
    if "http-01" in acme.challenges and not (acme.external_accounts and acme.external_accounts.required):
        lines["ACME with certbot"] = _acme(folder, ports)
    return "\n".join(f"{title}:\n  {line}\n" for title, line in lines.items())


def _read_by_shell(file: Path, key: str) -> str:
    """Return what a shell replaces by a value of ``credentials.json``, which has one a line."""
    return f"""\"$(sed -n 's/.*"{key}": "\\(.*\\)".*/\\1/p' {_shown(file)})\""""


def _est(folder: Path, ports: Ports, user: str) -> str:
    return (
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device.key"
        " -subj /CN=device-1 -addext subjectAltName=DNS:device-1.example -out device.csr"
        # curl leaves the reason of a refusal where the certificate would be
        f" && (curl -sS --fail-with-body --cacert {_shown(folder / 'root.pem')} --user {user} --data-binary @device.csr"
        ' -H "Content-Type: application/pkcs10" -o device-cert.p7'
        f" https://localhost:{ports.https}/.well-known/est/simpleenroll || ! cat device-cert.p7)"
        " && openssl base64 -d -in device-cert.p7 | openssl pkcs7 -inform DER -print_certs -out device.pem"
    )


def _scep(folder: Path, ports: Ports, challenge: str) -> str:
    ra = _shown(folder / "ra" / "ra.pem")
    return (
        "openssl genrsa -out router.key 2048"
        f" && {_program('pki')} --scep --url http://127.0.0.1:{ports.http}/scep --in router.key"
        f" --dn CN=router-1 --san router-1.example --password {challenge}"
        f" --cacert-enc {ra} --cacert-sig {ra} --cacert {_shown(folder / 'chain.pem')}"
        f" --cacert {_shown(folder / 'root.pem')} --outform pem > router.pem"
    )


def _acme(folder: Path, ports: Ports) -> str:
    certbot = _program("certbot")
    repository = Path(sys.prefix).parent
    if shutil.which("certbot") is None and certbot == "certbot" and Path.cwd() == repository:
        certbot = ".venv-certbot/bin/certbot"
    # `make run` is called in the repository, where `make certbot` does its part without root.
    make = "make certbot && " if certbot.startswith(".venv-certbot") else ""
    return (
        f"{make}REQUESTS_CA_BUNDLE={_shown(folder / 'root.pem')} {certbot} certonly --standalone"
        " --non-interactive --agree-tos --register-unsafely-without-email"
        f" --server https://127.0.0.1:{ports.https}/acme/directory --http-01-port {ports.http01}"
        " -d first.localhost --config-dir certbot --work-dir certbot --logs-dir certbot"
    )


def _program(name: str) -> str:
    """Return how to call a program: by its name, or by where it is in this environment or in its own beside it."""
    if shutil.which(name) is None:
        environment = Path(sys.prefix)
        for each in (environment, environment.with_name(f".venv-{name}")):
            if (each / "bin" / name).exists():
                return _shown(each / "bin" / name)
    return name


def _shown(path: Path) -> str:
    """Return the path as one would type it here: relative when that is below the working directory."""
    absolute = path.absolute()
    here = Path.cwd()
    shown = os.path.relpath(absolute, here) if absolute.is_relative_to(here) else str(absolute)
    return shlex.quote(shown)
