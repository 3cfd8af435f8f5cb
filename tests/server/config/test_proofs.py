"""How control over names is configured: for an endpoint, and otherwise for some of its profiles."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from server.config import AcmeEndpointConfig, CaaConfig, Dns01, Http01, Nameserver, ProfileProofs, TlsAlpn01


def endpoint(**settings: object) -> AcmeEndpointConfig:
    return AcmeEndpointConfig.model_validate({"profiles": ["web", "plant"], **settings})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("system", ()),
        ("10.0.0.53", (Nameserver("10.0.0.53"),)),
        ("fd00::53", (Nameserver("fd00::53"),)),
        ("10.0.0.53:5353", (Nameserver("10.0.0.53", 5353),)),
        ("[fd00::53]:5353", (Nameserver("fd00::53", 5353),)),
        (["10.0.0.53", "10.0.0.54"], (Nameserver("10.0.0.53"), Nameserver("10.0.0.54"))),
    ],
)
def test_resolvers_are_those_of_the_system_or_addresses(value: object, expected: tuple[Nameserver, ...]) -> None:
    assert Dns01.model_validate({"resolver": value}).resolver == expected


@pytest.mark.parametrize("port", [0, 65536, 99999])
def test_a_port_is_one_that_there_can_be(port: int) -> None:
    for value in (f"10.0.0.53:{port}", f"[fd00::53]:{port}"):
        with pytest.raises(ValidationError, match=f"a port is a number from 1 to 65535, not {port}"):
            Dns01.model_validate({"resolver": value})
    for challenge in (Http01, TlsAlpn01, Dns01):
        with pytest.raises(ValidationError, match="port"):
            challenge.model_validate({"port": port})


@pytest.mark.parametrize("value", ["google", "dns.test:53", [], ["10.0.0.53", "x"], "10.0.0.53:port", 53])
def test_anything_else_is_no_resolver(value: object) -> None:
    with pytest.raises(ValidationError, match="resolver"):
        Dns01.model_validate({"resolver": value})


@pytest.mark.parametrize(
    "url", ["https://p.test:1", "http://p.test", "p.test:3128", "http://u@p.test:1", "http://p:1/x"]
)
def test_a_proxy_is_an_http_url_with_a_port(url: str) -> None:
    with pytest.raises(ValidationError, match="write the proxy like"):
        Http01.model_validate({"proxy": {"url": url}})


def test_networks_and_a_proxy_that_resolves_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="let the proxy judge"):
        Http01.model_validate(
            {"proxy": {"url": "http://p.test:3128", "resolves_names": True}, "networks": ["10.0.0.0/8"]}
        )


@pytest.mark.parametrize("name", ["ca_1.test", "ca.test.", "", "-ca.test"])
def test_a_caa_identity_is_a_domain_name(name: str) -> None:
    with pytest.raises(ValidationError, match="a domain name like"):
        CaaConfig(identities=(name,))


def test_a_profile_changes_sections_and_keeps_the_others() -> None:
    changes = {"http01": {"port": 8080}, "caa": {"identities": ["CA.Test"]}, "challenges": ["http-01", "dns-01"]}
    made = endpoint(http01={"timeout_seconds": 3}, dns01={"port": 5353}, by_profile={"plant": changes})
    found = made.with_changes(made.by_profile["plant"])
    assert (found.http01.port, found.http01.timeout_seconds, found.dns01.port) == (8080, 10, 5353)
    assert (found.caa.identities, found.challenges) == (("ca.test",), ("http-01", "dns-01"))
    assert made.with_changes(ProfileProofs()).http01.timeout_seconds == 3


def test_only_profiles_of_the_endpoint_can_be_changed() -> None:
    with pytest.raises(ValidationError, match="other is none of the endpoint's profiles"):
        endpoint(by_profile={"other": {}})


def test_records_that_stay_need_to_call_this_ca_somehow() -> None:
    with pytest.raises(ValidationError, match="needs dns_persist01"):
        endpoint(challenges=["dns-persist-01"])
    made = endpoint(challenges=["dns-persist-01"], dns_persist01={"identities": ["CA.test"]})
    assert made.dns_persist01.identities == ("ca.test",)


ATTEST = {"identifiers": ["permanent-identifier:*"], "apple": "apple.pem"}


def test_devices_attest_where_roots_are_pinned_for_them() -> None:
    made = endpoint(
        challenges=["device-attest-01"], device_attest=ATTEST, by_profile={"plant": {"challenges": ["dns-01"]}}
    )
    assert made.device_attest is not None
    assert {name: str(file) for name, file in made.device_attest.roots().items()} == {"apple": "apple.pem"}
    assert made.with_changes(made.by_profile["plant"]).challenges == ("dns-01",)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"challenges": ["device-attest-01"]}, "needs device_attest"),
        ({"device_attest": {"identifiers": ["permanent-identifier:*"]}}, "no format is taken"),
        ({"device_attest": {"apple": "a.pem"}}, "identifiers"),
        ({"device_attest": {**ATTEST, "identifiers": []}}, "identifiers"),
        ({"device_attest": {**ATTEST, "identifiers": ["dns:*"]}}, "write permanent-identifier:PATTERN"),
        ({"by_profile": {"plant": {"challenges": ["device-attest-01"]}}}, "needs device_attest"),
    ],
)
def test_devices_that_can_not_attest_are_an_error(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        endpoint(**settings)


@pytest.mark.parametrize(
    "text", ["ca.example", "ftp://ca.example", "https://", "https://a b", 'https://a"b', "https://a>b"]
)
def test_terms_are_at_a_web_address(text: str) -> None:
    assert endpoint(terms_of_service="https://ca.example/terms?v=1").terms_of_service
    with pytest.raises(ValueError, match="terms_of_service"):
        endpoint(terms_of_service=text)


def test_help_with_limits_is_at_a_web_address() -> None:
    assert endpoint(rate_limits={"help": "https://ca.example/limits"}).rate_limits.help == "https://ca.example/limits"
    with pytest.raises(ValueError, match="web address"):
        endpoint(rate_limits={"help": "call us"})


def test_who_must_agree_to_changed_terms_has_some() -> None:
    how = "https://ca.example/how"
    assert endpoint(terms_of_service="https://ca.example/terms", changed_terms=how).changed_terms == how
    with pytest.raises(ValueError, match="changed_terms needs terms_of_service"):
        endpoint(changed_terms=how)
