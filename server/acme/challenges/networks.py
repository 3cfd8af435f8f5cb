"""Where a validation may connect to: every address is judged before a connection is made (RFC 8555 section 10.4)."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What is never meant by a name that somebody wants a certificate for, and often meant by an attacker.
_NEVER_BY_DEFAULT: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",  # this host
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, cloud metadata
        "192.0.0.0/24",  # protocol assignments, cloud metadata
        "100.100.100.200/32",  # cloud metadata
        "168.63.129.16/32",  # cloud metadata
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        "::/96",  # unspecified, loopback, IPv4-compatible
        "100::/64",  # discard
        "fe80::/10",  # link-local
        "fec0::/10",  # site-local
        "ff00::/8",  # multicast
        "fd00:ec2::254/128",  # cloud metadata
        "fd20:ce::254/128",  # cloud metadata
    )
)
_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("::ffff:0:0:0/96"))
"""RFC 6052 section 2.1, RFC 2765 section 2.1."""
_LOCAL_NAT64 = ip_network("64:ff9b:1::/48")
"""RFC 8215: of which a network takes a part of any length for its translator."""
_ISATAP = {0x00005EFE, 0x02005EFE}
"""RFC 5214 section 6.1."""
_THIS_HOST = ip_network("0.0.0.0/8")
_IPV4 = 0xFFFFFFFF


def embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """Return what translators and tunnels may make of an address: NAT64, SIIT, 6to4, Teredo, ISATAP."""
    number = int(address)
    if any(address in network for network in _TRANSLATED):
        return (IPv4Address(number & _IPV4),)
    if address in _LOCAL_NAT64:
        return _by_any_length(number)
    # A prefix and what follows it may each name one.
    inner = address.teredo[1] if address.teredo else address.sixtofour
    behind = IPv4Address(number & _IPV4) if (number >> 32) & _IPV4 in _ISATAP else None
    return tuple(each for each in (inner, behind) if each is not None)


def _by_any_length(number: int) -> tuple[IPv4Address, ...]:
    """Return what stands where RFC 6052 section 2.2 has it, behind prefixes of 48, 56, 64 and 96 bits."""
    places = (
        (number >> 64 & 0xFFFF) << 16 | number >> 40 & 0xFFFF,
        (number >> 64 & 0xFF) << 24 | number >> 32 & 0xFFFFFF,
        number >> 24 & _IPV4,
        number & _IPV4,
    )
    found = tuple(map(IPv4Address, places))
    # A longer prefix, and what follows a shorter one, are zeros mostly: no address then, but where nothing else is.
    return tuple(each for each in found if each not in _THIS_HOST) or found


class Networks:
    """The networks that validations may reach.

    Args:
        allowed: the only networks; None allows all unicast addresses, private ones too, but loopback, link-local,
            cloud metadata and what is reserved.
        forbidden: networks that stay closed, also where they are allowed.
    """

    def __init__(self, allowed: tuple[Network, ...] | None, forbidden: tuple[Network, ...] = ()) -> None:
        self._allowed = allowed
        self._forbidden = forbidden
        self._judged = lru_cache(maxsize=1024)(self._judge)

    def permits(self, address: Address) -> bool:
        """Say whether to connect; an IPv6 form of an IPv4 address is judged as what it leads to."""
        return self._judged(address)

    def _judge(self, address: Address) -> bool:
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped:
                return self._listed(address.ipv4_mapped)
            if not all(self._listed(inner) or self._passable(inner) for inner in embedded(address)):
                return False
        return self._listed(address)

    def _listed(self, address: Address) -> bool:
        if any(address in network for network in self._forbidden):
            return False
        if self._allowed is None:
            return _harmless(address)
        return any(address in network for network in self._allowed)

    def _passable(self, address: Address) -> bool:
        return _harmless(address) and not any(address in network for network in self._forbidden)


def _harmless(address: Address) -> bool:
    return not any(address in network for network in _NEVER_BY_DEFAULT)
