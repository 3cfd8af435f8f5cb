"""How often a key may be renewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.credential import credential, keep
from tests.server.est.lab import Holder, csr, lab

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {one_time_passwords: true, certificates: true}
"""


async def test_a_key_is_renewed_as_often_as_the_profile_says_and_then_a_new_one_is_wanted(folder: Path) -> None:
    file = folder / "policies" / "iot-device.yaml"
    file.write_text(file.read_text().replace("      names: same\n", "      names: same\n      key_renewals: 2\n"))
    async with lab(folder, ENDPOINTS) as running:
        await keep(running.application.services.store, credential(username="pump"))
        key = ec.generate_private_key(ec.SECP256R1())
        first = await running.post("simpleenroll", csr("pump", key=key), basic=("pump", "secret"))
        holder = Holder(key, (first.certificate,))
        for _ in range(2):
            holder.chain = ((await running.post("simplereenroll", csr("pump", key=key), holder=holder)).certificate,)
        refused = await running.post("simplereenroll", csr("pump", key=key), holder=holder)
        assert (refused.status, b"this key was renewed as often as it may be" in refused.body) == (403, True)

        other = ec.generate_private_key(ec.SECP256R1())
        renewed = (await running.post("simplereenroll", csr("pump", key=other), holder=holder)).certificate
        again = Holder(other, (renewed,))
        assert (await running.post("simplereenroll", csr("pump", key=other), holder=again)).status == 200
