from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.names import IpAddress
from ca.plan import CertificatePlan, KeyUsage, PlannedExtension
from policies.decision import Finding, Location
from policies.request import (
    AccountEvidence,
    CertificateEvidence,
    ChallengeEvidence,
    EndpointName,
    EnrollmentRequest,
    Facts,
    Kind,
    LookupAnswer,
    PasswordEvidence,
    Protocol,
    Renewed,
    Requester,
)
from server.store.values import (
    read_findings,
    read_plan,
    read_question,
    write_asked,
    write_findings,
    write_plan,
    write_question,
)
from tests.ca.strategies import DISTINGUISHED, GENERAL, OIDS, TEXTS
from tests.fakes.door import csr_for
from tests.fakes.issuer import NOW

TIMES = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
ENDPOINTS = st.builds(EndpointName, st.sampled_from(Protocol), TEXTS)
NAMES = st.lists(GENERAL, max_size=4).map(tuple)
SERIALS = st.integers(1, 2**159)
PLANS = st.builds(
    CertificatePlan,
    issuer=TEXTS,
    profile=TEXTS,
    policy_digest=TEXTS,
    subject=DISTINGUISHED,
    names=NAMES,
    spki=st.binary(max_size=100),
    not_before=TIMES,
    not_after=TIMES,
    key_usage=st.frozensets(st.sampled_from(KeyUsage)),
    extended_key_usage=st.lists(OIDS, max_size=3).map(tuple),
    extensions=st.lists(st.builds(PlannedExtension, OIDS, st.booleans(), st.binary(max_size=20)), max_size=3).map(
        tuple
    ),
    ca=st.booleans(),
)
EVIDENCE = st.one_of(
    st.builds(PasswordEvidence, TEXTS),
    st.builds(ChallengeEvidence, TEXTS),
    st.builds(
        CertificateEvidence, DISTINGUISHED, NAMES, SERIALS, TIMES, TEXTS, st.none() | TEXTS, st.none() | ENDPOINTS
    ),
    st.builds(AccountEvidence, TEXTS, NAMES),
)
REQUESTERS = st.builds(Requester, TEXTS, st.lists(EVIDENCE, max_size=3).map(tuple), st.none() | TEXTS)
RENEWED = st.builds(Renewed, SERIALS, DISTINGUISHED, NAMES, st.binary(max_size=100), TIMES, TIMES, TEXTS, ENDPOINTS)
FINDINGS = st.builds(Finding, TEXTS, TEXTS, st.builds(Location, TEXTS, st.integers(1), st.integers(1)), TEXTS, TEXTS)


@given(PLANS)
def test_a_plan_comes_back_equal(plan: CertificatePlan) -> None:
    again = read_plan(write_plan(plan))
    assert again == plan
    assert all(isinstance(usage, KeyUsage) for usage in again.key_usage)


@given(st.lists(FINDINGS, max_size=4).map(tuple))
def test_findings_come_back_equal(findings: tuple[Finding, ...]) -> None:
    assert read_findings(write_findings(findings)) == findings


@given(REQUESTERS, st.none() | RENEWED, ENDPOINTS, st.none() | TEXTS, st.sampled_from(Kind))
def test_a_question_comes_back_equal_but_for_key_and_time(
    requester: Requester, renewed: Renewed | None, endpoint: EndpointName, text: str | None, kind: Kind
) -> None:
    request = EnrollmentRequest("key", kind, endpoint, text, csr_for("pump"), requester, NOW, renewed, text)
    again = read_question(write_question(request), "other", NOW + timedelta(1))
    expected = {name: getattr(request, name) for name in EnrollmentRequest.__slots__}
    found = {name: getattr(again, name) for name in EnrollmentRequest.__slots__}
    for values in (expected, found):
        values["csr"] = values["csr"].der
    assert found == expected | {"key": "other", "now": NOW + timedelta(1)}


def test_no_findings_are_none() -> None:
    assert read_findings(None) == ()


@pytest.mark.parametrize("text", ["[]", '{"a":1}', '{"a":1,"b":2}', '{"ip":"192.0.2.1"}'])
def test_what_is_no_plan_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(TypeError, match="does not hold a plan"):
        read_plan(text)


@pytest.mark.parametrize("text", ['{"":"Popen","args":"sh"}', '{"":"CertificatePlan"}'])
def test_text_can_not_name_other_classes_or_leave_fields_out(text: str) -> None:
    with pytest.raises((KeyError, TypeError)):
        read_plan(text)


def test_only_what_is_listed_is_written() -> None:
    with pytest.raises(TypeError):
        write_findings([IPv4Address])  # type: ignore[list-item]


_PLAN = (
    '{"":"CertificatePlan","issuer":"issuing","profile":"a \\"profile\\"","policy_digest":"86fc","subject":{"":"Dist'
    'inguishedName","rdns":[[{"":"Attribute","oid":"2.5.4.3","value":"pumpe-ü"}]]},"names":[{"":"DnsName","value":"a.e'
    'xample"},{"":"IpAddress","value":{"ip":"192.0.2.1"}}],"spki":{"bytes":"MFkw"},"not_before":{"time":"2026-11-22T0'
    '9:59:35+00:00"},"not_after":{"time":"2027-11-22T10:04:34+00:00"},"ca":false,"key_usage":{"set":["digitalSignatu'
    're"]},"extended_key_usage":["1.3.6.1.5.5.7.3.2"],"extensions":[{"":"PlannedExtension","oid":"2.5.29.31","critic'
    'al":false,"value":{"bytes":"MC4w"}}]}'
)
"""As it stands in the records of earlier versions."""


def test_plans_of_earlier_versions_are_read_and_written_as_they_were() -> None:
    plan = read_plan(_PLAN)
    assert (plan.profile, plan.names[1]) == ('a "profile"', IpAddress(IPv4Address("192.0.2.1")))
    assert write_plan(plan) == _PLAN


def test_questions_are_written_as_in_earlier_versions() -> None:
    evidence = PasswordEvidence("pump-17")
    request = EnrollmentRequest(
        key="key",
        kind=Kind.ENROLL,
        endpoint=EndpointName(Protocol.EST, "default"),
        profile=None,
        csr=csr_for("pump-17"),
        requester=Requester("password:pump-17", (evidence,), "192.0.2.1"),
        now=NOW,
        facts=Facts(active=2, lookups=(LookupAnswer("owner", "ldap", found=True, values=(("cn", "a"),)),)),
    )
    assert write_asked(request) == (
        '{"kind":"enroll","endpoint":{"":"EndpointName","protocol":"est","label":"default"},"profile":null,"requester":'
        '{"":"Requester","identity":"password:pump-17","evidence":[{"":"PasswordEvidence","username":"pump-17"}],"addre'
        'ss":"192.0.2.1"},"renewed":null,"transaction":null,"facts":{"":"Facts","lookups":[{"":"LookupAnswer","name":"o'
        'wner","source":"ldap","found":true,"values":[["cn","a"]],"age":0,"error":""}],"active":2,"issued_to_requester":'
        'null,"issued_under_profile":null,"key_renewals":null,"key_holders":null,"origin":null}}'
    )
