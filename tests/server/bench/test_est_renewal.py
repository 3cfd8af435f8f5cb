from __future__ import annotations

import base64
from itertools import cycle
from typing import TYPE_CHECKING

from cryptography import x509

from server.bench.connection import Connection
from server.bench.est_renewal import EstRenewalClient, _Device
from tests.fuzz.targets.pkix import CERTIFICATES

if TYPE_CHECKING:
    from pathlib import Path


async def test_each_device_in_turn_asks_for_its_own_names_with_a_new_key(root_pem: Path) -> None:
    client = EstRenewalClient("https://localhost/.well-known/est/", root_pem, "user", "word")
    devices = [_Device(each, Connection(root_pem)) for each in CERTIFICATES]
    client._devices, client._turns = devices, cycle(devices)
    jobs = [client.prepare() for _ in range(3)]
    await client.__aexit__(None, None, None)
    assert [job.device for job in jobs] == [devices[0], devices[1], devices[0]]
    asked = [x509.load_der_x509_csr(base64.b64decode(job.request.body)) for job in jobs]
    for csr, job in zip(asked, jobs, strict=True):
        had = job.device.certificate
        assert csr.subject == had.subject
        wanted, old = (each.extensions.get_extension_for_class(x509.SubjectAlternativeName) for each in (csr, had))
        assert wanted == old
    assert asked[0].public_key() != asked[2].public_key()
