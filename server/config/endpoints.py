"""The endpoints: each names its profiles, how requesters prove who they are, and its switches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from policies.document import Strict
from policies.request import ENDPOINT_PROTOCOLS, EndpointName
from server.config.acme import Dns01, ExternalAccountsConfig, RenewalCheck
from server.config.est import EstEndpointConfig
from server.config.listeners import PositiveSeconds
from server.config.profiled import Profiled
from server.config.scep import ScepEndpointConfig
from server.config.values import Endpoint, Network, Port, Resolver


class Http01(Strict):
    """How control over a name is validated by HTTP (RFC 8555 section 8.3).

    Attributes:
        port: the port to connect to; 80 is what the RFC says.
        networks: the only addresses to connect to; None: every unicast address, private ones too, but not loopback,
            link-local, reserved ones and the metadata services of clouds.
        resolver: the DNS resolver's address, or ``system``.
        loopback_names: whether names under ``.localhost`` are loopback without asking DNS (RFC 6761 section 6.3).
        timeout_seconds: for one attempt, from the look-up to the last byte.
    """

    port: Annotated[Port, Field(ge=1)] = 80
    networks: tuple[Network, ...] | None = None
    resolver: Resolver = "system"
    loopback_names: bool = False
    timeout_seconds: PositiveSeconds = 10


class TlsAlpn01(Http01):
    """How control over a name is validated by TLS (RFC 8737); the settings are those of http-01.

    Attributes:
        port: the port to connect to; 443 is what the RFC says.
    """

    port: Annotated[Port, Field(ge=1)] = 443


class AcmeEndpointConfig(Profiled):
    """An ACME endpoint (RFC 8555).

    Attributes:
        challenges: the challenges that are offered, in this order; wildcards need dns-01.
        http01: how control over a name is validated by HTTP.
        dns01: how control over a name is validated by DNS.
        tls_alpn01: how control over a name is validated by TLS.
        renewal_check: how often clients look whether the renewal window of a certificate has moved (RFC 9773).
        external_accounts: whether accounts are bound to keys that were handed out; None: they are not.
    """

    challenges: Annotated[tuple[Literal["http-01", "dns-01", "tls-alpn-01"], ...], Field(min_length=1)] = ("http-01",)
    http01: Http01 = Http01()
    dns01: Dns01 = Dns01()
    tls_alpn01: TlsAlpn01 = TlsAlpn01()
    renewal_check: RenewalCheck = Field(default="6h", validate_default=True)
    external_accounts: ExternalAccountsConfig | None = None


class Endpoints(Strict):
    """All endpoints by protocol; in the file they stand side by side as ``protocol/label``."""

    est: Mapping[Endpoint, EstEndpointConfig] = {}
    scep: Mapping[Endpoint, ScepEndpointConfig] = {}
    acme: Mapping[Endpoint, AcmeEndpointConfig] = {}

    @model_validator(mode="before")
    @classmethod
    def _by_protocol(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        split: dict[str, dict[str, Any]] = {protocol.value: {} for protocol in ENDPOINT_PROTOCOLS}
        for name, endpoint in value.items():
            # a name that is none goes anywhere: it is refused as a key, in its place
            split.get(str(name).partition("/")[0], split["est"])[name] = endpoint
        return split

    @model_validator(mode="after")
    def _labels_once(self) -> Endpoints:
        labels = [*self.est, *(alias for endpoint in self.est.values() for alias in endpoint.aliases)]
        twice = sorted({str(label) for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: this label is given twice")
        return self

    def all(self) -> Mapping[EndpointName, EstEndpointConfig | ScepEndpointConfig | AcmeEndpointConfig]:
        """Return the endpoints of all protocols."""
        return {**self.est, **self.scep, **self.acme}
