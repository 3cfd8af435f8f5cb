"""What an ACME endpoint is told of its configuration and of the policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from cryptography import x509

from policies.document import DocumentErrors
from server.acme.challenges.caa import caa
from server.acme.challenges.device_attest01 import DeviceAttest01
from server.acme.challenges.dns01 import dns01
from server.acme.challenges.dns_account01 import dns_account01
from server.acme.challenges.dns_persist01 import dns_persist01
from server.acme.challenges.http01 import http01
from server.acme.challenges.tls_alpn01 import tls_alpn01
from server.acme.routes import AcmeProfile, ExternalAccounts, Proofs
from server.acme.service.limits import Rate, RateLimits
from server.acme.service.test_mode import TestMode, hardened
from server.app.secret_sources import Reader
from server.clock import system_clock
from server.credentials import Sealer
from server.credentials.sealing import parse_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from policies.request import EndpointName
    from server.acme.challenges import ChallengeType
    from server.acme.routes import AcmeEndpoint
    from server.app.live_policies import LivePolicies
    from server.config import AcmeEndpointConfig, Config, ProofsConfig
    from server.config.acme import RateConfig, RateLimitsConfig
    from server.config.listeners import Listeners
    from server.config.test_mode import TestModeConfig

    Roots = Callable[[Path], tuple[x509.Certificate, ...]]


def acme_origins(listeners: Listeners, listener: Literal["https", "proxied"]) -> tuple[str, ...]:
    """Return the external URLs under which ACME is reached: those of the listener first, then those of the other.

    An account has a URL below each of them, and CAA records and labels of dns-account-01 name it by any, whoever looks:
    a validation that was begun on one listener may be taken up on the other.
    """
    https, proxied = listeners.https, listeners.proxied
    found = {
        "https": https.origins() if https is not None else (),
        "proxied": proxied.external_urls if proxied is not None else (),
    }
    return tuple(dict.fromkeys((*found.pop(listener), *(url for urls in found.values() for url in urls))))


def acme_profiles(names: tuple[str, ...], policies: LivePolicies) -> Mapping[str, AcmeProfile]:
    """Return what the policies say of the profiles of an endpoint, in the endpoint's order."""
    sections = {name: policies.profiles[name].sections for name in names}
    return {
        name: AcmeProfile(each.description or name, each.renewal.window if each.renewal is not None else None)
        for name, each in sections.items()
    }


def external_accounts(name: EndpointName, config: Config, reader: Reader) -> ExternalAccounts | None:
    """Return what judges external account bindings at an endpoint, None where there are none.

    Raises DocumentErrors: the key file is missing or is none.
    """
    settings = config.endpoints.acme[name].external_accounts
    if settings is None:
        return None
    where = ("endpoints", str(name), "external_accounts", "sealing_key")
    text = reader.secret(where, settings.sealing_key)
    try:
        key = parse_key(text.decode("ascii", "replace"))
    except ValueError as error:
        raise DocumentErrors([config.problem(where, f"sealing_key: {error}")]) from error
    return ExternalAccounts(settings.required, Sealer(key))


def proofs(config: ProofsConfig, roots: Roots) -> Proofs:
    """Return how control over names is shown, as an endpoint or a profile of it says. Raises DocumentErrors."""
    return Proofs(challenges(config, roots), caa(config.caa), config.dns_persist01.identities)


def proofs_by_profile(config: AcmeEndpointConfig, roots: Roots) -> Mapping[str, Proofs]:
    """Return how control over names is shown for orders of profiles where it is different. Raises DocumentErrors."""
    return {name: proofs(config.with_changes(changes), roots) for name, changes in config.by_profile.items()}


def roots_of(name: EndpointName, config: Config) -> Roots:
    """Return what reads the roots that an endpoint pins for attestations; it raises DocumentErrors."""
    where = ("endpoints", str(name), "device_attest")

    def read(file: Path) -> tuple[x509.Certificate, ...]:
        octets = Reader(config).file(where, file)
        try:
            return tuple(x509.load_pem_x509_certificates(octets))
        except ValueError as error:
            raise DocumentErrors([config.problem(where, f"{file} holds no PEM certificates")]) from error

    return read


def hard_for_clients(endpoint: AcmeEndpoint, mode: TestModeConfig | None) -> AcmeEndpoint:
    """Return the endpoint as it is, or in test mode."""
    if mode is None:
        return endpoint
    chosen = TestMode(mode.refuse_nonces, mode.odd_directory, mode.slow_validation, mode.slow_finalize)
    return hardened(endpoint, chosen)


def rate_limits(config: RateLimitsConfig) -> RateLimits:
    """Return what is limited at an endpoint."""
    return RateLimits(
        accounts_per_address=_rate(config.accounts_per_address),
        orders_per_account=_rate(config.orders_per_account),
        orders_per_address=_rate(config.orders_per_address),
        orders_per_name=_rate(config.orders_per_name),
        failures_per_name=_rate(config.failures_per_name),
        pause_after=config.pause_after,
        help=config.help or "",
    )


def _rate(rate: RateConfig | None) -> Rate | None:
    return None if rate is None else Rate(rate.count, rate.period)


def challenges(config: ProofsConfig, roots: Roots) -> tuple[ChallengeType, ...]:
    """Return the challenges that are offered, in their order, each once. Raises DocumentErrors."""
    made: dict[str, ChallengeType] = {
        "http-01": http01(config.http01),
        "dns-01": dns01(config.dns01),
        "dns-account-01": dns_account01(config.dns01),
        "dns-persist-01": dns_persist01(config.dns_persist01, lambda: system_clock().timestamp()),
        "tls-alpn-01": tls_alpn01(config.tls_alpn01),
    }
    if config.device_attest is not None:
        pinned = {format_: roots(file) for format_, file in config.device_attest.roots().items()}
        made["device-attest-01"] = DeviceAttest01(
            pinned, config.device_attest.identifiers, android_boot=config.device_attest.android_boot
        )
    return tuple(made[type_] for type_ in dict.fromkeys(config.challenges))
