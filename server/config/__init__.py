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
from server.config.file import CeilingsConfig, Config, LocalIssuerConfig, load_config
from server.config.listeners import AdminListener, HttpListener, HttpsListener, Limits, Listeners, Log

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
    "KeyFiles",
    "Limits",
    "Listeners",
    "LocalIssuerConfig",
    "Log",
    "ScepEndpointConfig",
    "load_config",
]
