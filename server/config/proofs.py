"""How ACME accounts show control over names: challenges, where they may lead, and CAA."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from policies.document import Strict
from server.config.listeners import PositiveSeconds
from server.config.values import Domain, Network, Port, ProxyUrl, Resolvers

ChallengeName = Literal["http-01", "dns-01", "dns-account-01", "dns-persist-01", "tls-alpn-01", "device-attest-01"]
_PORTS = Annotated[Port, Field(ge=1)]


class EgressProxy(Strict):
    """The way out for validations that may not connect to hosts directly.

    Attributes:
        url: the HTTP proxy, like ``http://proxy.example.com:3128``.
        resolves_names: whether the proxy gets names and looks them up itself, so that addresses can't be judged here;
            otherwise it is asked for tunnels to addresses that were looked up and judged here.
    """

    url: ProxyUrl
    resolves_names: bool = False


class Http01(Strict):
    """How control over a name is validated by HTTP (RFC 8555 section 8.3).

    Attributes:
        port: the port to connect to; 80 is what the RFC says.
        networks: the only addresses to connect to; None: every unicast address, private ones too, but not loopback,
            link-local, reserved ones and the metadata services of clouds.
        forbidden_networks: addresses never to connect to, also where ``networks`` has them.
        resolver: the DNS resolvers, or ``system``.
        tcp: whether the resolvers are asked by TCP only.
        loopback_names: whether names under ``.localhost`` are loopback without asking DNS (RFC 6761 section 6.3).
        timeout_seconds: for one attempt, from the look-up to the last byte.
        proxy: the way out; None to connect directly.
    """

    port: _PORTS = 80
    networks: tuple[Network, ...] | None = None
    forbidden_networks: tuple[Network, ...] = ()
    resolver: Resolvers = ()
    tcp: bool = False
    loopback_names: bool = False
    timeout_seconds: PositiveSeconds = 10
    proxy: EgressProxy | None = None

    @model_validator(mode="after")
    def _judged_somewhere(self) -> Http01:
        if self.proxy is not None and self.proxy.resolves_names and self.networks is not None:
            raise ValueError("networks can't be judged where the proxy resolves names: let the proxy judge them")
        return self


class TlsAlpn01(Http01):
    """How control over a name is validated by TLS (RFC 8737); the settings are those of http-01.

    Attributes:
        port: the port to connect to; 443 is what the RFC says.
    """

    port: _PORTS = 443


class Dns01(Strict):
    """How control over a name is validated by DNS (RFC 8555 section 8.4).

    Attributes:
        resolver: the DNS resolvers, or ``system``.
        port: their port, where none stands with the address.
        tcp: whether they are asked by TCP only, which makes answers harder to forge (RFC 8555 section 11.2).
        timeout_seconds: for one attempt.
    """

    resolver: Resolvers = ()
    port: _PORTS = 53
    tcp: bool = False
    timeout_seconds: PositiveSeconds = 10


class CaaConfig(Dns01):
    """Whether the domain's CAA records allow this CA (RFC 8659, RFC 8657).

    Attributes:
        identities: what CAA records call this CA, shown in the directory; none: CAA records are not looked at.
    """

    identities: tuple[Domain, ...] = ()


def _device_pattern(text: str) -> str:
    if not re.fullmatch(r"(permanent-identifier|hardware-module):.+", text):
        raise ValueError(f'"{text}": write permanent-identifier:PATTERN or hardware-module:PATTERN')
    return text


class DeviceAttestConfig(Strict):
    """How devices attest who they are (draft-ietf-acme-device-attest), each format with the roots pinned for it.

    Attributes:
        identifiers: which devices may ask at all, like ``permanent-identifier:C02*``; a root stands for every device
            that its manufacturer ever made.
        apple: PEM file of roots for Apple's Managed Device Attestation; None, here and below: the format is not taken.
        tpm: for attestation keys of TPM 2.0.
        android_key: for Android's key attestation.
        android_boot: how an Android device must have been started: with what its maker has signed, ``self-signed`` with
            what its owner has, ``any`` also with an unlocked bootloader.
        step: for the format of smallstep's clients, such as for YubiKeys.
    """

    identifiers: Annotated[tuple[Annotated[str, AfterValidator(_device_pattern)], ...], Field(min_length=1)]
    apple: Path | None = None
    tpm: Path | None = None
    android_key: Path | None = None
    android_boot: Literal["verified", "self-signed", "any"] = "verified"
    step: Path | None = None

    def roots(self) -> dict[str, Path]:
        """Return the files by format."""
        files = {"apple": self.apple, "tpm": self.tpm, "android-key": self.android_key, "step": self.step}
        return {name: file for name, file in files.items() if file is not None}

    @model_validator(mode="after")
    def _some_format(self) -> DeviceAttestConfig:
        if not self.roots():
            raise ValueError("no format is taken: name the roots of apple, tpm, android_key or step")
        return self


class DnsPersist01(Dns01):
    """How control over a name is validated by a record that stays in DNS (draft-ietf-acme-dns-persist).

    Attributes:
        identities: what the records call this CA; none: the challenge can't be offered.
    """

    identities: Annotated[tuple[Domain, ...], Field(max_length=10)] = ()


class ProfileProofs(Strict):
    """What is different for orders of one profile; a section stands for the endpoint's whole section.

    Attributes:
        challenges: the challenges that are offered, in this order.
        http01, dns01, dns_persist01, tls_alpn01: how control over a name is validated.
        device_attest: how devices attest who they are.
        caa: what CAA records are judged by.
    """

    challenges: Annotated[tuple[ChallengeName, ...], Field(min_length=1)] | None = None
    http01: Http01 | None = None
    dns01: Dns01 | None = None
    dns_persist01: DnsPersist01 | None = None
    tls_alpn01: TlsAlpn01 | None = None
    device_attest: DeviceAttestConfig | None = None
    caa: CaaConfig | None = None


class ProofsConfig(Strict):
    """How control over names is shown.

    Attributes:
        challenges: the challenges that are offered, in this order; wildcards need one of DNS.
        http01: how control over a name is validated by HTTP.
        dns01: how control over a name is validated by DNS, also for dns-account-01.
        dns_persist01: how control over a name is validated by a record that stays in DNS.
        tls_alpn01: how control over a name is validated by TLS.
        device_attest: how devices attest who they are; None: not at all.
        caa: what CAA records are judged by.
    """

    challenges: Annotated[tuple[ChallengeName, ...], Field(min_length=1)] = ("http-01",)
    http01: Http01 = Http01()
    dns01: Dns01 = Dns01()
    dns_persist01: DnsPersist01 = DnsPersist01()
    tls_alpn01: TlsAlpn01 = TlsAlpn01()
    device_attest: DeviceAttestConfig | None = None
    caa: CaaConfig = CaaConfig()

    @model_validator(mode="after")
    def _attested_somehow(self) -> ProofsConfig:
        if "device-attest-01" in self.challenges and self.device_attest is None:
            raise ValueError("device-attest-01 needs device_attest, with pinned roots and the devices there are")
        return self

    @model_validator(mode="after")
    def _called_somehow(self) -> ProofsConfig:
        if "dns-persist-01" in self.challenges and not self.dns_persist01.identities:
            raise ValueError(
                "dns-persist-01 needs dns_persist01: {identities: [ca.example.com]}, what records call this CA"
            )
        return self

    def with_changes(self, changes: ProfileProofs) -> ProofsConfig:
        """Return these settings as they are for one profile."""
        given = {name: value for name in ProofsConfig.model_fields if (value := getattr(changes, name)) is not None}
        return ProofsConfig(**{**{name: getattr(self, name) for name in ProofsConfig.model_fields}, **given})
