"""The endpoints: each names its profiles, how requesters prove who they are, and its switches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from policies.request import EndpointName, Protocol
from server.config.listeners import PositiveSeconds
from server.config.profiled import Profiled
from server.config.scep import ScepEndpointConfig
from server.config.values import Endpoint, Network, Port, Resolver


class Authenticate(Strict):
    """How an EST client proves who it is: any one of these is enough to be heard; the profile may ask for more.

    Attributes:
        passwords: a YAML file, user name to argon2 hash, for HTTP Basic.
        one_time_passwords: whether passwords that ``certwright credential new`` makes are taken.
        certificates: whether a certificate that this endpoint issued is taken in TLS.
        certificates_from: other endpoints whose certificates are taken too.
        require: ``either`` a password or a certificate, or ``both``.
    """

    passwords: Path | None = None
    one_time_passwords: bool = False
    certificates: bool = False
    certificates_from: tuple[Endpoint, ...] = ()
    require: Literal["either", "both"] = "either"

    @property
    def takes_passwords(self) -> bool:
        """Whether HTTP Basic is of any use."""
        return self.passwords is not None or self.one_time_passwords


class EstEndpointConfig(Profiled):
    """An EST endpoint (RFC 7030).

    Attributes:
        authenticate: how requesters prove who they are.
        renewal_grace: how long after its end a certificate may still be renewed.
        base64_layout: how base64 stands in replies: ``wrapped`` in lines, on a ``single`` line; ``auto``: on a single
            line for strongSwan alone, which reads nothing else before 5.9.11.
        linking: whether requests are bound to their TLS connection (RFC 7030 section 3.5): ``off``, not looked at;
            ``optional``, right when it is there; ``required``.
        challenge_password: what that attribute is: the ``binding`` as RFC 7030 says, a ``one-time-password``, or
            ``automatic``: the binding when it is equal to it, else a one-time password.
    """

    authenticate: Authenticate
    linking: Literal["off", "optional", "required"] = "optional"
    challenge_password: Literal["binding", "one-time-password", "automatic"] = "binding"  # noqa: S105 - a word
    renewal_grace: Duration = Field(default="0d", validate_default=True)
    base64_layout: Literal["auto", "wrapped", "single"] = "auto"

    @model_validator(mode="after")
    def _fails_closed(self) -> EstEndpointConfig:
        if not self.authenticate.takes_passwords and not self.authenticate.certificates:
            raise ValueError(
                "nobody could authenticate here: give authenticate a password file (passwords: FILE), "
                "or set one_time_passwords: true or certificates: true"
            )
        ways = self.authenticate
        if ways.require == "both" and not (ways.takes_passwords and ways.certificates):
            raise ValueError("require: both needs both: passwords or one_time_passwords, and certificates")
        if self.challenge_password != "binding" and not ways.one_time_passwords:  # noqa: S105 - a word
            raise ValueError(f"challenge_password: {self.challenge_password} needs one_time_passwords: true")
        return self


class Http01(Strict):
    """How control over a name is validated by HTTP (RFC 8555 section 8.3).

    Attributes:
        port: the port to connect to; 80 is what the RFC says.
        networks: the only addresses to connect to; None: every address of the public Internet.
        resolver: the DNS resolver's address, or ``system``.
        loopback_names: whether names under ``.localhost`` are loopback without asking DNS (RFC 6761 section 6.3).
        timeout_seconds: for one attempt, from the look-up to the last byte.
    """

    port: Annotated[Port, Field(ge=1)] = 80
    networks: tuple[Network, ...] | None = None
    resolver: Resolver = "system"
    loopback_names: bool = False
    timeout_seconds: PositiveSeconds = 10


class AcmeEndpointConfig(Profiled):
    """An ACME endpoint (RFC 8555)."""

    http01: Http01 = Http01()


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
        split: dict[str, dict[str, Any]] = {protocol.value: {} for protocol in Protocol}
        for name, endpoint in value.items():
            # a name that is none goes anywhere: it is refused as a key, in its place
            split.get(str(name).partition("/")[0], split["est"])[name] = endpoint
        return split

    def all(self) -> Mapping[EndpointName, EstEndpointConfig | ScepEndpointConfig | AcmeEndpointConfig]:
        """Return the endpoints of all protocols."""
        return {**self.est, **self.scep, **self.acme}
