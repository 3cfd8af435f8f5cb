"""GET crls: the revocation list where devices already are."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from server.est.codec import crls_reply
from tests.server.est.lab import first_crl, lab
from tests.server.est.test_csrattrs_routes import get
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from pathlib import Path

ENDPOINT = "est/default: {profiles: [iot-device], authenticate: {certificates: true}}"


@pytest.mark.parametrize("path", ["crls", "default/crls"])
async def test_anybody_gets_the_newest_list(folder: Path, tmp_path: Path, path: str) -> None:
    async with lab(folder, ENDPOINT) as running:
        newest = await first_crl(running)
        status, fields, body = await get(running, path)
        posted = await get(running, path, "POST")
    assert (status, fields["Content-Type"]) == (200, "application/pkcs7-mime")
    assert posted[0] == 405
    file = tmp_path / "crls.der"
    file.write_bytes(b64decode(body))
    program = require_program("openssl")
    told = await asyncio.to_thread(run, program, "pkcs7", "-inform", "DER", "-in", file, "-print_certs")
    pem = told.stdout[told.stdout.index("-----BEGIN X509 CRL-----") :]
    assert x509.load_pem_x509_crl(pem.encode()) == x509.load_der_x509_crl(newest)


def test_where_nothing_is_published_there_is_nothing() -> None:
    reply = crls_reply(None, wrapped=True)
    assert (reply.status, reply.body) == (204, b"")


async def test_a_record_that_cant_be_read_is_a_503(folder: Path) -> None:
    async with lab(folder, ENDPOINT) as running:
        await running.application.services.store.close()
        status, fields, body = await get(running, "crls")
    assert (status, fields["Retry-After"], body) == (503, "5", b"The record can't be read at the moment.\n")
