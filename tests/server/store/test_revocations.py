"""What stands in revocation lists: what is revoked, held, released, forgotten by mistake and written again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from server.outcome import Refused
from server.store import revocations
from server.store.certificates import RevocationOutcome
from server.store.revocations import ReleaseOutcome, shard_of
from tests.fakes.door import Door, ask
from tests.fakes.issuer import NOW
from tests.fakes.record import issued, stored

if TYPE_CHECKING:
    from server.store import Store

HOLD, COMPROMISE = x509.ReasonFlags.certificate_hold, x509.ReasonFlags.key_compromise
MINUTE = timedelta(minutes=1)
_table = revocations.revocations


async def entries(store: Store) -> dict[int, tuple[object, ...]]:
    """Return number, date, reason and the rest of each entry by serial number."""
    rows = await store.read(lambda c: c.execute(sa.select(_table)).all())
    return {row.serial: (row.number, row.issuer, row.not_after, row.released, row.invalid_since) for row in rows}


async def made(door: Door, store: Store, *names: str) -> list[int]:
    """Issue certificates; return their serial numbers."""
    for name in names:
        issued(await door.submit(ask(name)))
    return [one.serial for one in reversed(await stored(store))]


async def test_a_hold_becomes_final_with_its_own_date_and_can_not_be_lifted_then(door: Door, store: Store) -> None:
    (serial,) = await made(door, store, "pump")
    assert await door.revoke(serial, HOLD, "admin:eve") is RevocationOutcome.REVOKED
    first = await entries(store)
    door.now += MINUTE
    assert await door.revoke(serial, HOLD, "admin:eve") is RevocationOutcome.ALREADY_REVOKED
    assert await entries(store) == first
    assert await door.revoke(serial, COMPROMISE, "admin:eve", invalid_since=NOW - MINUTE) is RevocationOutcome.REVOKED
    (kept,) = await stored(store)
    assert (kept.revoked_at, kept.revocation_reason) == (NOW, "keyCompromise")
    ((number, *rest),) = (await entries(store)).values()
    assert rest == ["issuing", kept.not_after, False, NOW - MINUTE]
    assert isinstance(number, int)
    assert number > first[serial][0]  # type: ignore[operator] # numbers are integers
    for reason in (HOLD, COMPROMISE, x509.ReasonFlags.superseded):
        assert await door.revoke(serial, reason, "admin:eve") is RevocationOutcome.ALREADY_REVOKED
    assert await door.release(serial, "admin:eve") is ReleaseOutcome.NOT_HELD
    assert (await stored(store))[0].revoked_at == NOW


async def test_a_key_can_turn_out_to_be_compromised_after_its_certificate_was_revoked(door: Door, store: Store) -> None:
    (serial,) = await made(door, store, "pump")
    request, early = ask("pump"), NOW - MINUTE
    superseded = x509.ReasonFlags.superseded
    assert await door.revoke(serial, superseded, "admin:eve", invalid_since=early) is RevocationOutcome.REVOKED
    first = await entries(store)
    door.now += MINUTE
    for reason in (HOLD, superseded, x509.ReasonFlags.unspecified):
        assert await door.revoke(serial, reason, "admin:eve") is RevocationOutcome.ALREADY_REVOKED
    assert await entries(store) == first

    assert await door.revoke(serial, COMPROMISE, "admin:eve") is RevocationOutcome.REVOKED
    (kept,) = await stored(store)
    assert (kept.revoked_at, kept.revocation_reason) == (NOW, "keyCompromise")
    (number, *rest), before = (await entries(store))[serial], first[serial]
    assert (rest, rest[-1]) == (list(before[1:]), early)
    assert number > before[0]  # type: ignore[operator] # numbers are integers
    refused = await door.submit(replace(request, key="again"))
    assert isinstance(refused, Refused)
    assert "compromised" in refused.problem.message


async def test_what_is_released_is_good_again_and_told_under_a_higher_number(door: Door, store: Store) -> None:
    (serial,) = await made(door, store, "pump")
    await door.revoke(serial, HOLD, "admin:eve")
    held = (await entries(store))[serial]
    assert await door.release(serial, "admin:eve") is ReleaseOutcome.RELEASED
    released = (await entries(store))[serial]
    assert released[0] > held[0]  # type: ignore[operator] # numbers are integers
    assert (held[3], released[3]) == (False, True)
    assert (await stored(store))[0].revoked_at is None
    assert await door.revoke(serial, COMPROMISE, "admin:eve") is RevocationOutcome.REVOKED
    assert (await entries(store))[serial][3] is False


async def test_entries_that_were_forgotten_by_mistake_are_written_again_and_no_others(door: Door, store: Store) -> None:
    gone, kept, good, over = await made(door, store, "gone", "kept", "good", "over")
    for serial in (gone, kept, over):
        await door.revoke(serial, COMPROMISE, "admin:eve", door.now - MINUTE)
    before = await entries(store)
    await store.write(lambda c: c.execute(sa.delete(_table).where(_table.c.serial.in_([gone, over]))).rowcount)
    then = (await stored(store))[0].not_after  # they all end at once

    assert await store.write(lambda c: revocations.restore(c, "another", then)) == 0
    assert await store.write(lambda c: revocations.restore(c, "issuing", then + MINUTE)) == 0
    assert await store.write(lambda c: revocations.restore(c, "issuing", then)) == 2  # in their last second
    assert await store.write(lambda c: revocations.restore(c, "issuing", then)) == 0

    after = await entries(store)
    assert set(after) == {gone, kept, over}
    assert after[kept] == before[kept]
    assert good not in after
    assert [after[one][1:] for one in (gone, over)] == [before[one][1:] for one in (gone, over)]


NAMED = "http://pki.test/crl/issuing/{}.crl"
OURS, OTHER = x509.UniformResourceIdentifier(NAMED.format(7)), x509.UniformResourceIdentifier("http://pki.test/all.crl")
DIRECTORY = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]))


@pytest.mark.parametrize(
    ("points", "shard"),
    [
        (None, 0),
        ([[OURS]], 7),
        ([[OTHER, OURS]], 7),
        ([[DIRECTORY], [OTHER], [OURS]], 7),
        ([[DIRECTORY, OTHER]], 0),
        ([None, [OURS]], 7),
        ([[x509.UniformResourceIdentifier(NAMED.format(0))]], 0),
        ([[x509.UniformResourceIdentifier(NAMED.format("0007"))]], 0),
        ([[x509.UniformResourceIdentifier(NAMED.format(9999))]], 9999),
        ([[x509.UniformResourceIdentifier(NAMED.format(10000))]], 0),
        ([[x509.UniformResourceIdentifier("http://pki.test/crl/a/b/7.crl")]], 0),
    ],
)
def test_a_shard_is_that_of_the_first_address_that_names_one(
    points: list[list[x509.GeneralName] | None] | None, shard: int
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1)
    builder = builder.not_valid_before(NOW).not_valid_after(NOW)
    if points is not None:
        made = [
            x509.DistributionPoint(names, None, None, None if names else [x509.DNSName("crl.test")]) for names in points
        ]
        builder = builder.add_extension(x509.CRLDistributionPoints(made), critical=False)
    assert shard_of(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)) == shard


def test_what_is_no_certificate_has_no_shard() -> None:
    assert shard_of(b"") == 0
