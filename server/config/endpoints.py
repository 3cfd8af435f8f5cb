"""The endpoints: each names its profiles, how requesters prove who they are, and its switches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from policies.document import Strict
from policies.request import ENDPOINT_PROTOCOLS, EndpointName
from server.config.acme import ExternalAccountsConfig, OrderRetention, RateLimitsConfig, RenewalCheck
from server.config.est import EstEndpointConfig
from server.config.profiled import Profiled
from server.config.proofs import ProfileProofs, ProofsConfig
from server.config.scep import ScepEndpointConfig
from server.config.test_mode import TestModeConfig
from server.config.values import Endpoint, WebAddress


class AcmeEndpointConfig(Profiled, ProofsConfig):
    """An ACME endpoint (RFC 8555).

    Attributes:
        by_profile: what is different for orders of some profiles.
        terms_of_service: where the terms are that new accounts must agree to (RFC 8555 section 7.3).
        changed_terms: where people read how to agree to terms that have changed, which accounts must do before they
            order again (RFC 8555 section 7.3.3); None: accounts go on.
        website: where people read about the service.
        pre_authorization: whether names can be authorized before they are ordered (RFC 8555 section 7.4.1).
        subdomains: whether a domain can be validated instead of names below it, by DNS (RFC 9444).
        renewal_check: how often clients look whether the renewal window of a certificate has moved (RFC 9773).
        alternate_chains: PEM files of other chains, each beginning with another certificate of an issuing CA.
        keep_orders: for how long orders are kept after they, or their certificates, expired; at least 30d.
        rate_limits: how much is allowed in how long.
        short_signatures: whether ECDSA signatures are taken that lack the first octet of r and s where it is zero,
            against RFC 7518 section 3.4. Apple's client sends them.
        external_accounts: whether accounts are bound to keys that were handed out; None: they are not.
        danger_test_mode: what is made hard for clients, with profiles for testing only; None: nothing is.
    """

    by_profile: Mapping[str, ProfileProofs] = {}
    terms_of_service: WebAddress | None = None
    changed_terms: WebAddress | None = None
    website: WebAddress | None = None
    pre_authorization: bool = False
    subdomains: bool = False
    renewal_check: RenewalCheck = Field(default="6h", validate_default=True)
    alternate_chains: tuple[Path, ...] = ()
    keep_orders: OrderRetention = Field(default="90d", validate_default=True)
    rate_limits: RateLimitsConfig = RateLimitsConfig()
    short_signatures: bool = False
    external_accounts: ExternalAccountsConfig | None = None
    danger_test_mode: TestModeConfig | None = None

    @model_validator(mode="after")
    def _for_its_profiles(self) -> AcmeEndpointConfig:
        if self.changed_terms is not None and self.terms_of_service is None:
            raise ValueError("changed_terms needs terms_of_service: the address of the terms that there are now")
        strangers = sorted(set(self.by_profile) - set(self.profiles))
        if strangers:
            raise ValueError(f"by_profile: {', '.join(strangers)} is none of the endpoint's profiles")
        for changes in self.by_profile.values():
            self.with_changes(changes)  # which says what does not go together
        return self


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

    @model_validator(mode="after")
    def _certificates_by_name(self) -> Endpoints:
        aliases = self._aliases()
        named = {name: each.authenticate.certificates_from for name, each in self.est.items()}
        named |= {name: each.certificates_from for name, each in self.scep.items()}
        for name, others in named.items():
            for alias in aliases.keys() & others:
                main = aliases[alias]
                raise ValueError(
                    f"{name}: certificates_from: {alias} is an alias; what it issues is {main}'s: write that"
                )
        return self

    def _aliases(self) -> Mapping[EndpointName, EndpointName]:
        return {alias: name for name, endpoint in self.est.items() for alias in endpoint.aliases}

    def main(self, name: EndpointName) -> EndpointName:
        """Return what policies and records call an endpoint: of an alias, the service that it is one of."""
        return self._aliases().get(name, name)

    def all(self) -> Mapping[EndpointName, EstEndpointConfig | ScepEndpointConfig | AcmeEndpointConfig]:
        """Return the endpoints of all protocols."""
        return {**self.est, **self.scep, **self.acme}
