"""Which addresses a validation may reach (RFC 8555 section 10.4)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from server.acme.challenges.networks import Network, Networks, embedded

FORBIDDEN = (
    # loopback and this host
    "127.0.0.1",
    "127.1.2.3",
    "127.255.255.255",
    "0.0.0.0",  # noqa: S104 - an address to be refused
    "0.1.2.3",
    "::1",
    "::",
    # link-local and metadata services of clouds
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    # multicast, broadcast, reserved
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "ff02::1",
    "ff05::2",
    "100::1",
    "192.88.99.1",
    # the same behind IPv6
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
    "::7f00:1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:ffff::169.254.169.254",
    "64:ff9b:1::",
    "64:ff9b:1:7f00:0:100::",  # 127.0.0.1 behind a prefix of 48 bits, here and below with anything behind it
    "64:ff9b:1:7f00:0:100:808:808",
    "64:ff9b:1:aa7f:0:1:808:808",  # 56 bits
    "64:ff9b:1:aaaa:7f:0:108:808",  # 64 bits
    "64:ff9b:1:a9fe:a9:fe00:808:808",
    "::ffff:0:127.0.0.1",  # SIIT
    "::ffff:0:a9fe:a9fe",
    "2001:db8::5efe:127.0.0.1",  # ISATAP
    "2001:db8::200:5efe:169.254.169.254",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:7f00:1::5efe:808:808",  # in front of what ISATAP would take
    "2002:808:808::5efe:127.0.0.1",
    "2002:0::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",  # Teredo, client 127.0.0.1
)
PERMITTED = (
    # public
    "8.8.8.8",
    "93.184.216.34",
    "1.1.1.1",
    "2606:4700::1111",
    "2a00:1450:4001:80e::200e",
    # what a private CA is for
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.254",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.199",
    "fd00::1",
    "fd12:3456:789a::1",
    # the same behind IPv6
    "::ffff:10.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:808:8:800::",
    "64:ff9b:1:aaaa:a:0:100::",
    "::ffff:0:8.8.8.8",
    "2001:db8::5efe:10.0.0.1",
    "2002:808:808::1",
    "2002:808:808::5efe:8.8.8.8",
)


@pytest.mark.parametrize("text", FORBIDDEN)
def test_by_default_an_address_nobody_means_is_forbidden(text: str) -> None:
    assert not Networks(None).permits(ip_address(text))


@pytest.mark.parametrize("text", PERMITTED)
def test_by_default_a_unicast_address_is_permitted(text: str) -> None:
    assert Networks(None).permits(ip_address(text))


@pytest.mark.parametrize(
    "text",
    [
        "64:ff9b:1:ffff:ff:ff00::",
        "64:ff9b:1:ff:ff:ffff::",
        "64:ff9b:1::ff:ffff:ff00:0",
        "64:ff9b:1::255.255.255.255",
    ],
    ids=["48", "56", "64", "96"],
)
def test_every_bit_of_an_address_is_found_behind_a_prefix_of_each_length(text: str) -> None:
    """RFC 6052 section 2.2; the octet of bits 64 to 71 is none of them."""
    assert IPv4Address("255.255.255.255") in embedded(IPv6Address(text))


@pytest.mark.parametrize(
    ("text", "permitted"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("8.8.8.8", False),
        ("::ffff:10.0.0.1", False),
        ("::2", False),
        ("64:ff9b::127.0.0.1", False),
        ("169.254.169.254", False),
    ],
)
def test_with_a_list_only_the_listed_networks_are_permitted(text: str, *, permitted: bool) -> None:
    networks = Networks((ip_network("127.0.0.0/8"), ip_network("::1/128")))
    assert networks.permits(ip_address(text)) is permitted


@pytest.mark.parametrize("allowed", [None, (ip_network("10.0.0.0/8"), ip_network("64:ff9b::/96"))])
def test_what_is_forbidden_stays_so_where_it_is_allowed(allowed: tuple[Network, ...] | None) -> None:
    networks = Networks(allowed, (ip_network("10.9.0.0/16"),))
    assert networks.permits(ip_address("10.8.0.1"))
    for text in ("10.9.0.1", "::ffff:10.9.0.1", "64:ff9b::10.9.0.1"):
        assert not networks.permits(ip_address(text))


def test_a_listed_translator_leads_only_where_one_may_go() -> None:
    networks = Networks((ip_network("64:ff9b::/96"),))
    assert networks.permits(ip_address("64:ff9b::8.8.8.8"))
    assert not networks.permits(ip_address("64:ff9b::127.0.0.1"))
    assert not networks.permits(ip_address("64:ff9b::169.254.169.254"))
