"""The configuration file, ``server.yaml``, read into a frozen `Config`; every error names file, line and column."""

from server.config.endpoints import (
    AcmeEndpointConfig,
    Authenticate,
    Challenge,
    EstEndpointConfig,
    Http01,
    KeyFiles,
    ScepEndpointConfig,
)
from server.config.file import CeilingsConfig, Config, load_config
from server.config.issuers import IssuerConfig, LocalIssuerConfig
from server.config.listeners import AdminListener, HttpListener, HttpsListener, Limits, Listeners, Log
from server.config.secret_sources import SecretSource

__all__ = [
    "AcmeEndpointConfig",
    "AdminListener",
    "Authenticate",
    "CeilingsConfig",
    "Challenge",
    "Config",
    "EstEndpointConfig",
    "Http01",
    "HttpListener",
    "HttpsListener",
    "IssuerConfig",
    "KeyFiles",
    "Limits",
    "Listeners",
    "LocalIssuerConfig",
    "Log",
    "ScepEndpointConfig",
    "SecretSource",
    "load_config",
]
