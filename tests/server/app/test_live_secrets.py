"""Files of passwords and static challenges that change under a running server."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
from argon2 import PasswordHasher
from structlog.testing import capture_logs

from policies.document import DocumentErrors
from policies.request import ChallengeEvidence, EndpointName, PasswordEvidence
from server.app.material import load_material
from server.config import load_config
from tests.fakes.running import running

if TYPE_CHECKING:
    from pathlib import Path

    from server.app.live_secrets import LiveSecrets
    from server.app.material import Material
    from server.config import Config
    from server.credentials import Credentials

EST, SCEP = EndpointName.parse("est/default"), EndpointName.parse("scep/default")
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PUMP, VALVE, JAMF = HASHER.hash("of-pump"), HASHER.hash("of-valve"), HASHER.hash("of-jamf")
OLD, NEW = HASHER.hash("old"), HASHER.hash("new")
IN_FORCE = "ok, but the last good secrets are in force: "


def put(folder: Path, name: str, text: str) -> None:
    """Replace a file as an editor does: at once, by another."""
    coming = folder / "secrets" / f"{name}.new"
    coming.write_text(text, encoding="utf-8")
    coming.replace(folder / "secrets" / name)


def users(**hashes: str) -> str:
    return json.dumps(hashes)


@pytest.fixture
def config(folder: Path) -> Config:
    """With every kind of file: two users at EST, a static challenge, one user of the page."""
    put(folder, "est-passwords.yaml", users(pump=PUMP, valve=VALVE))
    put(folder, "scep-challenge", OLD)
    put(folder, "page.yaml", users(jamf=JAMF))
    path = folder / "server.yaml"
    page = "\\g<0>\n      one_time: true\n      page: {users: secrets/page.yaml}"
    text, found = re.subn(r"(?m)^      static: secrets/scep-challenge.*$", page, path.read_text(), count=1)
    assert found
    path.write_text(text)
    return load_config(path)


@pytest.fixture
def material(config: Config) -> Material:
    return load_material(config)


@pytest.fixture
def live(material: Material) -> LiveSecrets:
    return material.secrets


def in_force(material: Material) -> tuple[set[str], str | None, set[str]]:
    """Return the users at EST, the static challenge and the users of the page."""
    est, scep = material.authenticators[EST], material.authenticators[SCEP]
    return set(est.passwords), scep.challenge, set(scep.passwords)


async def admits(credentials: Credentials, name: str, endpoint: EndpointName = EST) -> bool:
    return await credentials.password(endpoint, name, f"of-{name}") == PasswordEvidence(name)


async def test_whoever_is_removed_is_refused_although_the_password_was_verified_before(
    folder: Path, config: Config
) -> None:
    async with running(config) as (application, _):
        credentials, secrets = application.services.credentials, application.services.material.secrets
        assert await admits(credentials, "pump")
        assert await admits(credentials, "pump")
        assert not await admits(credentials, "tank")
        put(folder, "est-passwords.yaml", users(valve=VALVE, tank=HASHER.hash("of-tank")))
        assert await secrets.reload()
        assert [await admits(credentials, name) for name in ("pump", "valve", "tank")] == [False, True, True]


async def test_an_old_password_is_forgotten_with_its_hash(folder: Path, config: Config) -> None:
    async with running(config) as (application, _):
        credentials, secrets = application.services.credentials, application.services.material.secrets
        assert await admits(credentials, "pump")
        put(folder, "est-passwords.yaml", users(pump=HASHER.hash("another"), valve=VALVE))
        assert await secrets.reload()
        assert not await admits(credentials, "pump")
        assert await credentials.password(EST, "pump", "another") == PasswordEvidence("pump")


async def test_the_static_challenge_and_the_users_of_the_page_change_too(folder: Path, config: Config) -> None:
    async with running(config) as (application, _):
        credentials, secrets = application.services.credentials, application.services.material.secrets
        assert await credentials.challenge(SCEP, "old") == ChallengeEvidence("static")
        assert await admits(credentials, "jamf", SCEP)
        put(folder, "scep-challenge", f"{NEW}\n")
        put(folder, "page.yaml", users(pump=PUMP))
        assert await secrets.reload()
        assert await credentials.challenge(SCEP, "old") != ChallengeEvidence("static")
        assert await credentials.challenge(SCEP, "new") == ChallengeEvidence("static")
        assert not await admits(credentials, "jamf", SCEP)
        assert await admits(credentials, "pump", SCEP)


async def test_nothing_else_that_an_endpoint_goes_by_changes(
    folder: Path, material: Material, live: LiveSecrets
) -> None:
    before = material.authenticators[EST], material.authenticators[SCEP]
    put(folder, "est-passwords.yaml", users(pump=PUMP))
    assert await live.reload()
    after = material.authenticators[EST]
    assert (after.certificates, after.stored, after.anchors) == (
        before[0].certificates,
        before[0].stored,
        before[0].anchors,
    )
    assert after.certificates
    assert material.authenticators[SCEP] == before[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "est-passwords.yaml can't be read: No such file"),
        ("pump: a password in the clear", "it must be an argon2 hash"),
        ("{}", "at least 1 item"),
        ("", "est-passwords.yaml:1:1"),
        ("{pump: [", "est-passwords.yaml:1"),
    ],
)
async def test_the_last_good_file_stays_in_force_until_the_new_one_is_good(
    folder: Path, material: Material, live: LiveSecrets, text: str | None, said: str
) -> None:
    if text is None:
        (folder / "secrets" / "est-passwords.yaml").unlink()
    else:
        put(folder, "est-passwords.yaml", text)
    with capture_logs() as events:
        assert not await live.reload()
    assert in_force(material)[0] == {"pump", "valve"}
    assert live.state.startswith(IN_FORCE)
    assert said in live.state
    assert "in the clear" not in live.state + str(events)
    assert [(each["event"], each["log_level"]) for each in events] == [("secrets not taken", "error")]
    put(folder, "est-passwords.yaml", users(valve=VALVE))
    assert await live.reload()
    assert (in_force(material)[0], live.state) == ({"valve"}, "ok")


async def test_a_bad_file_keeps_nobody_in_whom_another_one_has_no_more(
    folder: Path, material: Material, live: LiveSecrets
) -> None:
    put(folder, "page.yaml", "[")
    put(folder, "scep-challenge", "secret in the clear")
    put(folder, "est-passwords.yaml", users(valve=VALVE))
    assert not await live.reload()
    assert in_force(material) == ({"valve"}, OLD, {"jamf"})
    assert live.state.endswith("(and 1 more)")
    assert "in the clear" not in live.state


async def test_only_what_changes_is_told(folder: Path, live: LiveSecrets) -> None:
    with capture_logs() as events:
        assert await live.reload()
        put(folder, "scep-challenge", NEW)
        assert await live.reload()
        put(folder, "scep-challenge", "wrong")
        assert not await live.reload()
        put(folder, "scep-challenge", NEW)
        assert await live.reload()
    assert [each["event"] for each in events] == [
        "secrets taken",
        "secrets not taken",
        "the files of secrets are good again",
    ]
    assert events[0]["file"].endswith("scep-challenge")


async def until_taken(material: Material, expected: set[str]) -> None:
    async with asyncio.timeout(20):
        while in_force(material)[0] != expected:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_the_watch_takes_files_when_they_have_settled(folder: Path, material: Material) -> None:
    watching = asyncio.create_task(material.secrets.watch(0.01))
    put(folder, "est-passwords.yaml", users(valve=VALVE))
    await until_taken(material, {"valve"})
    put(folder, "est-passwords.yaml", "[")
    async with asyncio.timeout(20):
        while material.secrets.state == "ok":  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    put(folder, "est-passwords.yaml", users(pump=PUMP))
    await until_taken(material, {"pump"})
    assert not watching.done()
    watching.cancel()


async def test_a_server_takes_them_when_it_is_told_to_and_says_what_is_wrong(folder: Path, config: Config) -> None:
    async with running(config) as (application, ports):
        put(folder, "est-passwords.yaml", users(valve=VALVE))
        application.reload()
        await until_taken(application.services.material, {"valve"})
        put(folder, "est-passwords.yaml", "[")
        application.reload()
        url = f"http://127.0.0.1:{ports['admin']}/readyz"
        async with asyncio.timeout(20):
            while application.services.material.secrets.state == "ok":  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        told = json.loads(await asyncio.to_thread(lambda: urlopen(url, timeout=10).read()))
        assert told["ready"]
        assert told["parts"]["secrets"].startswith(IN_FORCE)


async def test_a_process_that_starts_later_than_its_files_were_read_begins_with_those_of_today(
    folder: Path, material: Material, live: LiveSecrets
) -> None:
    put(folder, "est-passwords.yaml", users(valve=VALVE))
    await live.begin()
    assert in_force(material) == ({"valve"}, OLD, {"jamf"})
    with capture_logs() as events:
        await live.begin()
    assert events == []


async def test_what_such_a_process_finds_bad_admits_nobody_until_it_is_mended(
    folder: Path, material: Material, live: LiveSecrets
) -> None:
    put(folder, "est-passwords.yaml", "[")
    put(folder, "scep-challenge", "wrong")
    await live.begin()
    assert in_force(material) == (set(), None, {"jamf"})
    assert live.state.startswith("ok, but nobody is admitted by what is wrong: ")
    put(folder, "scep-challenge", NEW)
    put(folder, "est-passwords.yaml", users(valve=VALVE))
    assert await live.reload()
    assert (in_force(material), live.state) == (({"valve"}, NEW, {"jamf"}), "ok")


async def test_a_fault_of_ours_with_one_file_keeps_none_of_the_others_from_being_read(
    folder: Path, material: Material, live: LiveSecrets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def faulty(_path: Path) -> str:
        raise RuntimeError("of-pump")

    monkeypatch.setattr("server.app.live_secrets.load_challenge", faulty)
    put(folder, "est-passwords.yaml", users(valve=VALVE))
    assert not await live.reload()
    assert in_force(material) == ({"valve"}, OLD, {"jamf"})
    assert "RuntimeError" in live.state
    assert "of-pump" not in live.state


def test_all_that_is_wrong_at_the_start_is_told_at_once(folder: Path, config: Config) -> None:
    put(folder, "est-passwords.yaml", "[")
    put(folder, "scep-challenge", "wrong")
    (folder / "secrets" / "page.yaml").unlink()
    with pytest.raises(DocumentErrors) as caught:
        load_material(config)
    assert len(caught.value.problems) == 3
