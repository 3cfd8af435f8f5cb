"""One-time passwords over HTTP Basic, on real connections."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from server.clock import system_clock
from server.credentials.redeeming import REPLAY
from server.est.linking import OTP_CHALLENGE
from server.store.certificates import list_certificates
from server.store.requests import list_requests
from tests.fakes.credential import credential, keep, kept
from tests.server.est.lab import Holder, csr, lab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.server.est.lab import Lab

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {one_time_passwords: true, certificates: true}
"""


@pytest.fixture
async def running_lab(folder: Path) -> AsyncIterator[Lab]:
    async with lab(folder, ENDPOINTS) as made:
        yield made


async def test_of_fifty_devices_with_one_password_at_once_one_gets_a_certificate(running_lab: Lab) -> None:
    store = running_lab.application.services.store
    await keep(store, credential("otp", id="one", username="pump"))

    answers = await asyncio.gather(
        *(running_lab.post("simpleenroll", csr(f"pump-{n}"), basic=("pump", "otp")) for n in range(50))
    )

    assert sorted(answer.status for answer in answers) == [200] + [401] * 49
    assert len(await store.read(list_certificates)) == 1
    assert (await kept(store, "one")).uses_left == 0


async def test_a_device_that_lost_the_reply_gets_the_same_certificate_again(running_lab: Lab) -> None:
    store = running_lab.application.services.store
    await keep(store, credential("otp", username="pump"))
    key = ec.generate_private_key(ec.SECP256R1())

    first = await running_lab.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"))
    again = await running_lab.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"))
    other = await running_lab.post("simpleenroll", csr("pump"), basic=("pump", "otp"))

    assert first.certificate == again.certificate
    assert (other.status, other.body) == (401, b"")
    assert other.fields["WWW-Authenticate"] == 'Basic realm="est/default"'


@pytest.mark.parametrize(
    ("name", "dns", "status"),
    [
        ("pump-17", (), 200),
        ("PUMP-17", ("pump-17.example",), 200),
        ("pump-18", (), 403),
        ("pump-170", (), 403),
        ("pump-17", ("pump-18.example",), 403),
        ("pump-17", ("pump-17.example", "valve.example"), 403),
        (None, (), 403),
    ],
)
async def test_a_password_for_a_device_is_good_for_its_names_alone(
    running_lab: Lab, name: str | None, dns: tuple[str, ...], status: int
) -> None:
    store = running_lab.application.services.store
    await keep(store, credential("otp", id="bound", username="pump-17", device="pump-17"))

    answer = await running_lab.post("simpleenroll", csr(name, dns=dns), basic=("pump-17", "otp"))

    assert answer.status == status
    assert (await kept(store, "bound")).uses_left == (0 if status == 200 else 1)
    if status == 403:
        assert answer.body.startswith(b"The credentials are for another device")
        (request,) = await store.read(list_requests)
        assert request.requester == "password:pump-17"
        assert request.csr is not None


async def test_a_password_for_names_is_good_for_these_alone(running_lab: Lab) -> None:
    store = running_lab.application.services.store
    await keep(store, credential("otp", username="pump", names=("dns:a.example", "dns:b.example")))

    refused = await running_lab.post("simpleenroll", csr("x", dns=("a.example", "c.example")), basic=("pump", "otp"))
    assert (refused.status, refused.body) == (403, b"The credentials are for other subject alternative names.\n")
    assert (await running_lab.post("simpleenroll", csr("x", dns=("b.example",)), basic=("pump", "otp"))).status == 200


@pytest.mark.parametrize(
    ("fields", "user", "password"),
    [
        ({}, "pump", "wrong"),
        ({}, "valve", "otp"),
        ({"expires_at": system_clock() - timedelta(seconds=1)}, "pump", "otp"),
        ({"revoked_at": system_clock()}, "pump", "otp"),
        ({"revoked_at": system_clock(), "spent_at": system_clock(), "uses_left": 0}, "pump", "otp"),
        ({"uses_left": 0, "spent_at": system_clock() - REPLAY - timedelta(hours=1)}, "pump", "otp"),
    ],
)
async def test_what_is_wrong_expired_withdrawn_or_used_long_ago_opens_nothing(
    running_lab: Lab, fields: dict[str, object], user: str, password: str
) -> None:
    store = running_lab.application.services.store
    await keep(store, credential("otp", username="pump", **fields))

    answer = await running_lab.post("simpleenroll", csr("pump"), basic=(user, password))

    assert (answer.status, answer.body) == (401, b"")
    (request,) = await store.read(list_requests)
    assert request.requester == f"password:{user}"


async def test_a_used_password_beside_the_certificate_it_brought_does_not_hinder_the_renewal(running_lab: Lab) -> None:
    store = running_lab.application.services.store
    await keep(store, credential("otp", id="two", username="pump", uses_left=2))
    key = ec.generate_private_key(ec.SECP256R1())
    first = await running_lab.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"))
    holder = Holder(key, (first.certificate,))

    for password in ("otp", "worn out"):
        renewed = await running_lab.post("simplereenroll", csr("pump"), holder=holder, basic=("pump", password))
        assert renewed.status == 200, renewed

    assert (await kept(store, "two")).uses_left == 1
    serials = {one.renews for one in await store.read(list_certificates)}
    assert serials == {None, first.certificate.serial_number}


async def test_a_certificate_under_the_profile_of_the_password_is_renewed_under_it(folder: Path) -> None:
    """Also where that is not the first one of the endpoint."""
    shipped = folder / "policies" / "iot-device.yaml"
    head, _, _ = shipped.read_text().partition("\ntests:")
    (folder / "policies" / "special.yaml").write_text(head.replace("\n  iot-device:", "\n  special:"))
    endpoints = ENDPOINTS.replace("[iot-device]", "[iot-device, special]")
    async with lab(folder, endpoints) as running:
        store = running.application.services.store
        await keep(store, credential("otp", username="pump", profile="special"))
        key = ec.generate_private_key(ec.SECP256R1())
        first = await running.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"))
        renewed = await running.post("simplereenroll", csr("pump"), holder=Holder(key, (first.certificate,)))
        assert renewed.status == 200, renewed
        assert [one.profile for one in await store.read(list_certificates)] == ["special", "special"]


async def test_passwords_for_two_profiles_bring_a_certificate_under_each_for_the_same_key(folder: Path) -> None:
    shipped = folder / "policies" / "iot-device.yaml"
    head, _, _ = shipped.read_text().partition("\ntests:")
    (folder / "policies" / "special.yaml").write_text(head.replace("\n  iot-device:", "\n  special:"))
    async with lab(folder, ENDPOINTS.replace("[iot-device]", "[iot-device, special]")) as running:
        store, asked = running.application.services.store, csr("pump")
        for profile in ("iot-device", "special"):
            await keep(store, credential(profile, username="pump", profile=profile))
        for profile in ("iot-device", "special", "special"):
            assert (await running.post("simpleenroll", asked, basic=("pump", profile))).status == 200
        assert sorted(one.profile for one in await store.read(list_certificates)) == ["iot-device", "special"]


async def test_two_different_passwords_at_once_are_refused_and_none_is_used(running_lab: Lab) -> None:
    store = running_lab.application.services.store
    for secret in ("outside", "inside"):
        await keep(store, credential(secret, id=secret, username="pump"))
    asked = csr("pump", attributes={x509.ObjectIdentifier(OTP_CHALLENGE): "inside"})
    assert (await running_lab.post("simpleenroll", asked, basic=("pump", "outside"))).status == 401
    assert [(await kept(store, secret)).uses_left for secret in ("outside", "inside")] == [1, 1]
    assert (await running_lab.post("simpleenroll", asked, basic=("pump", "inside"))).status == 200


async def test_the_user_name_may_be_empty(running_lab: Lab) -> None:
    """RFC 7030 section 3.2.3; a password without a user name goes with any."""
    store = running_lab.application.services.store
    await keep(store, credential("otp", device="pump"), credential("named", username="valve"))
    assert (await running_lab.post("simpleenroll", csr("pump"), basic=("", "otp"))).status == 200
    assert (await running_lab.post("simpleenroll", csr("valve"), basic=("", "named"))).status == 401


async def test_a_hold_is_on_the_certificate_and_not_on_the_device(running_lab: Lab) -> None:
    """While it lasts the certificate proves nothing; who has a password gets another, for the same key, too."""
    services = running_lab.application.services
    await keep(services.store, credential("otp", username="pump", uses_left=2))
    key = ec.generate_private_key(ec.SECP256R1())
    first = await running_lab.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"))
    holder, serial = Holder(key, (first.certificate,)), first.certificate.serial_number
    await services.enrollment.revoke(serial, x509.ReasonFlags.certificate_hold, "admin:test")

    alone = await running_lab.post("simplereenroll", csr("pump"), holder=holder)
    assert alone.status == 403
    again = await running_lab.post("simpleenroll", csr("pump", key=key), basic=("pump", "otp"), holder=holder)
    assert (again.status, again.certificate.serial_number == serial) == (200, False)

    await services.enrollment.release(serial, "admin:test")
    assert (await running_lab.post("simplereenroll", csr("pump"), holder=holder)).status == 200
