"""What becomes of keys that the server makes: superseded when they are asked for again, kept where it is told so."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from datetime import timedelta
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from typer.testing import CliRunner

from ca import der
from ca.csr import parse_keyless
from ca.issuer import IssuerUnavailable
from ca.keys import KeyShape, key_shape
from policies.document import DocumentErrors
from server.app.material import load_material
from server.clock import system_clock
from server.commands import cert
from server.config import load_config
from server.est import keygen, records
from server.est.generated import AGAIN, GeneratedKeys
from server.est.keygen import KeyGenerator, NewKey, Protection, read_protection
from server.est.messages import Malformed
from server.outcome import Issued, Reason, Refused
from server.store import Store, StoreUnavailable
from server.store.certificates import find_by_serial
from server.store.credentials import uses_of
from server.store.tables import audit_events
from tests.fakes.credential import credential, keep, kept
from tests.fakes.database import empty_database
from tests.fakes.door import HERE, Door, ask
from tests.fakes.issuer import spki_of
from tests.fakes.record import stored
from tests.server.est.lab import BASE, Device, Holder, csr, lab
from tests.server.est.test_keygen import ENDPOINT, everything_in, holder_with, openssl, parts, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.est.lab import Answer, Lab

PROXIED = '{address: 127.0.0.1, port: 0, proxies: [127.0.0.1/32], headers: rfc9440, external_urls: ["https://e.test"]}'


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    url = empty_database(tmp_path / "certwright.db")
    opened = await Store.open(url)
    yield opened
    await opened.close()


def escrowing(folder: Path) -> None:
    file = folder / "policies" / "iot-device.yaml"
    file.write_text(file.read_text().replace("    key:\n", "    key:\n      escrow: true\n", 1))


def escrow_for(folder: Path, holder: Holder) -> None:
    (folder / "escrow.pem").write_bytes(holder.chain[0].public_bytes(Encoding.PEM))


async def rows(running: Lab) -> int:
    count = sa.select(sa.func.count()).select_from(records.generated_keys)
    return await running.application.services.store.read(lambda connection: connection.execute(count).scalar_one())


async def why_revoked(running: Lab, certificate: x509.Certificate) -> str | None:
    serial = certificate.serial_number
    found = await running.application.services.store.read(lambda connection: find_by_serial(connection, serial))
    assert found is not None
    return found.revocation_reason


# --- asked again -------------------------------------------------------------------------------------------------


async def test_who_lost_the_reply_gets_another_key_and_the_lost_ones_certificate_is_revoked(folder: Path) -> None:
    """Even with a password that is good once: the next certificate takes the place of the lost one."""
    passed = [timedelta(0)]
    async with lab(folder, ENDPOINT.format(more=""), clock=lambda: system_clock() + passed[0]) as running:
        await keep(running.application.services.store, credential("once", username="pump"))

        async def again(name: str = "pump") -> tuple[int, x509.Certificate | None]:
            answer = await running.post("serverkeygen", request(name), basic=("pump", "once"))
            return answer.status, parts(answer)[2] if answer.status == 200 else None

        (_, first), (_, second), (_, third) = await again(), await again(), await again()
        assert first is not None
        assert second is not None
        assert third is not None
        assert len({each.fingerprint(hashes.SHA256()) for each in (first, second, third)}) == 3
        revoked = [await why_revoked(running, each) for each in (first, second, third)]
        assert revoked == ["superseded", "superseded", None]
        assert (await again("valve"))[0] == 401  # for anything else it is used up
        assert await rows(running) == 3

        passed[0] = AGAIN + timedelta(seconds=1)
        assert (await again())[0] == 401
        assert await why_revoked(running, third) is None


async def test_who_asks_for_another_use_has_not_lost_the_first_key(folder: Path) -> None:
    async with lab(folder, ENDPOINT.format(more="")) as running:
        await keep(running.application.services.store, credential("twice", username="pump", uses_left=2))
        found = []
        for purposes in ((), (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)):
            answer = await running.post("serverkeygen", csr("pump", purposes=purposes), basic=("pump", "twice"))
            found.append(parts(answer)[2])
        assert [await why_revoked(running, each) for each in found] == [None, None]


async def test_of_several_that_lost_the_reply_at_once_one_gets_another_key_for_a_password_of_one_use(
    store: Store,
) -> None:
    await keep(store, credential(id="once"))
    door = Door(store)
    keys = GeneratedKeys(endpoint=HERE, store=store, enrollment=door, escrows=lambda _: False)
    generator = KeyGenerator(lambda: (ec.generate_private_key(ec.SECP256R1()), ()))

    async def asked(key: str) -> bool:
        new_key = NewKey(generator, keygen_shape(), None, direct=True)
        return isinstance(await keys.submit(ask("pump", key=key, spends=("once",)), new_key), Issued)

    assert await asked("a")
    assert sorted(await asyncio.gather(*map(asked, "bcdef"))) == [False] * 4 + [True]
    assert [each.revoked_at is None for each in await stored(store)].count(True) == 1
    assert await asked("g")
    uses = await store.read(lambda connection: uses_of(connection, "once"))
    assert [request_id for request_id, _ in uses] == [
        each.request_id for each in await stored(store) if not each.revoked_at
    ]


@pytest.mark.parametrize("keys", ["abc", "bc"])
async def test_an_issuer_that_is_away_does_not_use_up_the_password_for_the_next_key(store: Store, keys: str) -> None:
    """The next request has another key, and is never the same request as the one that was left half-done."""
    await keep(store, credential(id="once"))
    door = Door(store)
    generated = GeneratedKeys(endpoint=HERE, store=store, enrollment=door, escrows=lambda _: False)
    generator = KeyGenerator(lambda: (ec.generate_private_key(ec.SECP256R1()), ()))

    async def asked(key: str) -> bool:
        new_key = NewKey(generator, keygen_shape(), None, direct=True)
        return isinstance(await generated.submit(ask("pump", key=key, spends=("once",)), new_key), Issued)

    for key in keys:
        if key == "b":
            door.issuer.failures.append(IssuerUnavailable("away"))
        assert await asked(key) is (key != "b")

    assert await door.recover() == 0
    assert [each.revoked_at is None for each in await stored(store)].count(True) == 1
    assert (await kept(store, "once")).uses_left == 0


async def test_later_it_is_a_key_of_its_own(folder: Path) -> None:
    passed = [timedelta(0)]
    async with lab(folder, ENDPOINT.format(more=""), clock=lambda: system_clock() + passed[0]) as running:
        await keep(running.application.services.store, credential("often", username="pump", uses_left=2))
        made = []
        for passed[0] in (timedelta(0), AGAIN + timedelta(minutes=1)):
            made.append(parts(await running.post("serverkeygen", request(), basic=("pump", "often")))[2])
        assert [await why_revoked(running, each) for each in made] == [None, None]
        assert await rows(running) == 1  # that of the first is of no use any more


class Failing(Door):
    """Can't revoke."""

    async def revoke(self, *_: object, **__: object) -> object:  # type: ignore[override]
        raise StoreUnavailable("as told")


async def test_where_the_lost_one_can_not_be_revoked_nothing_leaves(store: Store) -> None:
    door = Failing(store)
    keys = GeneratedKeys(endpoint=HERE, store=store, enrollment=door, escrows=lambda _: False)
    generator = KeyGenerator(lambda: (ec.generate_private_key(ec.SECP256R1()), ()))
    new_key = NewKey(generator, keygen_shape(), None, direct=True)
    assert isinstance(await keys.submit(ask("pump", key="a"), new_key), Issued)
    outcome = await keys.submit(ask("pump", key="b"), new_key)
    assert isinstance(outcome, Refused)
    assert outcome.problem.reason is Reason.STORE_UNAVAILABLE
    assert outcome.problem.retry_after  # asked again, it gets another key


def keygen_shape() -> KeyShape:
    return KeyShape("ec", 256, "P-256")


async def test_what_is_refused_leaves_no_row(folder: Path) -> None:
    async with lab(folder, ENDPOINT.format(more="")) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        assert (await running.post("serverkeygen", request("<b>"), basic=("pump", "otp"))).status == 403
        assert await rows(running) == 0


# --- escrow ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())], ids=["rsa", "ec"]
)
async def test_a_key_is_kept_for_who_holds_the_escrow_key_alone(folder: Path, tmp_path: Path, key: object) -> None:
    escrowing(folder)
    holder = holder_with(key)
    escrow_for(folder, holder)
    async with lab(folder, ENDPOINT.format(more="escrow: escrow.pem")) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        _, octets, certificate = parts(await running.post("serverkeygen", request(), basic=("pump", "otp")))
        command = ["key", f"{certificate.serial_number:x}", "--by", "eve", "--config", str(folder / "server.yaml")]
        printed = await asyncio.to_thread(CliRunner().invoke, cert.app, command)
        events = sa.select(audit_events.c.actor).where(audit_events.c.action == "key-read")
        readers = await running.application.services.store.read(lambda c: c.execute(events).scalars().all())
    assert readers == ["admin:eve"]
    (tmp_path / "kept.pem").write_text(printed.stdout)
    (tmp_path / "escrow.key").write_bytes(holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    files = ("-in", tmp_path / "kept.pem", "-inkey", tmp_path / "escrow.key", "-out", tmp_path / "key.der")
    openssl("cms", "-decrypt", "-inform", "PEM", "-recip", folder / "escrow.pem", *files)
    kept = (tmp_path / "key.der").read_bytes()
    assert kept == octets
    assert load_der_private_key(kept, None).public_key() == certificate.public_key()
    assert octets not in await asyncio.to_thread(everything_in, folder)


async def test_key_and_escrow_are_as_the_profile_says_that_judges(folder: Path) -> None:
    """The one that the password is for, not the first one of the endpoint."""
    escrow_for(folder, holder_with(rsa.generate_private_key(65537, 2048)))
    head, _, _ = (folder / "policies" / "iot-device.yaml").read_text().partition("\ntests:")
    special = head.replace("\n  iot-device:", "\n  special:").replace("    key:\n", "    key:\n      escrow: true\n", 1)
    (folder / "policies" / "special.yaml").write_text(special.replace('["ec:P-256", ', '["ec:P-384", '))
    endpoint = ENDPOINT.replace("[iot-device]", "[iot-device, special]").format(more="escrow: escrow.pem")
    async with lab(folder, endpoint) as running:
        made = credential("otp", username="pump", profile="special"), credential("plain", username="valve")
        await keep(running.application.services.store, *made)
        held = sa.select(records.generated_keys.c.escrow).order_by(records.generated_keys.c.number)
        found = []
        for name, password in (("pump", "otp"), ("valve", "plain")):
            certificate = parts(await running.post("serverkeygen", request(name), basic=(name, password)))[2]
            found.append(key_shape(certificate.public_key()).curve)
        escrows = await running.application.services.store.read(lambda c: c.execute(held).scalars().all())
    assert found == ["P-384", "P-256"]
    assert [each is not None for each in escrows] == [True, False]


async def test_a_key_of_the_judging_profile_does_not_leave_over_a_weaker_cipher_either(folder: Path) -> None:
    head, _, _ = (folder / "policies" / "iot-device.yaml").read_text().partition("\ntests:")
    special = head.replace("\n  iot-device:", "\n  special:").replace('["ec:P-256", ', '["ec:P-384", ')
    (folder / "policies" / "special.yaml").write_text(special)
    async with lab(folder, ENDPOINT.replace("[iot-device]", "[iot-device, special]").format(more="")) as running:
        store = running.application.services.store
        await keep(store, credential("otp", id="once", username="pump", profile="special"))

        def work(ciphers: bytes) -> Answer:
            with Device(running.ports["https"], tls=SSL.TLS1_2_VERSION, ciphers=ciphers) as device:
                return device.post("serverkeygen", request(), basic=("pump", "otp"))

        answer = await asyncio.to_thread(work, b"ECDHE+AES128+AESGCM")
        assert (answer.status, b"weaker than the key" in answer.body) == (403, True)
        assert (await kept(store, "once")).uses_left == 1
        assert (await asyncio.to_thread(work, b"ECDHE+AES256+AESGCM")).status == 200


async def test_what_other_profiles_of_the_endpoint_want_does_not_count_for_the_cipher(folder: Path) -> None:
    file = folder / "policies" / "iot-device.yaml"
    head, _, _ = file.read_text().partition("\ntests:")
    (folder / "policies" / "special.yaml").write_text(head.replace("\n  iot-device:", "\n  special:"))
    file.write_text(head.replace('["ec:P-256", ', '["ec:P-384", '))
    async with lab(folder, ENDPOINT.replace("[iot-device]", "[iot-device, special]").format(more="")) as running:
        made = credential("otp", username="pump", profile="special"), credential("plain", username="valve")
        await keep(running.application.services.store, *made)

        def work(name: str, password: str) -> int:
            with Device(running.ports["https"], tls=SSL.TLS1_2_VERSION, ciphers=b"ECDHE+AES128+AESGCM") as device:
                return device.post("serverkeygen", request(name), basic=(name, password)).status

        assert await asyncio.to_thread(work, "pump", "otp") == 200
        assert await asyncio.to_thread(work, "valve", "plain") == 403


async def test_without_the_profiles_word_nothing_is_kept(folder: Path) -> None:
    escrow_for(folder, holder_with(rsa.generate_private_key(65537, 2048)))
    async with lab(folder, ENDPOINT.format(more="escrow: escrow.pem")) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))
        _, _, certificate = parts(await running.post("serverkeygen", request(), basic=("pump", "otp")))
        config = str(folder / "server.yaml")
        done = await asyncio.to_thread(
            CliRunner().invoke, cert.app, ["key", f"{certificate.serial_number:x}", "--config", config]
        )
    assert (done.exit_code, "no key is kept" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("more", "key", "said"),
    [
        ("", None, "iot-device has keys kept: say for whom"),
        ("escrow: escrow.pem", ed25519.Ed25519PrivateKey.generate(), "must hold one certificate"),
        ("escrow: none.pem", None, "none.pem"),
    ],
)
def test_who_it_is_kept_for_must_be_there_at_start(folder: Path, more: str, key: object, said: str) -> None:
    escrowing(folder)
    if key is not None:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "escrow")])
        begin, end = system_clock(), system_clock() + timedelta(days=1)
        builder = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, end)  # type: ignore[attr-defined]
        made = builder.sign(key, None)  # type: ignore[arg-type]
        (folder / "escrow.pem").write_bytes(made.public_bytes(Encoding.PEM))
    file = folder / "server.yaml"
    head, _, _ = file.read_text().partition("\nendpoints:")
    indented = ENDPOINT.format(more=more).replace("\n", "\n  ")
    file.write_text(f"{head}\nendpoints:{indented}\n")
    with pytest.raises(DocumentErrors, match=said):
        load_material(load_config(file))


async def test_a_profile_that_has_keys_kept_from_now_on_needs_somebody_to_keep_them_for(store: Store) -> None:
    door = Door(store)
    keys = GeneratedKeys(endpoint=HERE, store=store, enrollment=door, escrows=lambda _: True)
    generator = KeyGenerator(lambda: (ec.generate_private_key(ec.SECP256R1()), ()))
    outcome = await keys.submit(ask(), NewKey(generator, keygen_shape(), None, direct=True))
    assert isinstance(outcome, Refused)
    assert "(escrow)" in outcome.problem.message


# --- through a proxy ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "status"), [("", 403), ("danger_plain_through_proxy: true", 200)])
async def test_a_plain_key_does_not_leave_through_a_proxy_unless_told_so(
    folder: Path, more: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with lab(folder, ENDPOINT.format(more=more), PROXIED) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))

        def post() -> tuple[int, bytes]:
            connection = HTTPConnection("127.0.0.1", running.ports["proxied"])
            basic = f"Basic {b64encode(b'pump:otp').decode()}"
            fields = {"Content-Type": "application/pkcs10", "Authorization": basic}
            connection.request("POST", BASE + "serverkeygen", b64encode(request()), fields)
            reply = connection.getresponse()
            found = reply.status, reply.read()
            connection.close()
            return found

        found, body = await asyncio.to_thread(post)
    assert found == status
    assert (b"encrypted only" in body) == (status == 403)


# --- reading -----------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from([keygen.CAPABILITIES, keygen.DECRYPT_KEY, keygen.ASYMMETRIC_DECRYPT_KEY]),
        st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(der.octet_string)),
    )
)
def test_any_attributes_name_a_key_or_none_or_are_malformed(attributes: dict[str, bytes]) -> None:
    try:
        made = request(attributes=attributes)
        found = read_protection(parse_keyless(made, SPKI))
    except (Malformed, ValueError):
        return
    assert found is None or isinstance(found, Protection)


SPKI = spki_of(ec.generate_private_key(ec.SECP256R1()))


@given(st.binary(min_size=1, max_size=255), st.lists(st.sampled_from(["1.2.3", "2.16.840.1.101.3.4.1.42"])))
def test_what_is_named_is_read(identifier: bytes, capabilities: list[str]) -> None:
    listed = der.sequence(*(der.sequence(der.oid(each)) for each in capabilities))
    attributes = {keygen.DECRYPT_KEY: der.octet_string(identifier), keygen.CAPABILITIES: listed}
    found = read_protection(parse_keyless(request(attributes=attributes), SPKI))
    assert found is not None
    assert (found.identifier, found.is_shared, found.capabilities.named) == (identifier, True, frozenset(capabilities))
