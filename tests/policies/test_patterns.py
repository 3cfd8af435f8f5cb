from __future__ import annotations

import fnmatch
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.patterns import Characters, DnsPattern, EmailPattern, EndpointPattern, Glob, Network, UriPattern


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("device.test", "device.test", True),
        ("Device.Test", "device.test", True),
        ("device.test", "a.device.test", False),
        ("*.test", "a.test", True),
        ("*.test", "a.b.test", False),
        ("*.test", "test", False),
        ("*.test", "*.test", True),
        ("**.test", "a.test", True),
        ("**.test", "a.b.test", True),
        ("**.test", "*.b.test", True),
        ("**.test", "test", False),
        ("**.test", "evil-test", False),
        ("**.test", "a.eviltest", False),
        ("{requester}.test", "pump-17.test", True),
        ("{requester}.test", "pump-18.test", False),
        ("{requester}-web.test", "pump-17-web.test", True),
        ("**.{requester}.test", "a.pump-17.test", True),
    ],
)
def test_dns_patterns_match_whole_labels(pattern: str, name: str, matches: bool) -> None:  # noqa: FBT001 - a column
    assert DnsPattern.parse(pattern).matches(name, {"{requester}": "Pump-17"}) is matches


def test_a_requester_called_star_is_no_wildcard() -> None:
    assert not DnsPattern.parse("{requester}.test").matches("a.test", {"{requester}": "*"})
    assert not DnsPattern.parse("*.{requester}").matches("a.test", {"{requester}": "*.test"})


@pytest.mark.parametrize(
    ("pattern", "wildcard", "covered"),
    [
        ("admin.test", "*.test", True),
        ("admin.test", "*.other.test", False),
        ("*.test", "*.test", True),
        ("**.test", "*.a.test", True),
        ("a.admin.test", "*.test", False),
    ],
)
def test_a_forbidden_name_forbids_the_wildcards_that_cover_it(pattern: str, wildcard: str, covered: bool) -> None:  # noqa: FBT001
    assert DnsPattern.parse(pattern).matches(wildcard, {}, covering=True) is covered


@pytest.mark.parametrize(
    "pattern", ["*", "**", "", ".", "a.*.test", "a*.test", "***.test", "a..test", "{user}.test", "é.test"]
)
def test_dns_patterns_that_could_surprise_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        DnsPattern.parse(pattern)


@given(st.text(alphabet="ab*", min_size=1, max_size=8), st.text(alphabet="ab", max_size=10))
def test_a_glob_matches_as_a_shell_does(pattern: str, value: str) -> None:
    assert Glob.parse(pattern).matches(value, {}) is fnmatch.fnmatchcase(value, pattern)


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_a_requester_in_a_glob_is_literal(requester: str, value: str) -> None:
    assert Glob.parse("{requester}").matches(value, {"{requester}": requester}) is (value == requester)


@pytest.mark.parametrize("pattern", ["", "{cn}", "a{requester"])
def test_globs_have_one_placeholder_only(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"placeholder|empty"):
        Glob.parse(pattern)


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("urn:uuid:*", "urn:uuid:123", True),
        ("urn:uuid:*", "urn:uuid:1/2", False),
        ("spiffe://td/*", "spiffe://td/a", True),
        ("spiffe://td/*", "spiffe://td/a/b", False),
        ("spiffe://td/**", "spiffe://td/a/b", True),
        ("spiffe://td/**", "spiffe://td", False),
        ("spiffe://td/**", "spiffe://td/", False),
        ("spiffe://td/**", "spiffe://td/../x", False),
        ("spiffe://td/**", "spiffe://td//x", False),
        ("spiffe://td/**", "spiffe://other/x", False),
        ("spiffe://td/{requester}", "spiffe://td/pump", True),
        ("spiffe://td/a", "spiffe:/x/td/a", False),
        ("https://*.test/", "https://a.test/", True),
        ("https://*.test/", "https://evil.example?.test/", False),
        ("https://*.test/", "https://evil.example#.test/", False),
        ("https://a.test:*", "https://a.test:8443", True),
        ("https://a.test:*", "https://a.test:443@evil.example", False),
        ("https://*@a.test/", "https://ann@a.test/", True),
        ("https://*@a.test/", "https://ann@evil.example:@a.test/", False),
        ("sip:*", "sip:ann@a.test", True),
        ("sip:*@a.test", "sip:ann@evil.example;x@a.test", False),
        ("https://a.test/*?q=*", "https://a.test/x?q=1", True),
        ("https://a.test/*?q=*", "https://a.test/x?y?q=1", False),
        ("https://a.test/**", "https://a.test/x?q=1", False),
        ("https://a.test/**", "https://a.test/x%2F..%2Fy", False),
        ("https://a.test/*", "https://a.test/x%5Cy", False),
        ("spiffe://td/*/sa", "spiffe://td/../sa", False),
        ("spiffe://td/*/sa", "spiffe://td//sa", False),
        ("spiffe://td/**", "spiffe://td/a@b", True),
    ],
)
def test_uri_patterns_match_segment_by_segment(pattern: str, value: str, matches: bool) -> None:  # noqa: FBT001
    assert UriPattern.parse(pattern).matches(value, {"{requester}": "pump"}) is matches


@pytest.mark.parametrize("value", ["https://a.test/admin?x=1", "https://a.test/admin#1", "https://a.test/admin%2F"])
def test_a_star_of_what_is_forbidden_covers_more(value: str) -> None:
    pattern = UriPattern.parse("https://a.test/admin*")
    assert pattern.matches(value, {}, covering=True)
    assert not pattern.matches(value, {})


@pytest.mark.parametrize("pattern", ["no-scheme", "*://x", "spiffe://**/x", "spiffe://a**", "1x:y", "x:{y}"])
def test_uri_patterns_name_their_scheme_and_have_two_stars_only_at_the_end(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"scheme|\*\*|placeholder"):
        UriPattern.parse(pattern)


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("*@example.test", "ann@example.test", True),
        ("*@example.test", "ann@a.example.test", False),
        ("*@**.test", "ann@a.example.test", True),
        ("{requester}@example.test", "ann@example.test", True),
        ("{requester}@example.test", "bob@example.test", False),
        ("*@example.test", "example.test", False),
    ],
)
def test_mail_patterns_have_a_glob_and_a_domain(pattern: str, value: str, matches: bool) -> None:  # noqa: FBT001
    assert EmailPattern.parse(pattern).matches(value, {"{requester}": "ann"}) is matches


def test_a_mail_pattern_without_at_is_refused() -> None:
    with pytest.raises(ValueError, match="no @"):
        EmailPattern.parse("example.test")


@pytest.mark.parametrize(
    ("network", "address", "contains"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.0.0.1", False),
        ("::1", "::1", True),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "10.0.0.1", True),
    ],
)
def test_networks_never_mix_families(network: str, address: str, contains: bool) -> None:  # noqa: FBT001
    assert Network.parse(network).matches(ip_address(address), {}) is contains


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0", "x", "10.0.0.0/33"])
def test_a_network_with_host_bits_or_other_slips_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"like 10\.20\.0\.0/16"):
        Network.parse(text)


@pytest.mark.parametrize(
    ("text", "value", "contain"),
    [
        ("A-Za-z0-9 ._:-", "Pump 17_a.b:c-d", True),
        ("A-Za-z0-9 ._:-", "a/b", False),
        ("-a", "a-", True),
        ("abc", "", True),
        ("a-", "-", True),
        ("a-ab", "ab", True),
        ("a-ab", "-", False),
    ],
)
def test_characters_are_ranges_and_single_ones(text: str, value: str, contain: bool) -> None:  # noqa: FBT001
    assert Characters.parse(text).contain(value) is contain


@pytest.mark.parametrize("text", ["", "z-a", "\x00-\U0010ffff"])
def test_characters_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|empty"):
        Characters.parse(text)


def test_an_endpoint_pattern_names_its_protocol() -> None:
    assert EndpointPattern.parse("est/*").matches("est/plant")
    assert not EndpointPattern.parse("est/*").matches("scep/plant")
    for text in ("*/plant", "est", "est/", "est/a/b"):
        with pytest.raises(ValueError, match="no endpoint"):
            EndpointPattern.parse(text)


def test_patterns_show_what_was_written() -> None:
    texts = ["a*", "**.test", "*@x.test", "urn:x:*", "10.0.0.0/8", "a-z", "est/*"]
    kinds = (Glob, DnsPattern, EmailPattern, UriPattern, Network, Characters, EndpointPattern)
    shown = [str(kind.parse(text)) for kind, text in zip(kinds, texts, strict=True)]  # type: ignore[attr-defined] # a join of classes
    assert shown == texts
