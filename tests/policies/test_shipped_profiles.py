from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from importlib import resources
from typing import Any

import pytest

from policies.cases import Given
from policies.decision import Approved, Denied
from policies.profile import IssuerFacts, PolicyFile, parse_policy
from policies.profile_set import ProfileSet
from policies.request import EndpointName
from policies.trial import TEST_NOW, failed_tests, request_of
from tests.fakes.policy import CEILINGS

FOLDER = resources.files("policies") / "profiles"
NAMES = sorted(entry.name for entry in FOLDER.iterdir() if entry.name.endswith(".yaml"))
GALLERY = sorted(f"gallery/{entry.name}" for entry in (FOLDER / "gallery").iterdir())
PROFILES = {"est": "iot-device", "scep": "network-device", "acme": "tls-server"}


def shipped(name: str) -> PolicyFile:
    return parse_policy((FOLDER / name).read_text(encoding="utf-8"), name)


@pytest.fixture(scope="module")
def profiles() -> ProfileSet:
    facts = IssuerFacts(TEST_NOW - timedelta(seconds=10), TEST_NOW + timedelta(days=3650))
    every = [profile for name in NAMES for profile in shipped(name).profiles]
    endpoints = {EndpointName.parse(f"{protocol}/default"): (name,) for protocol, name in PROFILES.items()}
    return ProfileSet(every, ceilings=CEILINGS, issuers={"issuing": facts}, endpoints=endpoints)


def decide(profiles: ProfileSet, protocol: str, **given: Any) -> Approved | Denied:
    given = {"endpoint": f"{protocol}/default", "key": "rsa:2048", **given}
    request = replace(request_of(Given.model_validate(given), PROFILES[protocol]), profile=None)
    decision = profiles.decide(request)
    assert isinstance(decision, Approved | Denied)
    return decision


@pytest.mark.parametrize("name", [*NAMES, *GALLERY])
def test_every_shipped_file_has_tests_and_they_pass(name: str) -> None:
    file = shipped(name)
    assert len(file.tests) >= 5
    assert list(failed_tests(file, CEILINGS)) == []


def test_the_gallery_has_something_for_everybody() -> None:
    assert len(GALLERY) >= 10
    every = [profile for name in (*NAMES, *GALLERY) for profile in shipped(name).profiles]
    facts = IssuerFacts(TEST_NOW, TEST_NOW + timedelta(days=3650))
    assert ProfileSet(every, ceilings=CEILINGS, issuers={"issuing": facts}).digest


@pytest.mark.parametrize("name", GALLERY)
def test_every_file_of_the_gallery_says_when_to_use_it_and_shows_what_it_refuses(name: str) -> None:
    text, file = (FOLDER / name).read_text(encoding="utf-8"), shipped(name)
    assert "# When to use it: " in text
    decisions = {test.expect.decision for test, _ in file.tests}
    assert "denied" in decisions
    assert decisions & {"approved", "deferred"}


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_file_is_explained_by_comments(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert sum(line.lstrip().startswith("#") for line in text.splitlines()) >= 10


@pytest.mark.parametrize("protocol", PROFILES)
@pytest.mark.parametrize("host", ["localhost", "a.localhost", "a.test", "b.a.example", "www.example.com", "x.internal"])
def test_names_that_exist_nowhere_are_given(profiles: ProfileSet, protocol: str, host: str) -> None:
    assert isinstance(decide(profiles, protocol, subject=f"CN={host}", names=[f"dns:{host}"]), Approved)


@pytest.mark.parametrize("protocol", PROFILES)
@pytest.mark.parametrize("host", ["www.google.com", "bank.invalid", "example.com.evil.org", "test", "*.a.test"])
def test_other_names_are_not(profiles: ProfileSet, protocol: str, host: str) -> None:
    decision = decide(profiles, protocol, subject="CN=a.test", names=["dns:a.test", f"dns:{host}"])
    assert isinstance(decision, Denied)
    assert {finding.rule for finding in decision.findings} == {"names.dns"}


@pytest.mark.parametrize("protocol", PROFILES)
@pytest.mark.parametrize("key", ["ec:P-256", "ec:P-384", "ec:P-521", "rsa:2048", "rsa:3072", "rsa:4096", "ed25519"])
def test_usual_keys_are_taken(profiles: ProfileSet, protocol: str, key: str) -> None:
    assert isinstance(decide(profiles, protocol, subject="CN=a.test", names=["dns:a.test"], key=key), Approved)


@pytest.mark.parametrize("protocol", PROFILES)
@pytest.mark.parametrize("key", ["rsa:1024", "rsa:8192"])
def test_unusual_keys_are_not(profiles: ProfileSet, protocol: str, key: str) -> None:
    assert isinstance(decide(profiles, protocol, subject="CN=a.test", names=["dns:a.test"], key=key), Denied)


@pytest.mark.parametrize(("protocol", "days"), [("est", 365), ("scep", 365), ("acme", 90)])
def test_lifetimes(profiles: ProfileSet, protocol: str, days: int) -> None:
    decision = decide(profiles, protocol, subject="CN=a.test", names=["dns:a.test"])
    assert isinstance(decision, Approved)
    assert decision.plan.not_after == TEST_NOW + timedelta(days=days, seconds=-1)


@pytest.mark.parametrize("protocol", ["est", "scep"])
def test_devices_are_renewed_under_their_own_names_only(profiles: ProfileSet, protocol: str) -> None:
    old = {"subject": "CN=a,O=Example", "names": ["dns:a.test"]}
    same = decide(profiles, protocol, subject="CN=A,O=example", names=["dns:a.test"], renews=old)
    assert isinstance(same, Approved)
    other = decide(profiles, protocol, subject="CN=b,O=Example", names=["dns:b.test"], renews=old)
    assert isinstance(other, Denied)
