"""The TLS certificate of the https listener: read from files, read anew when they change, renewed before it ends.

A renewal comes through the one door like everybody's certificate; where its files are is said in `server.successors`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from policies.document import DocumentErrors
from server.rounds import WATCH_SECONDS, when_changed
from server.tls import TlsConfigurationError, make_context

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from OpenSSL import SSL

    from server.successors import Successors

TlsKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_log = structlog.get_logger("server.app")


@dataclass(frozen=True, slots=True)
class Served:
    """What the https listener shows: its certificate with those above it, and the TLS settings."""

    chain: tuple[x509.Certificate, ...]
    key: TlsKey
    context: SSL.Context

    @classmethod
    def of(cls, certificate_pem: bytes, key_pem: bytes, passphrase: bytes | None, names: tuple[str, str]) -> Served:
        """Read a pair; `names` are those of certificate and key for messages. Raises TlsConfigurationError."""
        try:
            chain = tuple(x509.load_pem_x509_certificates(certificate_pem))
        except ValueError as error:
            raise TlsConfigurationError(f"{names[0]} holds no PEM certificate") from error
        try:
            key = load_pem_private_key(key_pem, passphrase)
        except (ValueError, TypeError) as error:
            wrong = "passphrase_file holds another passphrase, or" if passphrase else "it is encrypted, or"
            raise TlsConfigurationError(f"{names[1]} can't be opened: {wrong} it is no PEM private key") from error
        if not isinstance(key, TlsKey):
            raise TlsConfigurationError(f"{names[1]} must be an RSA or EC key")
        return cls(chain, key, make_context(chain, key))


class TlsFolder:
    """The pairs that the server has got itself.

    Args:
        pairs: where they are.
    """

    def __init__(self, pairs: Successors) -> None:
        self.folder = pairs.folder
        self._pairs = pairs

    def newest(self, served: Served) -> Served:
        """Return the last pair of those that follow one another. Raises TlsConfigurationError for a bad one."""
        while True:
            certificate, key = self._pairs.paths(served.chain[0])
            try:
                if not certificate.exists():
                    return served
                pems = certificate.read_bytes(), key.read_bytes()
            except OSError as error:
                raise TlsConfigurationError(f"{certificate} or its key can't be read: {error.strerror}") from error
            served = Served.of(*pems, self._pairs.passphrase, (str(certificate), str(key)))

    def key(self, served: Served) -> TlsKey:
        """Return the key for the pair to follow; the first process that asks makes it. Raises OSError, ValueError."""
        # It was made like the old one.
        return cast("TlsKey", self._pairs.key(served.chain[0], lambda: _alike(served.key)))

    def keep(self, served: Served, chain: Sequence[x509.Certificate]) -> None:
        """Keep the certificate that follows with those above it; from then on it is found. Raises OSError."""
        self._pairs.keep(served.chain[0], chain)


def _alike(key: TlsKey) -> TlsKey:
    if isinstance(key, rsa.RSAPrivateKey):
        return rsa.generate_private_key(public_exponent=65537, key_size=max(2048, key.key_size))
    return ec.generate_private_key(key.curve)


def request_for(served: Served, key: TlsKey) -> bytes:
    """Return the DER of a request for what a certificate says, with another key."""
    old = served.chain[0]
    builder = x509.CertificateSigningRequestBuilder(old.subject)
    try:
        san = old.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        builder = builder.add_extension(san.value, critical=san.critical)
    except x509.ExtensionNotFound:
        pass
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


class LiveTls:
    """The pair in force.

    Args:
        load: reads the newest pair; raises TlsConfigurationError and DocumentErrors.
        look: returns what changes when a file does. Raises nothing.
    """

    def __init__(self, load: Callable[[], Served], look: Callable[[], Hashable]) -> None:
        self._load = load
        self._look = look
        self._seen = look()
        self._fault = ""
        self.served = load()

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The certificate and those above it."""
        return self.served.chain

    @property
    def state(self) -> str:
        """``ok``, or ``ok`` with what is wrong with newer files: with these, the server would not start again."""
        return f"ok, but the last good certificate is in force: {self._fault}" if self._fault else "ok"

    def context(self) -> SSL.Context:
        """Return the TLS settings for a new connection; those that are open keep theirs."""
        return self.served.context

    async def begin(self) -> None:
        """Take what has changed since the server's start, before this process answers: it may follow one that died."""
        if self._look() != self._seen:
            await self.reload()

    async def reload(self) -> bool:
        """Read the files anew, and return whether they changed; when something is wrong, the pair in force stays."""
        seen = self._look()
        try:
            fresh = await asyncio.to_thread(self._load)
        except (TlsConfigurationError, DocumentErrors) as error:
            _log.error("TLS certificate not taken: the last good one stays in force", cause=str(error))
            self._seen, self._fault = seen, str(error)
            return False
        if self._fault:
            _log.warning("TLS files are good again")
        self._seen, self._fault = seen, ""
        if fresh.chain == self.served.chain:
            return False
        self.served = fresh
        until = fresh.chain[0].not_valid_after_utc.isoformat()
        _log.warning("TLS certificate taken", serial=format(fresh.chain[0].serial_number, "x"), until=until)
        return True

    async def watch(self, seconds: float = WATCH_SECONDS) -> None:
        """Reload whenever files have changed and stayed as they are for a while; until cancelled."""
        await when_changed(self._look, lambda: self._seen, self.reload, seconds, "tls_files_not_watched")
