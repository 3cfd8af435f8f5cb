"""Who may have a first certificate: one-time challenges and the list of devices."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from ca import der
from policies.document import DocumentErrors
from policies.request import EndpointName
from server.config import ScepEndpointConfig
from server.credentials import Authenticators
from server.outcome import Reason
from server.scep.authorization import Challenges, DeviceList, MalformedDeviceList, read_devices
from server.store.credentials import find
from tests.server.scep.device import Message, csr, enrollment, envelope, rsa_key, self_signed, spki
from tests.server.scep.lab import CHALLENGE, FILES

if TYPE_CHECKING:
    from pathlib import Path

    from server.scep.service import ScepEndpoint
    from tests.server.scep.lab import Lab

HERE = EndpointName.parse("scep/default")
SECRET = "k7qxm-29fzt"


async def made(lab: Lab, **bound: Any) -> ScepEndpoint:
    """Make a one-time challenge and an endpoint that takes it and no other."""
    await lab.make_challenge(SECRET, **bound)
    return lab.endpoint(challenge={"one_time": True})


def asking(lab: Lab, name: str = "device-1.test", challenge: str | None = SECRET, key: str = "device") -> Message:
    content = envelope(csr(rsa_key(key), name, challenge), lab.ra_der)
    return Message(content, rsa_key(key), self_signed(rsa_key(key)), transaction=der.printable(f"{name} {key}"))


async def uses_left(lab: Lab) -> int | None:
    found = await lab.store.read(lambda connection: find(connection, "c1"))
    assert found is not None
    return found.uses_left


async def test_a_one_time_challenge_is_good_once_and_a_retry_does_not_burn_it(lab: Lab) -> None:
    endpoint = await made(lab)
    first = await lab.ask(asking(lab), endpoint)
    assert first.status == "0", first.text
    assert await uses_left(lab) == 0
    assert (await lab.ask(asking(lab), endpoint)).certificates == first.certificates
    assert (await lab.ask(asking(lab, key="another"), endpoint)).status == "2"
    assert await lab.issued() == 1
    assert lab.policy.seen[0].requester.identity == "challenge:c1"


async def test_a_policys_no_does_not_burn_a_challenge(lab: Lab) -> None:
    endpoint = await made(lab)
    assert (await lab.ask(asking(lab, "denied"), endpoint)).status == "2"
    assert await uses_left(lab) == 1
    assert (await lab.ask(asking(lab), endpoint)).status == "0"


async def test_however_many_come_at_once_one_gets_a_certificate(lab: Lab) -> None:
    endpoint = await made(lab)
    messages = [asking(lab, f"device-{number}.test") for number in range(8)]
    replies = await asyncio.gather(*(lab.ask(message, endpoint) for message in messages))
    assert sorted(reply.status for reply in replies) == ["0"] + ["2"] * 7
    assert await lab.issued() == 1


async def test_a_challenge_of_a_device_gets_no_other_identity(lab: Lab) -> None:
    """An MDM's user who takes the challenge out of the device must not get another identity (VU#971035)."""
    endpoint = await made(lab, device="device-1.test")
    refused = await lab.ask(asking(lab, "ceo.test"), endpoint)
    assert (refused.status, await lab.issued()) == ("2", 0)
    newest = (await lab.requests())[0]
    assert (newest.reason, newest.detail) == (Reason.POLICY, "credential c1")
    assert (await lab.ask(asking(lab), endpoint)).status == "0"


async def test_the_profile_of_a_challenge_is_the_one_that_judges(lab: Lab) -> None:
    endpoint = await made(lab, profile="vpn")
    await lab.ask(asking(lab), endpoint)
    assert lab.policy.seen[0].profile == "vpn"


async def test_an_expired_challenge_is_refused(lab: Lab) -> None:
    endpoint = await made(lab)
    lab.pass_time(timedelta(hours=2))
    reply, guessed = await lab.ask(asking(lab), endpoint), await lab.ask(asking(lab, challenge="a guess"), endpoint)
    assert (reply.status, reply.text) == (guessed.status, guessed.text) == ("2", "wrong challenge password")
    assert "expired" in ((await lab.requests())[-1].detail or ""), "administrators are told"


async def test_no_record_has_a_challenge_in_the_clear(lab: Lab) -> None:
    endpoint = await made(lab)
    await lab.ask(asking(lab), endpoint)
    await lab.ask(asking(lab, "denied"), endpoint)
    assert all(SECRET.encode() not in path.read_bytes() for path in listed(lab.database.parent))


def listed(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file()]


async def test_a_challenge_that_comes_a_second_time_is_a_warning(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    endpoint = await made(lab)
    await lab.ask(asking(lab), endpoint)
    assert (await lab.ask(asking(lab, key="another"), endpoint)).status == "2"
    assert "presented a second time" in "".join(capsys.readouterr())


async def test_where_there_is_a_static_challenge_too_either_is_good(lab: Lab) -> None:
    await made(lab)
    static = Authenticators({}, CHALLENGE, frozenset(), stored=True)
    lab.credentials._endpoints = {HERE: static}
    assert (await lab.ask(asking(lab))).status == "0"
    assert (await lab.ask(asking(lab, "device-2.test", "sesame"))).status == "0"
    assert (await lab.ask(asking(lab, "device-3.test", "guess"))).status == "2"


FILE = """\
version: 1
devices:
  - name: device-1
  - {name: pump-7, key: "SHA256:KEY"}
"""


def device_list(folder: Path, key: str = "device") -> DeviceList:
    path = folder / "devices.yaml"
    path.write_text(FILE.replace("KEY", hashlib.sha256(spki(rsa_key(key))).hexdigest()))
    return DeviceList(read_devices(path))


async def test_a_device_on_the_list_still_needs_its_challenge(lab: Lab) -> None:
    lab.authorizers = (device_list(lab.database.parent), Challenges(lab.credentials))
    assert (await lab.ask(asking(lab, "DEVICE-1.test", None))).status == "2"
    assert (await lab.ask(asking(lab, "DEVICE-1.test", "sesame"))).status == "0"


async def test_what_is_not_on_the_list_is_refused_whatever_challenge_it_has(lab: Lab) -> None:
    lab.authorizers = (device_list(lab.database.parent), Challenges(lab.credentials))
    assert "list" in ((await lab.ask(asking(lab, "device-2.test", "sesame"))).text or "")
    content = envelope(csr(rsa_key(), "device-1.test", "sesame", "device-1.test", "device-2.test"), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content))).status == "2"
    content = envelope(csr(rsa_key(), "device-1.test", "sesame", "pump-7.test"), lab.ra_der)
    assert (await lab.ask(enrollment(lab.ra_der, content=content))).status == "2"
    assert await lab.issued() == 0


async def test_a_listed_key_needs_no_challenge_and_another_key_of_that_name_gets_nothing(lab: Lab) -> None:
    lab.authorizers = (device_list(lab.database.parent), Challenges(lab.credentials))
    assert (await lab.ask(asking(lab, "pump-7.plant.test", None))).status == "0"
    assert (await lab.ask(asking(lab, "pump-7.plant.test", "sesame", key="another"))).status == "2"


@pytest.mark.parametrize("text", ["version: 1\ndevices: [{name: a, key: short}]", "version: 1", "devices: 5"])
def test_a_list_that_is_none_is_refused_with_its_place(tmp_path: Path, text: str) -> None:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    with pytest.raises(DocumentErrors):
        read_devices(path)


def test_a_list_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedDeviceList):
        read_devices(tmp_path / "nowhere.yaml")


WEBHOOK = {"url": "https://ra.example/hook", "secret": {"file": "f"}}
INTUNE = {"tenant": "t.example", "client_id": "c", "client_secret": {"file": "f"}}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"renewal": False}, "nobody could enroll"),
        ({"challenge": {}}, "nobody has a challenge"),
        ({"challenge": {"static": "f", "page": {"users": "u"}}}, "one_time"),
        ({"challenge": {"one_time": True}, "webhook": WEBHOOK}, "several ways"),
        ({"webhook": WEBHOOK, "intune": INTUNE}, "several ways"),
        ({"webhook": {**WEBHOOK, "url": "http://ra.example/hook"}}, "https"),
        ({"webhook": {**WEBHOOK, "url": "ftp://127.0.0.1/"}}, "https"),
        ({"intune": {**INTUNE, "tenant": "../x"}}, "tenant"),
    ],
    ids=str,
)
def test_an_endpoint_that_could_not_authorise_safely_is_refused_at_start(config: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ScepEndpointConfig.model_validate({"profiles": ("p",), "ra": FILES, **config})


async def test_an_endpoint_of_renewals_alone_has_no_first_enrollments(lab: Lab) -> None:
    lab.authorizers = ()
    assert (await lab.ask(enrollment(lab.ra_der))).status == "2"
    assert (await lab.requests())[0].reason is Reason.UNAUTHENTICATED
