"""Delta lists, and lists of shards."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from server.status import records
from server.status.records import Scope
from server.store.revocations import shard_of
from tests.fakes.status import ADDRESSES, DAY, Lab
from tests.server.status.lists import lint_crl
from tests.wire.running import require_program

if TYPE_CHECKING:
    from pathlib import Path

    from server.store import Store

HOLD = x509.ReasonFlags.certificate_hold
SECONDS = timedelta(seconds=6)


def certificate(lab: Lab, serial: int) -> bytes:
    """Return a certificate that names its shard."""
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(lab.ca.certificate.subject)
    builder = builder.serial_number(serial).public_key(lab.ca.certificate.public_key())
    builder = builder.not_valid_before(lab.now).not_valid_after(lab.now + DAY)
    for extension in ADDRESSES.extensions(serial):
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(extension.oid), extension.value)
        builder = builder.add_extension(value, critical=extension.critical)
    return builder.sign(lab.ca.key, hashes.SHA256()).public_bytes(Encoding.DER)


def has(crl: x509.CertificateRevocationList) -> dict[int, x509.ReasonFlags]:
    """Return serial numbers with their reasons."""
    return {e.serial_number: e.extensions.get_extension_for_class(x509.CRLReason).value.reason for e in crl}


async def test_a_delta_says_what_changed_since_its_base(store: Store) -> None:
    lab = Lab.make(store, delta=True)
    for serial in (1, 2, 3):
        await lab.add(serial)
    await lab.revoke(1)
    await lab.revoke(2, HOLD)
    await lab.publish()
    full, delta = await lab.crl(), await lab.crl(delta=True)
    freshest = full.extensions.get_extension_for_class(x509.FreshestCRL).value
    assert freshest[0].full_name == [x509.UniformResourceIdentifier("http://pki.example/crl/issuing-delta.crl")]
    assert (set(has(full)), has(delta)) == ({1, 2}, {})

    await lab.revoke(3)
    await lab.release(2)
    assert await lab.publish(SECONDS) == 1
    assert await lab.crl() == full
    delta = await lab.crl(delta=True)
    assert has(delta) == {3: x509.ReasonFlags.superseded, 2: x509.ReasonFlags.remove_from_crl}
    indicator = delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert indicator.critical
    assert indicator.value.crl_number == 1
    assert delta.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2

    await lab.publish(DAY)
    full, delta = await lab.crl(), await lab.crl(delta=True)
    assert (set(has(full)), has(delta)) == ({1, 3}, {})
    for each in (full, delta):
        assert each.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3
        assert lint_crl(each.public_bytes(Encoding.DER)) == []


async def test_openssl_applies_a_delta_to_its_base(store: Store, tmp_path: Path) -> None:
    lab = Lab.make(store, delta=True)
    leaf = certificate(lab, 7)
    await lab.add(7, der=leaf)
    await lab.publish()
    await lab.revoke(7)
    await lab.publish(SECONDS)
    pem = {
        "leaf": x509.load_der_x509_certificate(leaf).public_bytes(Encoding.PEM),
        "ca": lab.ca.certificate_pem(),
        "full": (await lab.crl()).public_bytes(Encoding.PEM),
        "delta": (await lab.crl(delta=True)).public_bytes(Encoding.PEM),
    }
    for name, content in pem.items():
        (tmp_path / name).write_bytes(content)
    at = str(int((lab.now + SECONDS).timestamp()))
    trusted = ["-CAfile", str(tmp_path / "ca")]
    command = [require_program("openssl"), "verify", "-attime", at, "-crl_check", "-extended_crl", *trusted]
    both = [*command, "-use_deltas", "-CRLfile", str(tmp_path / "full"), "-CRLfile", str(tmp_path / "delta")]
    alone = [*command, "-CRLfile", str(tmp_path / "full")]
    for ordered, expected in ((alone, ": OK"), (both, "certificate revoked")):
        done = await asyncio.create_subprocess_exec(*ordered, str(tmp_path / "leaf"), stdout=PIPE, stderr=STDOUT)
        assert expected in (await done.communicate())[0].decode()


async def test_a_shard_names_the_certificates_that_name_it(store: Store) -> None:
    lab = Lab.make(store, shards=4)
    for serial in range(4, 12):
        await lab.add(serial, der=certificate(lab, serial))
        await lab.revoke(serial)
    assert await lab.publish() == 5
    assert has(await lab.crl()).keys() == set(range(4, 12))
    for shard in range(1, 5):
        crl = await lab.crl(shard)
        assert {serial % 4 + 1 for serial in has(crl)} == {shard}
        point = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
        assert point.critical
        named = x509.load_der_x509_certificate(certificate(lab, next(iter(has(crl)))))
        assert (
            point.value.full_name
            == named.extensions.get_extension_for_class(x509.CRLDistributionPoints).value[0].full_name
        )
        assert lint_crl(crl.public_bytes(Encoding.DER)) == []


async def test_a_revocation_makes_its_shard_and_the_complete_list_anew_and_no_other(store: Store) -> None:
    lab = Lab.make(store, shards=4, delta=True)
    await lab.add(5, der=certificate(lab, 5))
    assert await lab.publish() == 5
    await lab.revoke(5)
    assert await lab.publish(SECONDS) == 2
    assert has(await lab.crl(2, delta=True)).keys() == {5}


async def test_a_shard_goes_on_when_fewer_are_configured(store: Store) -> None:
    await Lab.make(store, shards=4).publish()
    lab = Lab.make(store, shards=2)
    lab.now += DAY
    assert await lab.publish() == 5
    found = await store.read(lambda c: records.octets(c, Scope("issuing", 4), delta=False))
    assert found is not None


def test_only_our_own_addresses_name_a_shard() -> None:
    assert shard_of(b"no certificate") == 0


async def test_many_entries_are_read_in_pages(store: Store, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(records, "PAGE", 3)
    lab = Lab.make(store)
    for serial in range(1, 8):
        await lab.add(serial)
        await lab.revoke(serial)
    await lab.publish()
    assert has(await lab.crl()).keys() == set(range(1, 8))
