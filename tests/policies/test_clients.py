"""For whom a profile is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from policies.decision import Approved, Denied
from policies.document import DocumentErrors
from policies.profile import Profile, parse_profiles
from policies.profile_set import ProfileSet, UnknownProfile
from policies.request import EndpointName
from tests.fakes.policy import CEILINGS, ISSUER, MINIMAL, question

EST = EndpointName.parse("est/default")
GROUPS = {"pumps": ["pump-*", "valve-1"], "all": ["*"]}


def profiles(**clients: dict[str, Any] | None) -> tuple[Profile, ...]:
    every = {name: {**MINIMAL, **({} if whom is None else {"clients": whom})} for name, whom in clients.items()}
    return parse_profiles(json.dumps({"version": 1, "groups": GROUPS, "profiles": every}), "f.yaml")


def make(*every: Profile) -> ProfileSet:
    names = tuple(profile.name for profile in every)
    return ProfileSet(every, ceilings=CEILINGS, issuers={"issuing": ISSUER}, endpoints={EST: names})


def judged_by(profiles: ProfileSet, name: str) -> str:
    request = replace(question({}, requester=f"password:{name}").request, profile=None)
    decision = profiles.decide(request)
    if isinstance(decision, Denied):
        return "; ".join(decision.trace.considered)
    assert isinstance(decision, Approved)
    return decision.plan.profile


def test_the_first_profile_that_is_for_the_requester_judges() -> None:
    made = make(*profiles(ours={"names": ["ours-*"]}, pumps={"groups": ["pumps"]}, rest=None))
    assert [judged_by(made, name) for name in ("ours-1", "pump-17", "valve-1", "valve-2")] == [
        "ours",
        "pumps",
        "pumps",
        "rest",
    ]


def test_who_is_not_meant_is_told_so() -> None:
    made = make(*profiles(pumps={"groups": ["pumps"]}))
    assert judged_by(made, "valve-2") == "pumps: it is for other clients than password:valve-2"
    alone = ProfileSet(made.profiles.values(), ceilings=CEILINGS, issuers={"issuing": ISSUER})
    assert judged_by(alone, "valve-2") == "pumps: it is for other clients than password:valve-2"


def test_naming_a_profile_does_not_open_it() -> None:
    made = make(*profiles(pumps={"groups": ["pumps"]}, rest=None))
    assert made.select(EST, "pumps", "valve-2") is None
    assert made.select(EST, "pumps", "pump-2") is made.profiles["pumps"]


def test_what_asks_for_nobody_sees_every_profile() -> None:
    assert make(*profiles(pumps={"groups": ["pumps"]})).select(EST, None) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (None, {"groups": ["pumps"]}),
        ({"names": ["pump-*"]}, {"groups": ["pumps"]}),
        ({"groups": ["all"]}, {"names": ["x", "*"]}),
    ],
)
def test_a_profile_that_nobody_would_get_is_an_error(first: dict[str, Any] | None, second: dict[str, Any]) -> None:
    with pytest.raises(UnknownProfile, match='comes before "second": nobody would get "second"'):
        make(*profiles(first=first, second=second))


def test_a_group_that_there_is_not_is_an_error_with_its_place() -> None:
    with pytest.raises(DocumentErrors, match=r'f\.yaml:1:.*"pump" is no group of this file; did you mean "pumps"'):
        profiles(pumps={"groups": ["pump"]})


def test_clients_that_are_nobody_are_an_error() -> None:
    with pytest.raises(DocumentErrors, match="nobody would be meant"):
        profiles(pumps={})
