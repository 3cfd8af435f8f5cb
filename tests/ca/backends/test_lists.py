"""Revocation lists signed by every backend that signs here; long ones by an HSM too."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from ca import ceremony
from ca.backends.hsm import SignerProcess, generate_hsm_key
from ca.backends.local import LocalIssuer
from ca.backends.pkcs11 import Pkcs11Issuer
from ca.crl import RevocationList, write_entry
from ca.names import DistinguishedName
from tests.fakes.issuer import NOW
from tests.fakes.softhsm import make_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca.issuer import CrlIssuer

NAME = DistinguishedName.from_text("CN=Lists")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignerProcess]:
    with pytest.MonkeyPatch.context() as environment:
        signer = SignerProcess(make_token(tmp_path_factory.mktemp("hsm"), environment))
        yield signer
        signer.close()


def a_list(count: int) -> RevocationList:
    entries = [write_entry(serial, NOW, x509.ReasonFlags.superseded) for serial in range(1, count + 1)]
    return RevocationList(number=1, this_update=NOW, next_update=NOW + timedelta(days=7), entries=entries)


async def expect_list(issuer: CrlIssuer, certificate: x509.Certificate, count: int) -> None:
    crl = x509.load_der_x509_crl(await issuer.sign_crl(a_list(count)))
    assert crl.is_signature_valid(certificate.public_key())  # type: ignore[arg-type]
    assert len(crl) == count


@pytest.mark.parametrize("kind", ["P-256", "P-384", "P-521", "rsa:2048", "ed25519", "ml-dsa-44", "ml-dsa-87"])
async def test_a_local_issuer_signs_lists(kind: str) -> None:
    root = ceremony.make_root(NAME, now=NOW, key=ceremony.generate_key(kind))
    await expect_list(LocalIssuer(root.key, root.certificate), root.certificate, 3)


@pytest.mark.parametrize(("kind", "pss"), [("P-256", False), ("P-384", False), ("rsa:2048", False), ("rsa:3072", True)])
async def test_an_hsm_signs_short_and_long_lists(signer: SignerProcess, kind: str, *, pss: bool) -> None:
    key = generate_hsm_key(signer, f"lists {kind}", kind, kind.encode())
    root = ceremony.make_root(NAME, now=NOW, key=key)
    issuer = Pkcs11Issuer(key, root.certificate, pss=pss)
    for count in (0, 20_000):
        await expect_list(issuer, root.certificate, count)
