"""The configuration file, ``server.yaml``, read into a frozen `Config`; every error names file, line and column."""

from server.config.endpoints import AcmeEndpointConfig
from server.config.est import Authenticate, EstEndpointConfig, Manufacturer, ServerKeys
from server.config.file import CeilingsConfig, Config, UnavailableNow, load_config
from server.config.hsm import HsmKeyConfig
from server.config.issuers import IssuerConfig, LocalIssuerConfig, Pkcs11IssuerConfig
from server.config.listeners import AdminListener, HttpListener, HttpsListener, Limits, Listeners, Log, ProxiedListener
from server.config.proofs import CaaConfig, Dns01, DnsPersist01, Http01, ProfileProofs, ProofsConfig, TlsAlpn01
from server.config.scep import RaConfig, Rollover, ScepEndpointConfig
from server.config.scep_authorization import Challenge, IntuneConfig, OtpPage, WebhookConfig
from server.config.secret_sources import SecretSource
from server.config.values import Nameserver

__all__ = [
    "AcmeEndpointConfig",
    "AdminListener",
    "Authenticate",
    "CaaConfig",
    "CeilingsConfig",
    "Challenge",
    "Config",
    "Dns01",
    "DnsPersist01",
    "EstEndpointConfig",
    "HsmKeyConfig",
    "Http01",
    "HttpListener",
    "HttpsListener",
    "IntuneConfig",
    "IssuerConfig",
    "Limits",
    "Listeners",
    "LocalIssuerConfig",
    "Log",
    "Manufacturer",
    "Nameserver",
    "OtpPage",
    "Pkcs11IssuerConfig",
    "ProfileProofs",
    "ProofsConfig",
    "ProxiedListener",
    "RaConfig",
    "Rollover",
    "ScepEndpointConfig",
    "SecretSource",
    "ServerKeys",
    "TlsAlpn01",
    "UnavailableNow",
    "WebhookConfig",
    "load_config",
]
