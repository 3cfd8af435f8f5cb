"""Where the server listens and what one connection and one request may cost."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from policies.document import Strict
from policies.durations import Duration
from server.config.values import Address, HttpsOrigin, LoopbackAddress, Network, Port

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - to be compared with
PositiveInt = Annotated[int, Field(ge=1)]
PositiveSeconds = Annotated[float, Field(gt=0, le=86400)]


class Log(Strict):
    """How events are written, to standard error."""

    format: Literal["readable", "json"] = "readable"
    level: Literal["debug", "info", "warning", "error"] = "info"


class TlsRenewalConfig(Strict):
    """Renewing the listener's certificate by one of our own CAs.

    Attributes:
        issuer: the CA that signs, by its name under ``issuers``.
        folder: where the new certificates and keys go; only the server may write there.
        before: how long before its end a certificate is renewed.
        lifetime: of the new certificates.
    """

    issuer: str
    folder: Path
    before: Duration = Field(default="30d", validate_default=True)
    lifetime: Duration = Field(default="397d", validate_default=True)

    @model_validator(mode="after")
    def _in_time(self) -> TlsRenewalConfig:
        if not self.before or self.lifetime < 2 * self.before:
            raise ValueError("lifetime must be at least twice before, which is longer than nothing")
        return self


class HttpsListener(Strict):
    """EST and ACME, and the SCEP endpoints that say ``https: true``.

    Attributes:
        certificate: PEM, the server's certificate first, then what a client needs up to the root.
        key: PEM of its private key.
        passphrase_file: holds the passphrase of an encrypted key.
        renewal: how the certificate is renewed by the server itself; None: somebody replaces the files in time.
        external_urls: the origins under which clients reach this listener; the first is used where none is known.
    """

    address: Address = "127.0.0.1"
    port: Port = 8443
    certificate: Path
    key: Path
    passphrase_file: Path | None = None
    renewal: TlsRenewalConfig | None = None
    external_urls: tuple[HttpsOrigin, ...] = ()

    def origins(self) -> tuple[str, ...]:
        """Return the external URLs, or the one that follows from address and port."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return self.external_urls or (f"https://{host}:{self.port}",)


class ProxiedListener(Strict):
    """What HttpsListener serves, in plain HTTP behind proxies that end TLS and say who the peer is. For proxies alone.

    Attributes:
        proxies: the only addresses that may connect; whoever comes from there is believed.
        headers: in which form client certificates come: ``rfc9440`` (Client-Cert, Client-Cert-Chain), ``nginx``
            (X-SSL-Client-Cert), ``haproxy`` (X-SSL-Client-DER and others) or ``envoy`` (X-Forwarded-Client-Cert).
            The proxy must remove these fields from what clients send.
        channel_binding: whether tls-unique is taken from HAProxy; it must then refuse clients without Extended Master
            Secret, since it can't tell.
        external_urls: the origins under which clients reach the proxy.
    """

    address: Address = "127.0.0.1"
    port: Port = 8444
    proxies: Annotated[tuple[Network, ...], Field(min_length=1)]
    headers: Literal["rfc9440", "nginx", "haproxy", "envoy"]
    channel_binding: bool = False
    external_urls: Annotated[tuple[HttpsOrigin, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _few(self) -> ProxiedListener:
        if any(network.prefixlen == 0 for network in self.proxies):
            raise ValueError("proxies: name the proxies' addresses; every address would be believed")
        if self.channel_binding and self.headers != "haproxy":
            raise ValueError("channel_binding: only HAProxy passes it on")
        return self


class HttpListener(Strict):
    """SCEP, which protects its own messages."""

    address: Address = "127.0.0.1"
    port: Port = 8080


class AdminListener(Strict):
    """Health with details; loopback only."""

    address: LoopbackAddress = "127.0.0.1"
    port: Port = 8081


class Listeners(Strict):
    """The listeners; what is absent is not opened."""

    https: HttpsListener | None = None
    proxied: ProxiedListener | None = None
    http: HttpListener | None = None
    admin: AdminListener | None = None

    @model_validator(mode="after")
    def _apart(self) -> Listeners:
        opened = [(name, listener) for name, listener in self if listener is not None and listener.port]
        for (name, one), (other, two) in combinations(opened, 2):
            if one.port == two.port and (one.address == two.address or _EVERYWHERE & {one.address, two.address}):
                raise ValueError(f"{name} and {other} have the same port, {one.port}: give each its own")
        return self


class Limits(Strict):
    """What one connection and one request may cost.

    Attributes:
        body_bytes: the longest body.
        header_bytes: the longest request line, and the longest header field.
        connections: simultaneous connections of each listener and worker.
        handshake_seconds: from the TCP connection to the end of the TLS handshake.
        idle_seconds: waiting for a request, or for a reader that takes nothing.
        request_seconds: from the end of a request's header to the end of its body.
        shutdown_seconds: how long requests in flight may take when the server stops.
    """

    body_bytes: PositiveInt = 65536
    header_bytes: PositiveInt = 65536
    connections: PositiveInt = 1000
    handshake_seconds: PositiveSeconds = 10
    idle_seconds: PositiveSeconds = 75
    request_seconds: PositiveSeconds = 30
    shutdown_seconds: PositiveSeconds = 10
