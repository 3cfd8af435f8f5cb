from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies.decision import Approved, Denied, Finding
from policies.document import DocumentErrors
from policies.profile import Ceilings, Profile, parse_profiles
from policies.profile_set import ProfileSet, UnknownProfile
from policies.request import EndpointName, Kind, Renewed
from tests.fakes.policy import CEILINGS, ISSUER, MINIMAL, question

EST = EndpointName.parse("est/default")
SCEP = EndpointName.parse("scep/default")


def profiles(**changes: dict[str, Any]) -> tuple[Profile, ...]:
    every = {name.replace("_", "-"): {**MINIMAL, **change} for name, change in changes.items()}
    return parse_profiles(json.dumps({"version": 1, "profiles": every}), "f.yaml")


def make(*args: Profile, **endpoints: tuple[str, ...]) -> ProfileSet:
    chosen = {EndpointName.parse(name.replace("_", "/")): names for name, names in endpoints.items()}
    return ProfileSet(args, ceilings=CEILINGS, issuers={"issuing": ISSUER}, endpoints=chosen or None)


def decided(profile_set: ProfileSet, profile: str | None = None, endpoint: EndpointName = EST) -> str:
    request = replace(question({}).request, profile=profile, endpoint=endpoint)
    decision = profile_set.decide(request)
    return decision.plan.profile if isinstance(decision, Approved) else "; ".join(decision.trace.considered)


def renewed(profile: str) -> Renewed:
    request = question({}).request
    now = request.now
    return Renewed(7, request.csr.subject, request.csr.names, request.csr.spki, now, now, profile, EST)


BOTH = profiles(one={}, two={})


def test_the_only_profile_that_takes_the_endpoint_judges() -> None:
    one, two = profiles(one={"endpoints": ["est/*"]}, two={"endpoints": ["scep/*"]})
    assert decided(make(one, two)) == "one"
    assert decided(make(one, two), endpoint=SCEP) == "two"


def test_a_profile_is_judged_by_when_it_is_asked_for() -> None:
    assert decided(make(*BOTH), "two") == "two"


def test_nothing_is_chosen_among_several() -> None:
    reason = "one of several, and none was asked for"
    assert decided(make(*BOTH)) == f"one: {reason}; two: {reason}"


def test_an_endpoint_of_the_configuration_uses_its_first_profile() -> None:
    configured = make(*BOTH, est_default=("two", "one"))
    assert decided(configured) == "two"
    assert decided(configured, "one") == "one"


@pytest.mark.parametrize(
    ("renewals", "old", "judge"),
    [
        (({}, {}), "two", "two"),
        (({}, {}), "one", "one"),
        (({"profiles": ["one", "two"]}, {}), "two", "one"),
        (({}, {"profiles": ["one"]}), "two", "one"),
        (({}, {}), "gone", "one"),
    ],
)
def test_a_renewal_is_judged_by_the_first_profile_that_renews_such_certificates(
    renewals: tuple[dict[str, Any], dict[str, Any]], old: str, judge: str
) -> None:
    sections = ({"renewal": each} for each in renewals)
    configured = make(*profiles(**dict(zip(("one", "two"), sections, strict=True))), est_default=("one", "two"))
    asked = replace(question({}).request, endpoint=EST, profile=None)
    renewal = replace(asked, kind=Kind.RENEW, renewed=renewed(old))
    for request, name in ((renewal, judge), (replace(renewal, profile="two"), "two"), (asked, "one")):
        found = configured.select_for(request)
        assert found is not None
        assert found.name == name


def test_a_profile_that_the_configuration_does_not_give_is_not_used() -> None:
    configured = make(*BOTH, est_default=("one",))
    assert (
        decided(configured, "two") == "one: two was asked for; two: the configuration does not give it to est/default"
    )


def test_an_endpoint_that_is_not_configured_gets_nothing() -> None:
    assert "does not give it to scep/default" in decided(make(*BOTH, est_default=("one",)), endpoint=SCEP)


def test_a_denial_for_want_of_a_profile_says_which_were_considered() -> None:
    (one,) = profiles(one={"endpoints": ["acme/*"]})
    decision = make(one).decide(question({}).request)
    assert isinstance(decision, Denied)
    assert decision.trace.considered == ("one: device was asked for",)
    assert decided(make(one)) == "one: its endpoints do not include est/default"


def test_the_choice_is_the_same_the_second_time() -> None:
    configured = make(*BOTH, est_default=("two",))
    assert decided(configured) == decided(configured) == "two"
    selected = configured.select(EST, None)
    assert selected is configured.profiles["two"]


def test_an_endpoint_with_an_unknown_profile_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UnknownProfile, match=r'est/default: there is no profile "tow"; did you mean "two"\?') as caught:
        make(*BOTH, est_default=("tow",))
    assert (caught.value.endpoint, caught.value.profile) == (EST, "tow")


def test_an_endpoint_with_a_profile_that_does_not_take_it_is_refused() -> None:
    (one,) = profiles(one={"endpoints": ["scep/*"]})
    with pytest.raises(UnknownProfile, match=r'"one" does not take it; see f\.yaml:1:'):
        make(one, est_default=("one",))


def test_two_profiles_of_one_name_are_refused() -> None:
    with pytest.raises(DocumentErrors, match=r'profile "one" is here a second time; see f\.yaml'):
        make(*profiles(one={}), *profiles(one={}))


def test_an_unknown_issuer_is_refused_with_a_suggestion() -> None:
    with pytest.raises(DocumentErrors, match=r'no issuer "isuing"; did you mean "issuing"\?'):
        make(*profiles(one={"issuer": "isuing"}))


def test_a_profile_above_the_ceilings_is_refused() -> None:
    with pytest.raises(DocumentErrors, match="above the ceiling of 1d"):
        ProfileSet(BOTH, ceilings=Ceilings(timedelta(days=1)), issuers={"issuing": ISSUER})


def test_the_digest_changes_with_any_file() -> None:
    assert make(*BOTH).digest != make(*profiles(one={}, two={"lint": "always"})).digest
    assert make(*BOTH).digest == make(*reversed(BOTH)).digest


def test_a_fault_while_deciding_denies() -> None:
    broken = replace(question({}).request, csr=None, profile=None)  # type: ignore[arg-type] # the fault
    decision = make(*profiles(one={})).decide(broken)
    assert isinstance(decision, Denied)
    assert decision.findings[0].rule == "engine"
    assert "AttributeError" in decision.findings[0].value


NAMED = {"names": {"dns": {"allowed": ["*.example.com"], "max": 4}}}


def objections(profile_set: ProfileSet, *names: str, endpoint: EndpointName = EST) -> tuple[tuple[Finding, ...], ...]:
    """What there is against names alone, and what of a whole decision is about them."""
    asked = question({}, names=[f"dns:{each}" for each in names]).request
    request = replace(asked, profile=None, endpoint=endpoint)
    decision = profile_set.decide(request)
    found = decision.findings if isinstance(decision, Denied) else ()
    return profile_set.objections_to_names(request), tuple(each for each in found if each.rule.startswith("names"))


def test_names_are_judged_alone_as_they_are_judged_with_the_rest() -> None:
    named = make(*profiles(one={**NAMED, "key": {"allowed": ["ec:P-521"]}}))
    alone, whole = objections(named, "a.example.com", "b.example.net", "c.example.org")
    assert [each.value for each in alone] == ["dns:b.example.net", "dns:c.example.org"]
    assert alone == whole
    assert objections(named, "a.example.com") == ((), ())


def test_where_no_profile_applies_names_are_not_at_fault() -> None:
    assert objections(make(*BOTH, scep_default=("one",)), "a.example.com") == ((), ())


def test_a_fault_while_judging_names_is_left_for_the_decision() -> None:
    broken = replace(question({}).request, csr=None, profile=None)  # type: ignore[arg-type] # the fault
    assert make(*profiles(one={})).objections_to_names(broken) == ()
