"""Values that a profile takes from the identity, the CSR, the certificate that was shown, and look-ups."""

from __future__ import annotations

from typing import Any

import pytest

from policies.document import DocumentErrors
from tests.fakes.policy import judge, plan, profile, rules

IDEVID = {"subject": "CN=PID:9300 SN:FCW1,2.5.4.5=FCW1", "names": ["dns:fcw1.maker.test"]}
LOOKUPS = {"directory": {"source": "ldap"}}


def subject(text: str, sections: dict[str, Any] | None = None, **given: object) -> str:
    made = judge({"subject": {"forced": {"CN": text}, "others": "ignore"}, **(sections or {})}, **given)
    return str(plan(made).subject)


def test_a_subject_is_made_of_the_certificate_that_was_shown() -> None:
    shown = {"evidence": ["certificate"], "certificate": IDEVID}
    anybody = {"certificate_names": "any"}
    assert subject("ldev-{certificate.serialNumber}", anybody, **shown) == "CN=ldev-FCW1"
    assert subject("{certificate.dns}", anybody, **shown) == "CN=fcw1.maker.test"
    assert subject("{certificate.CN}", anybody, **shown) == "CN=PID:9300 SN:FCW1"


def test_a_subject_is_made_of_what_was_looked_up() -> None:
    lookup = {"directory": {"cn": "Ann", "mail": "ann@example.test"}}
    assert subject("{lookup.directory.cn}", {"lookups": LOOKUPS}, lookup=lookup) == "CN=Ann"


def test_names_are_made_of_the_csr() -> None:
    sections = {"names": {"dns": {"default": ["{csr.CN}.plant.test"]}}}
    assert [str(name) for name in plan(judge(sections, names=[])).names] == ["dns:device.plant.test"]


def test_patterns_have_placeholders_too() -> None:
    sections = {"lookups": LOOKUPS, "names": {"email": {"allowed": ["{lookup.directory.mail}"]}}}
    # a pattern for mail needs its @ written
    with pytest.raises(DocumentErrors, match="has no @"):
        judge(sections)
    sections = {"names": {"dns": {"allowed": ["{csr.CN}.test"]}}}
    assert plan(judge(sections)).names
    assert rules(judge(sections, names=["dns:other.test"])) == {"names.dns"}


@pytest.mark.parametrize(
    ("template", "given"),
    [
        ("{csr.serialNumber}", {}),
        ("{csr.OU}", {"subject": "OU=a,OU=b,CN=device"}),
        ("{csr.OU}", {"subject": "OU=a/b,CN=device"}),
        ("{certificate.CN}", {}),
        ("{csr.dns}", {"names": ["dns:a.test", "dns:b.test"]}),
        ("{lookup.directory.mail}", {"lookup": {"directory": {"cn": "Ann"}}}),
        ("{lookup.directory.mail}", {"lookup": {"directory": {"mail": "a\nb"}}}),
    ],
)
def test_what_is_not_there_once_or_not_plain_denies(template: str, given: dict[str, Any]) -> None:
    sections = {"subject": {"forced": {"CN": template}, "others": "ignore"}, "lookups": LOOKUPS}
    given = {"lookup": {"directory": {}}, **given}
    assert "subject.CN" in rules(judge(sections, **given))


def test_a_look_up_that_the_profile_does_not_have_is_an_error() -> None:
    with pytest.raises(DocumentErrors, match=r'has no look-up "directry"; did you mean "directory"'):
        profile(subject={"forced": {"CN": "{lookup.directry.cn}"}}, lookups=LOOKUPS)


@pytest.mark.parametrize("text", ["{user}", "{csr.foo}", "{lookup.x}", "{certificate.}", "{requester", "{{requester}}"])
def test_a_placeholder_that_there_is_not_is_an_error(text: str) -> None:
    with pytest.raises(DocumentErrors, match="is no placeholder"):
        profile(subject={"forced": {"CN": text}})
