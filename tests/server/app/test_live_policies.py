"""Policy files that change under a running server."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from policies.request import EndpointName
from server.app import material
from server.app.material import load_material
from server.config import load_config
from server.policy_files import load_policies, look_at_policies

if TYPE_CHECKING:
    from pathlib import Path

    from policies.profile_set import ProfileSet
    from server.app.live_policies import LivePolicies

HERE = EndpointName.parse("est/default")


@pytest.fixture
def live(folder: Path) -> LivePolicies:
    return load_material(load_config(folder / "server.yaml")).policies


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "policies" / "iot-device.yaml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 10**9))


def shorten(folder: Path) -> None:
    edit(folder, "{default: 365d, max: 366d,", "{default: 30d, max: 31d,")
    edit(folder, "lifetime: 365d", "lifetime: 30d")


def lifetime(live: LivePolicies) -> int:
    profile = live.select(HERE, None)
    assert profile is not None
    return profile.sections.validity.default.days


async def test_what_is_told_to_reload_takes_the_new_files(folder: Path, live: LivePolicies) -> None:
    before = live.digest
    assert lifetime(live) == 365
    shorten(folder)
    assert lifetime(live) == 365
    assert await live.reload()
    assert (lifetime(live), live.state) == (30, "ok")
    assert live.digest != before


async def test_a_process_that_starts_later_than_its_files_were_read_begins_with_those_of_today(
    folder: Path, live: LivePolicies
) -> None:
    shorten(folder)
    await live.begin()
    assert lifetime(live) == 30
    with capture_logs() as events:
        await live.begin()
    assert events == []


async def test_a_file_that_is_made_readable_has_changed(folder: Path) -> None:
    config, file = load_config(folder / "server.yaml"), folder / "policies" / "iot-device.yaml"
    before = look_at_policies(config)
    assert look_at_policies(config) == before
    file.chmod(0o600)
    assert look_at_policies(config) != before


async def test_the_last_good_files_stay_in_force_until_all_is_well(folder: Path, live: LivePolicies) -> None:
    edit(folder, "{default: 365d, max: 366d,", "{default: 30d, max: 31d,")  # its own tests fail now
    assert not await live.reload()
    assert lifetime(live) == 365
    assert live.state.startswith("ok, but the last good files are in force: ")
    assert "iot-device.yaml:" in live.state
    assert "more)" in live.state
    edit(folder, "lifetime: 365d", "lifetime: 30d")
    assert await live.reload()
    assert (lifetime(live), live.state) == (30, "ok")


async def test_taking_a_mistake_back_is_an_event_too(folder: Path, live: LivePolicies) -> None:
    edit(folder, "lifetime: 365d", "lifetime: 30d")
    with capture_logs() as events:
        assert not await live.reload()
        edit(folder, "lifetime: 30d", "lifetime: 365d")
        assert await live.reload()
        assert await live.reload()
    assert [each["event"] for each in events if each["log_level"] == "warning"] == [
        "policy files are again those in force"
    ]


async def test_files_that_are_gone_change_nothing(folder: Path, live: LivePolicies) -> None:
    (folder / "policies").rename(folder / "elsewhere")
    assert not await live.reload()
    assert "can't read the folder" in live.state
    assert lifetime(live) == 365


async def test_a_change_is_taken_by_itself_when_files_have_come_to_rest(folder: Path, live: LivePolicies) -> None:
    watching = asyncio.create_task(live.watch(0.02))
    await asyncio.sleep(0.1)
    shorten(folder)
    for _ in range(500):
        if lifetime(live) == 30:
            break
        await asyncio.sleep(0.02)
    watching.cancel()
    assert lifetime(live) == 30


async def test_bad_files_are_not_read_again_and_again(folder: Path, live: LivePolicies) -> None:
    edit(folder, "version: 1", "version: 2")
    loads = 0
    load = live._load

    def counting() -> object:
        nonlocal loads
        loads += 1
        return load()

    live._load = counting  # type: ignore[assignment]
    watching = asyncio.create_task(live.watch(0.01))
    for _ in range(500):
        if "version" in live.state:
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)  # many looks more
    watching.cancel()
    assert loads == 1
    assert "version" in live.state


async def is_taken(live: LivePolicies) -> bool:
    """Watch until the shorter lifetime is in force, or for ten seconds."""
    watching = asyncio.create_task(live.watch(0.02))
    for _ in range(500):
        if lifetime(live) == 30:
            break
        await asyncio.sleep(0.02)
    watching.cancel()
    return lifetime(live) == 30


async def test_a_change_while_the_server_starts_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def changed_meanwhile(*arguments: Any, **settings: Any) -> ProfileSet:
        read = load_policies(*arguments, **settings)
        monkeypatch.undo()
        shorten(folder)
        return read

    monkeypatch.setattr(material, "load_policies", changed_meanwhile)
    live = load_material(load_config(folder / "server.yaml")).policies
    assert lifetime(live) == 365
    assert await is_taken(live)


async def test_a_fault_of_ours_keeps_the_last_good_files_and_ends_no_watch(folder: Path, live: LivePolicies) -> None:
    load, faults = live._load, [RuntimeError("a fault of ours")]

    def faulty() -> ProfileSet:
        if faults:
            raise faults.pop()
        return load()

    live._load = faulty
    assert not await live.reload()
    assert "last good files are in force: the files can't be judged: RuntimeError" in live.state
    faults.append(RuntimeError("again"))
    shorten(folder)
    watching = asyncio.create_task(live.watch(0.02))
    async with asyncio.timeout(10):
        while faults:  # noqa: ASYNC110 - the watch itself is under test
            await asyncio.sleep(0.02)
    assert not watching.done()
    edit(folder, "version: 1", "version: 1 ")
    assert await is_taken(live)
    assert watching.cancel()
