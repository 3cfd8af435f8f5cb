from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from policies.cases import PolicyTest
from policies.decision import Approved, Denied, Verdict
from policies.document import DocumentErrors
from policies.expressions import MESSAGES, VARIABLES
from policies.profile import parse_policy, parse_profiles
from policies.trial import failed_tests
from tests.fakes.policy import CEILINGS, MINIMAL, approved, judge, rules

if TYPE_CHECKING:
    from policies.decision import Decision


def under(require: str, *, shadow: bool = False, **given: object) -> Decision:
    condition = {"id": "own", "require": require, "message": "that is not our way", "shadow": shadow}
    return judge({"rules": [condition]}, **given)


def text_with(require: str) -> str:
    head = json.dumps({"version": 1, "profiles": {"device": MINIMAL}}, indent=1)
    assert head.endswith("\n  }\n }\n}")
    return f'{head[:-8]},\n   "rules": [\n    {{id: own, message: no,\n     require: {require}}}]\n  }}\n }}\n}}\n'


def flaw(require: str) -> tuple[str, str]:
    """Return the text at the place of the one problem, and the message."""
    text = text_with(require)
    with pytest.raises(DocumentErrors) as caught:
        parse_profiles(text, "device.yaml")
    (problem,) = caught.value.problems
    return text.splitlines()[problem.location.line - 1][problem.location.column - 1 :], problem.message


@pytest.mark.parametrize(
    "require",
    [
        'csr.names.dns.all(name, name.endsWith(".test"))',
        'csr.subject.CN == ["device"]',
        'csr.key.kind == "ec" && csr.key.curve == "P-256" && csr.key.bits == 256',
        'request.endpoint == "est/default" && request.protocol == "est" && request.label == "default"',
        'request.kind == "enroll" && request.profile == "device" && renewed.serial == ""',
        'requester.identity == "password:test" && requester.name == "test" && requester.evidence == ["password"]',
        'certificate.lifetime > duration("2160h") && certificate.not_before < request.time',
        'certificate.not_before > timestamp("2025-06-01T00:00:00Z")',
        'certificate.not_after > timestamp("2026-03-01T00:00:00Z")',
        'certificate.extended_key_usage == ["clientAuth"] && certificate.key_usage == ["digitalSignature"]',
        "!csr.ca && size(csr.extensions) == 0 && csr.key_usage == []",
        'csr.subject.CN[0].matches("^[a-z]+$")',
    ],
)
def test_a_condition_that_is_true_denies_nothing(require: str) -> None:
    assert approved(under(require))


WHATEVER: dict[str, Any] = {
    "subject": "CN=device,1.2.3.4=x",
    "names": [
        "dns:device.test",
        "ip:10.0.0.1",
        "email:a@b.test",
        "uri:urn:a",
        "rid:1.2.3",
        "dirname:CN=a",
        "other:1.2.3:0500",
    ],
    "ca": True,
    "key_usage": ["keyCertSign"],
    "extended_key_usage": ["OCSPSigning"],
    "renews": {"subject": "CN=old", "names": ["dns:old.test", "ip:10.0.0.2"]},
    "lookup": {"device": {"state": "active"}, "owner": None},
}


@pytest.mark.parametrize(
    "require",
    [
        'csr.subject.other == ["1.2.3.4=x"] && certificate.subject.CN == ["device"]',
        *(
            f"{whose}.names.{kind} == [{json.dumps(text)}]"
            for whose in ("csr", "certificate")
            for kind, _, text in (name.partition(":") for name in WHATEVER["names"])
        ),
        'csr.ca && csr.key_usage == ["keyCertSign"] && csr.extended_key_usage == ["OCSPSigning"]',
        'renewed.names.dns == ["old.test"] && renewed.names.ip == ["10.0.0.2"]',
        'lookup.device.state == "active" && !has(lookup.owner)',
        'certificate.lifetime == duration("2160h5m") && requester.address == ""',
    ],
)
def test_a_condition_sees_all_there_is(require: str) -> None:
    """Whatever other rules have against it."""
    lookups = {name: {"source": "x", "required": False} for name in ("device", "owner")}
    condition = {"id": "own", "require": require, "message": "no"}
    trace = judge({"rules": [condition], "lookups": lookups}, **WHATEVER).trace
    assert [(check.verdict, check.value) for check in trace.checks if check.rule == "rules.own"] == [(Verdict.PASS, "")]


def test_extensions_of_the_csr_can_be_looked_at() -> None:
    require = 'csr.extensions == ["1.2.3.4"]'
    assert approved(under(require, extensions=[{"oid": "1.2.3.4", "value": "0500"}]))
    assert rules(under(require)) == {"rules.own"}


def test_a_condition_that_is_false_denies_with_its_own_message() -> None:
    decision = under('csr.names.dns.all(name, name.startsWith(requester.name + "."))')
    assert isinstance(decision, Denied)
    (finding,) = decision.findings
    assert (finding.rule, finding.message) == ("rules.own", "that is not our way")
    assert finding.limit.startswith("csr.names.dns.all")


def test_a_renewed_certificate_can_be_looked_at() -> None:
    renews = {"subject": "CN=device", "names": ["dns:device.test"], "key": "same"}
    require = (
        'renewed.same_key && renewed.profile == "device" && renewed.endpoint == "est/default" && '
        'renewed.serial == "1001" && renewed.subject.CN == csr.subject.CN && renewed.not_after > request.time'
    )
    assert approved(under(require, renews=renews))


@pytest.mark.parametrize(
    "require",
    [
        'csr.names.dns[7] == "x"',
        'csr.subject.OU[0] == "x"',
        'csr.names.dns.exists(name, name.matches("(" + name))',
        "1 / size(csr.names.ip) == 1",
    ],
)
def test_a_condition_that_fails_denies(require: str) -> None:
    decision = under(require)
    assert rules(decision) == {"rules.own"}
    assert decision.trace.checks[-1].verdict is Verdict.ERROR
    assert "not our way" not in str(decision)


def test_a_condition_that_takes_too_long_denies() -> None:
    text = "csr.names.dns"
    require = "true"
    for name in "abcdefghijklmnop":
        require = f"{text}.all({name}, {require})"
    names = [f"dns:{number}.test" for number in range(4)]
    assert rules(under(require, names=names)) == {"rules.own"}


@pytest.mark.parametrize(
    ("require", "place", "message"),
    [
        ('csr.kye.kind == "rsa"', '.kye.kind == "rsa"', "undefined field 'kye' not found in struct 'Csr'"),
        ("'csr.kye == \"rsa\"'", '.kye == "rsa"', "undefined field 'kye'"),
        ("true &&", "", "Syntax error"),
        ("cert.lifetime", ".lifetime", "undeclared reference to 'cert.lifetime'"),
        ("csr.key.bits > 'a'", "> 'a'", "no matching overload for '_>_' applied to '(int, string)'"),
        ("csr.key.bits", "csr.key.bits", "a condition is true or false; this is of type INT"),
        ("'csr.subject.CN[0]'", "csr.subject.CN[0]", "this is of type STRING"),
        ("17", "17", "a condition is text in CEL"),
        ("\"csr.names.dns.exists(name, name.matches('a(b'))\"", "'a(b'", "not a pattern (RE2): missing ): a(b"),
        (
            "\"matches(request.label, '[z-a]') || true\"",
            "'[z-a]'",
            "not a pattern (RE2): invalid character class range",
        ),
        ("\"{1: ['x'.matches('*')]}[1][0]\"", "'*'", "not a pattern (RE2): no argument for repetition operator"),
        (f'"{"true && " * 1000}true"', "true && true", "at most 4096 characters"),
    ],
)
def test_what_can_not_be_compiled_is_told_with_its_place(require: str, place: str, message: str) -> None:
    where, told = flaw(require)
    assert message in told
    assert where.startswith(place)


def test_the_place_inside_a_block_of_several_lines_is_told() -> None:
    block = (
        "version: 1\nprofiles:\n  device:\n    rules:\n      - id: own\n        message: no\n        require: |\n"
        "          csr.ca ||\n            csr.kye\n"
    )
    with pytest.raises(DocumentErrors) as caught:
        parse_profiles(block, "device.yaml")
    (problem,) = [one for one in caught.value.problems if "kye" in one.message]
    assert block.splitlines()[problem.location.line - 1][problem.location.column - 1 :] == ".kye"


def test_the_place_of_a_pattern_in_a_block_of_several_lines_is_told() -> None:
    block = (
        "version: 1\nprofiles:\n  device:\n    rules:\n      - id: own\n        message: no\n        require: |\n"
        "          csr.subject.CN.all(name, 'ü' != name &&\n            name.matches('(?<=a)'))\n"
    )
    with pytest.raises(DocumentErrors) as caught:
        parse_profiles(block, "device.yaml")
    (problem,) = [one for one in caught.value.problems if "RE2" in one.message]
    assert block.splitlines()[problem.location.line - 1][problem.location.column - 1 :] == "'(?<=a)'))"


def test_a_folded_condition_is_told_at_its_beginning() -> None:
    block = "version: 1\nprofiles:\n  device:\n    rules:\n      - id: own\n        require: >\n          csr.kye\n"
    with pytest.raises(DocumentErrors) as caught:
        parse_profiles(block, "device.yaml")
    (problem,) = [one for one in caught.value.problems if "kye" in one.message]
    assert (problem.location.line, problem.location.column) == (6, 18)


def test_two_rules_of_one_name_are_refused() -> None:
    text = text_with("'true'").replace(
        "{id: own, message: no,", "{id: own, message: no, require: 'true'}, {id: own, message: x,"
    )
    with pytest.raises(DocumentErrors, match="two rules are called own"):
        parse_profiles(text, "device.yaml")


@pytest.mark.parametrize("require", ["false", 'csr.names.dns[7] == "x"'])
def test_a_rule_on_trial_denies_nothing_and_is_written_down(require: str) -> None:
    decision = under(require, shadow=True)
    assert isinstance(decision, Approved)
    (shadow,) = decision.trace.shadows
    assert (shadow.rule, shadow.message) == ("rules.own", "that is not our way")
    assert decision.trace.checks[-1].verdict is Verdict.SHADOW


@pytest.mark.parametrize(("shadow", "wanted"), [(True, set()), (False, {"rules"})])
def test_what_is_no_text_can_not_be_put_before_conditions(*, shadow: bool, wanted: set[str]) -> None:
    decision = under('requester.identity != ""', shadow=shadow, requester="password:a\ud800")
    assert (rules(decision) if isinstance(decision, Denied) else set()) == wanted


def test_one_condition_on_trial_lets_no_other_pass_that_can_not_be_asked() -> None:
    one, other = ({"id": word, "require": 'requester.identity != ""', "message": "no"} for word in ("one", "other"))
    sections = {"rules": [{**one, "shadow": True}, other]}
    assert rules(judge(sections, requester="password:a\ud800")) == {"rules"}


def test_a_name_that_can_not_be_in_a_certificate_equals_nothing() -> None:
    assert rules(under("csr.names.dns.all(name, name.endsWith(requester.name))", requester="password:a\nb"))


def test_a_file_can_say_what_a_rule_on_trial_must_deny() -> None:
    case: dict[str, Any] = {
        "name": "short",
        "given": {"endpoint": "est/default", "subject": "CN=device"},
        "expect": {"decision": "approved", "shadow": ["rules.own"]},
    }
    PolicyTest.model_validate(case)
    trial = [{"id": "own", "require": "size(csr.names.dns) > 0", "message": "no", "shadow": True}]
    content = {"version": 1, "profiles": {"device": {**MINIMAL, "rules": trial}}, "tests": [case]}
    assert list(failed_tests(parse_policy(json.dumps(content), "device.yaml"), CEILINGS)) == []
    case["expect"]["shadow"] = []
    (problem,) = failed_tests(parse_policy(json.dumps(content), "device.yaml"), CEILINGS)
    assert "expected [] to deny on trial, it is [rules.own]" in problem.message


def test_every_variable_has_a_type() -> None:
    assert set(VARIABLES.values()) <= set(MESSAGES)
