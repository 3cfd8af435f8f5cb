"""The kinds of value that the configuration file uses, each with an error text that says how to write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from policies.request import ENDPOINT_PROTOCOLS, EndpointName, Protocol

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EST_OPERATIONS = frozenset(
    {"cacerts", "simpleenroll", "simplereenroll", "fullcmc", "serverkeygen", "csrattrs"}
    | {"pal", "eecerts", "crls", "symmetrickeys", "firmware", "tamp"}  # RFC 8295
    | {"requestvoucher", "voucher_status", "requestauditlog", "enrollstatus"}  # RFC 8995
    # draft-liao-lamps-est-lightweight-operations, and what OpenXPKI adds
    | {"ucacaps", "ucacert", "ucacerts", "ucrlinfo", "ucrl", "usimpleenroll", "usimplereenroll", "userverkeygen"}
    | {"simplerevoke"}
)
ACME_RESOURCES = frozenset(
    {"directory", "new-nonce", "new-account", "new-order", "new-authz", "revoke-cert", "key-change", "account", "order"}
    | {"authorization", "challenge", "certificate", "renewal-info"}
)
"""Path segments of the ACME endpoint without label, which no label may hide."""

_WITH_PORT = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})")
_PORT_NUMBERS = range(1, 65536)
_A_PORT = "a port is a number from 1 to 65535"
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Nameserver:
    """A DNS resolver.

    Attributes:
        address: its IP address.
        port: its port; None for the usual one.
    """

    address: str
    port: int | None = None


def split_url(text: str) -> SplitResult:
    """Return the parts of a URL. Raises ValueError when it is none, or has a port that there can't be.

    A port of 0 is let through: the external URL of a listener that takes whichever port is free has it.
    """
    parts = urlsplit(text)
    try:
        parts.port  # noqa: B018 - the property is what reads it
    except ValueError:
        raise ValueError(f"{_A_PORT}: {text!r}") from None
    return parts


def _address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError(f'an IP address like 127.0.0.1 or "::1", not {value!r}') from None


def _resolvers(value: object) -> tuple[Nameserver, ...]:
    if value == "system":
        return ()
    listed = value if isinstance(value, list | tuple) else [value]
    if not listed:
        raise ValueError('"system", or at least one DNS resolver')
    return tuple(map(_nameserver, listed))


def _nameserver(value: object) -> Nameserver:
    if isinstance(value, Nameserver):
        return value
    text = str(value)
    found = _WITH_PORT.fullmatch(text)
    address, port = (found["six"] or found["four"], int(found["port"])) if found else (text, None)
    if port is not None and port not in _PORT_NUMBERS:
        raise ValueError(f"{_A_PORT}, not {port}")
    try:
        return Nameserver(_address(address), port)
    except ValueError:
        example = '10.0.0.53, 10.0.0.53:5353 or "[fd00::53]:5353"'
        raise ValueError(f'"system", or the IP address of a DNS resolver like {example}, not {text!r}') from None


def _proxy(value: str) -> str:
    parts = split_url(value)
    if parts.scheme != "http" or not parts.hostname or not parts.port or parts.path not in {"", "/"} or parts.username:
        raise ValueError("write the proxy like http://proxy.example.com:3128")
    return value


def _domain(value: str) -> str:
    name = value.lower()
    if not _DOMAIN.fullmatch(name):
        raise ValueError(f"a domain name like ca.example.com, not {value!r}")
    return name


def _network(value: object) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f'a network like 10.0.0.0/8 or "fd00::/8" ({error})') from None


def _loopback(value: str) -> str:
    if not ip_address(value).is_loopback:
        raise ValueError("the admin listener has no login: it may listen on 127.0.0.1 or ::1 only")
    return value


def _https_origin(value: str) -> str:
    parts = split_url(value)
    if parts.scheme != "https" or not parts.netloc or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("write the origin alone, like https://ca.example.com:8443")
    return value.rstrip("/")


def _endpoint(value: object) -> EndpointName:
    words = ", ".join(protocol.value for protocol in ENDPOINT_PROTOCOLS)
    protocol, _, label = value.partition("/") if isinstance(value, str) else ("", "", "")
    if protocol not in ENDPOINT_PROTOCOLS or not _LABEL.fullmatch(label):
        raise ValueError(
            f"an endpoint is written protocol/label, like est/default; the protocol is one of {words}, "
            "the label has up to 64 letters, digits, dots, dashes and underscores"
        )
    if protocol == Protocol.EST and label.lower() in _EST_OPERATIONS:
        raise ValueError(f"{label} is an operation of EST and can't be a label (RFC 7030 section 3.2.2)")
    if protocol == Protocol.ACME and label in ACME_RESOURCES:
        raise ValueError(f"{label} is a resource of the endpoint acme/default and can't be a label")
    return EndpointName(Protocol(protocol), label)


Address = Annotated[str, AfterValidator(_address)]
Resolvers = Annotated[tuple[Nameserver, ...], BeforeValidator(_resolvers)]
"""DNS resolvers, in the order in which they are asked; none: those of the operating system."""


def _web_address(text: str) -> str:
    if not re.fullmatch(r"https?://[!#-;=?-~]+", text):
        raise ValueError("write a web address, like https://ca.example.com/terms")
    split_url(text)
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]
ProxyUrl = Annotated[str, AfterValidator(_proxy)]
Domain = Annotated[str, AfterValidator(_domain)]
Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_network)]
LoopbackAddress = Annotated[str, AfterValidator(_address), AfterValidator(_loopback)]
Port = Annotated[int, Field(ge=0, le=65535)]
HttpsOrigin = Annotated[str, AfterValidator(_https_origin)]
Endpoint = Annotated[EndpointName, BeforeValidator(_endpoint)]
