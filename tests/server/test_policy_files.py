from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING

import pytest

from policies.document import DocumentErrors
from policies.profile import Ceilings, IssuerFacts
from policies.profile_set import ProfileSet, UnknownProfile
from policies.request import EndpointName
from server.policy_files import load_policies, policy_paths

if TYPE_CHECKING:
    from pathlib import Path

EST = EndpointName.parse("est/default")
FACTS = {"issuing": IssuerFacts(datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for entry in (resources.files("policies") / "profiles").iterdir():
        if entry.name.endswith(".yaml"):
            (tmp_path / entry.name).write_bytes(entry.read_bytes())
    return tmp_path


def load(folder: Path, days: int = 825, **endpoints: tuple[str, ...]) -> ProfileSet:
    chosen = {EndpointName.parse(name.replace("_", "/")): names for name, names in endpoints.items()}
    return load_policies(folder, ceilings=Ceilings(timedelta(days=days)), issuers=FACTS, endpoints=chosen or None)


def problems(folder: Path, days: int = 825) -> list[str]:
    with pytest.raises(DocumentErrors) as caught:
        load(folder, days)
    return str(caught.value).splitlines()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_shipped_profiles_load(folder: Path) -> None:
    assert set(load(folder).profiles) == {"iot-device", "network-device", "tls-server"}


def test_endpoints_are_bound_to_their_profiles(folder: Path) -> None:
    loaded = load(folder, est_default=("iot-device",))
    assert loaded.select(EST, None) is loaded.profiles["iot-device"]


def test_an_endpoint_with_an_unknown_profile_is_refused(folder: Path) -> None:
    with pytest.raises(UnknownProfile, match=r'did you mean "iot-device"\?'):
        load(folder, est_default=("iot-devise",))


def test_a_file_whose_own_tests_fail_is_refused_with_the_place_of_the_test(folder: Path) -> None:
    edit(folder / "iot-device.yaml", "lifetime: 365d\n      key_usage", "lifetime: 30d\n      key_usage")
    (line,) = problems(folder)
    path, number, _, message = line.split(":", 3)
    assert path == str(folder / "iot-device.yaml")
    assert "a sensor gets what it asks for" in (folder / "iot-device.yaml").read_text().splitlines()[int(number) - 1]
    assert message.endswith("expected a lifetime of 30d, it is 365d")


def test_a_file_that_lets_more_through_than_its_tests_say_is_refused(folder: Path) -> None:
    edit(folder / "tls-server.yaml", "          - localhost\n", '          - localhost\n          - "**.google.com"\n')
    (line,) = problems(folder)
    assert 'test "a domain that is not ours" fails: expected denied, the decision is approved' in line


def test_everything_that_is_wrong_in_all_files_comes_at_once(folder: Path) -> None:
    edit(folder / "iot-device.yaml", "endpoints:", "endpoint:")
    edit(folder / "network-device.yaml", "issuer: issuing", "issuer: isuing")
    edit(folder / "tls-server.yaml", "[account]", "[acount]")
    lines = problems(folder)
    assert any('unknown key "endpoint"; did you mean "endpoints"?' in line for line in lines)
    assert any('no issuer "isuing"; did you mean "issuing"?' in line for line in lines)
    assert any('"acount" is no kind of evidence; did you mean "account"?' in line for line in lines)
    assert all(line.split(":")[1].isdigit() for line in lines)


def test_a_broken_file_does_not_hide_the_failing_tests_of_another(folder: Path) -> None:
    edit(folder / "iot-device.yaml", "version: 1", "version: [")
    edit(folder / "tls-server.yaml", "lifetime: 90d", "lifetime: 1d")
    files = {line.split(":")[0] for line in problems(folder)}
    assert files == {str(folder / "iot-device.yaml"), str(folder / "tls-server.yaml")}


def test_a_profile_above_the_ceiling_is_refused(folder: Path) -> None:
    lines = problems(folder, days=100)
    assert len(lines) == 2
    assert all("above the ceiling of 100d" in line for line in lines)


def test_only_yaml_files_count_and_hidden_ones_do_not(folder: Path) -> None:
    (folder / "notes.txt").write_text("{")
    (folder / ".hidden.yaml").write_text("{")
    (folder / "old.yaml.bak").write_text("{")
    shutil.move(folder / "tls-server.yaml", folder / "tls-server.yml")
    names = ["iot-device.yaml", "network-device.yaml", "tls-server.yml"]
    assert [path.name for path in policy_paths(folder)] == names


def test_an_empty_folder_is_refused_because_it_would_deny_everything(tmp_path: Path) -> None:
    assert "there is no policy file" in problems(tmp_path)[0]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "can't read the folder of policy files: No such file or directory" in problems(tmp_path / "nowhere")[0]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"version: \xff")
    assert problems(tmp_path) == [f"{tmp_path}/a.yaml:1:1: the file is not UTF-8 (octet 9)"]


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "nowhere")
    assert "can't read the file: No such file or directory" in problems(tmp_path)[0]
