"""EST with BouncyCastle's client, which decodes base64 only where Content-Transfer-Encoding says so."""

from __future__ import annotations

import asyncio
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
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    import pytest

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {one_time_passwords: true, certificates: true}
"""
DRIVER = Path(__file__).with_name("bouncycastle") / "Enroll.java"
JARS = [Path("/usr/share/java") / f"{name}.jar" for name in ("bcprov", "bcutil", "bcpkix", "bctls")]


def client(*arguments: str | Path) -> CompletedProcess[str]:
    java = require_program("java", "apt-get install default-jdk-headless")
    if not all(jar.exists() for jar in JARS):
        require_program("bouncycastle", "apt-get install libbcpkix-java libbctls-java")
    return run(java, "-cp", ":".join(map(str, JARS)), DRIVER, *arguments, check=False)


async def test_bouncycastle_enrolls_renews_and_binds_its_request_to_the_connection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "deployment"
    create(folder, ports=Ports(0, 0, 0, 5002), clock=system_clock)
    async with lab(folder, ENDPOINTS) as running:
        store = running.application.services.store
        await keep(store, credential("otp", username="pump", uses_left=2))
        where = f"localhost:{running.ports['https']}"
        done = await asyncio.to_thread(client, where, folder / "root.pem", "pump", "otp", "pump-17")
        assert done.returncode == 0, done.stdout + done.stderr
        said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
        assert (said["cacerts"], said["csrattrs"], said["wrong"]) == ("2", "true", "401")
        certificates = [
            x509.load_der_x509_certificate(b64decode(said[step])) for step in ("first", "renewed", "linked")
        ]
        assert {one.subject.rfc4514_string() for one in certificates} == {"CN=pump-17"}
        stored = {one.serial: one for one in await store.read(list_certificates)}
        assert stored[certificates[1].serial_number].renews == certificates[0].serial_number
        assert len(stored) == 3
    assert "linked=tls-unique" in "".join(capsys.readouterr())
