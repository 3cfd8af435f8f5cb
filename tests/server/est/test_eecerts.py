"""GET eecerts: the certificates of peers that devices talk to."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from policies.document import DocumentErrors
from server.app.material import load_material
from server.app.peers import FRESH
from server.clock import system_clock
from server.config import load_config
from tests.fakes.credential import credential, keep
from tests.server.est.lab import csr, lab
from tests.server.est.test_csrattrs_routes import get
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from tests.server.est.lab import Lab

ENDPOINT = """
est/default:
  profiles: [iot-device]
  eecerts: [iot-device]
  authenticate: {one_time_passwords: true, certificates: true}
est/closed:
  profiles: [iot-device]
  authenticate: {certificates: true}
"""


class Clock:
    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return system_clock() + self.ahead


async def peer(running: Lab, name: str) -> x509.Certificate:
    return (await running.post("simpleenroll", csr(name), basic=("peers", "otp"))).certificate


async def listed(running: Lab, folder: Path) -> set[int]:
    """Fetch, open with openssl, and return serial numbers."""
    status, fields, body = await get(running, "eecerts")
    assert (status, fields["Content-Type"]) == (200, "application/pkcs7-mime; smime-type=certs-only")
    file = folder / "eecerts.der"
    file.write_bytes(b64decode(body))
    program = require_program("openssl")
    told = await asyncio.to_thread(run, program, "pkcs7", "-inform", "DER", "-in", file, "-print_certs")
    return {one.serial_number for one in x509.load_pem_x509_certificates(told.stdout.encode())}


async def test_anybody_gets_the_newest_certificate_in_force_of_each_peer(folder: Path, tmp_path: Path) -> None:
    clock = Clock()
    async with lab(folder, ENDPOINT, clock=clock) as running:
        services = running.application.services
        await keep(services.store, credential("otp", username="peers", uses_left=9))
        assert (await get(running, "eecerts"))[0] == 204
        first, other = await peer(running, "gateway-1"), await peer(running, "gateway-2")
        assert (await get(running, "eecerts"))[0] == 204  # for a minute

        clock.ahead += FRESH
        assert await listed(running, tmp_path) == {first.serial_number, other.serial_number}

        again = await peer(running, "gateway-1")
        await services.enrollment.revoke(other.serial_number, x509.ReasonFlags.superseded, "admin:test")
        clock.ahead += FRESH
        assert await listed(running, tmp_path) == {again.serial_number}

        assert (await get(running, "eecerts", "POST"))[0] == 405
        assert (await get(running, "closed/eecerts"))[0] == 404


async def test_certificates_that_are_over_are_no_longer_told(folder: Path) -> None:
    clock = Clock()
    async with lab(folder, ENDPOINT, clock=clock) as running:
        await keep(running.application.services.store, credential("otp", username="peers"))
        await peer(running, "gateway-1")
        clock.ahead = timedelta(days=400)
        assert (await get(running, "eecerts"))[0] == 204


async def test_a_record_that_can_not_be_read_is_a_503(folder: Path) -> None:
    async with lab(folder, ENDPOINT) as running:
        await running.application.services.store.close()
        status, fields, _ = await get(running, "eecerts")
    assert (status, fields["Retry-After"]) == (503, "5")


def test_a_profile_that_there_is_not_is_an_error_with_a_suggestion(folder: Path) -> None:
    file = folder / "server.yaml"
    file.write_text(file.read_text().replace("  est/default:\n", "  est/default:\n    eecerts: [iot-devise]\n", 1))
    with pytest.raises(DocumentErrors, match=r'server.yaml:\d+:\d+: there is no profile "iot-devise".*iot-device'):
        load_material(load_config(file))
