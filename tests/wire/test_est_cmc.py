"""fullcmc with BouncyCastle's CMC, CRMF and CMS."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from server.store.certificates import list_certificates
from tests.fakes.credential import credential, keep
from tests.server.est.lab import lab
from tests.wire.running import COMMAND, require_program, run

if TYPE_CHECKING:
    from subprocess import CompletedProcess

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {one_time_passwords: true, certificates: true}
  fullcmc: {sealing_key: {file: secrets/sealing.key}}
"""
DRIVER = Path(__file__).with_name("bouncycastle") / "Cmc.java"
JARS = [Path("/usr/share/java") / f"{name}.jar" for name in ("bcprov", "bcutil", "bcpkix")]


def client(*arguments: str | Path) -> CompletedProcess[str]:
    java = require_program("java", "apt-get install default-jdk-headless")
    if not all(jar.exists() for jar in JARS):
        require_program("bouncycastle", "apt-get install libbcpkix-java")
    return run(java, "-cp", ":".join(map(str, JARS)), DRIVER, *arguments, check=False)


def shared_secret(folder: Path) -> str:
    """Make a shared secret as an administrator does while the server runs."""
    new = ("credential", "new", "est/default", "--cmc", "--device", "pump-2")
    made = run(*COMMAND, *new, "--config", folder / "server.yaml", "--json")
    return str(json.loads(made.stdout)["secret"])


async def test_bouncycastle_enrolls_proves_a_shared_secret_renews_and_revokes(tmp_path: Path) -> None:
    folder = tmp_path / "deployment"
    create(folder, ports=Ports(0, 0, 0, 5002), clock=system_clock)
    (folder / "secrets" / "sealing.key").write_text("11" * 32)
    async with lab(folder, ENDPOINTS) as running:
        store = running.application.services.store
        await keep(store, credential("otp", username="user"))
        shared = await asyncio.to_thread(shared_secret, folder)
        where = f"localhost:{running.ports['https']}"
        done = await asyncio.to_thread(client, where, folder / "root.pem", "user", "otp", "pump-2", shared)
        assert done.returncode == 0, done.stdout + done.stderr
        told = {line.split()[1]: line.split() for line in done.stdout.splitlines()}
        stored = {one.serial: one for one in await store.read(list_certificates)}

    granted = [step for step, line in told.items() if line[0] == "200" and "status=0" in line]
    assert granted == ["pkcs10", "crmf", "renewed", "revoked"]
    assert {line[2] for line in told.values()} == {"signed=true"}
    assert "transaction=4711" in told["pkcs10"]
    assert (told["after"][0], "fail=7" in told["after"]) == ("401", True)  # badIdentity: it is revoked
    assert (told["unproven"][0], "fail=9" in told["unproven"]) == ("400", True)  # popFailed

    first, second, renewed = (
        x509.load_der_x509_certificate(b64decode(told[step][-1])) for step in ("pkcs10", "crmf", "renewed")
    )
    assert second.subject.rfc4514_string() == "CN=pump-2"
    names = second.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pump-2.example"]
    assert stored[renewed.serial_number].renews == first.serial_number
    assert stored[first.serial_number].revocation_reason == "superseded"
