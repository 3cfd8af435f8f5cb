"""What fullcmc is told of the configuration: what responses are signed with, and what opens shared secrets."""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ca import der
from policies.document import DocumentErrors
from server.app.secret_sources import Reader
from server.cms.certificates import BagCertificate, read_bag_certificate
from server.cms.signing import SigningKey
from server.credentials import Sealer
from server.credentials.sealing import parse_key
from server.est.routes import Responder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from policies.request import EndpointName
    from server.app.live_tls import LiveTls, Served
    from server.app.secret_sources import KeyPath
    from server.config import Config
    from server.config.est import CmcSigner

_NONCE_OCTETS = 16


Pair = tuple[SigningKey, tuple[BagCertificate, ...]]


def responder(name: EndpointName, config: Config, tls: LiveTls | None) -> Responder | None:
    """Return what signs the responses of fullcmc at an endpoint, None where it is not served.

    Args:
        name: the endpoint.
        config: the configuration.
        tls: the pair of the https listener, which signs where no other is named; None without that listener.

    Raises:
        DocumentErrors: a file is missing or is none, or there is no https listener to sign with.
    """
    settings = config.endpoints.est[name].fullcmc
    if settings is None:
        return None
    here: KeyPath = ("endpoints", str(name), "fullcmc")
    if settings.signer is not None:
        pair = read_signer(settings.signer, (*here, "signer"), config)
        return Responder(lambda: pair, _nonce)
    if tls is None:
        message = "fullcmc needs a signer, or the https listener, whose key signs responses"
        raise DocumentErrors([config.problem(here, message)])

    return Responder(live_pair(tls), _nonce)


def live_pair(tls: LiveTls) -> Callable[[], Pair]:
    """Return what returns the pair that the https listener shows now."""

    @lru_cache(maxsize=1)
    def read(served: Served) -> Pair:
        return served.key, _bag(served.chain)

    return lambda: read(tls.served)


def read_signer(named: CmcSigner, where: KeyPath, config: Config) -> Pair:
    """Return the key that is named for responses, with its certificates. Raises DocumentErrors."""
    reader = Reader(config)
    passphrase = b""
    if named.passphrase_file is not None:
        passphrase = reader.file((*where, "passphrase_file"), named.passphrase_file).rstrip(b"\r\n")
    certificates, octets = (
        reader.file((*where, key), file) for key, file in (("certificate", named.certificate), ("key", named.key))
    )
    try:
        chain = x509.load_pem_x509_certificates(certificates)
        key = load_pem_private_key(octets, passphrase or None)
    except (ValueError, TypeError) as error:
        message = "certificate, key and passphrase_file do not open: they must be PEM, and the passphrase right"
        raise DocumentErrors([config.problem(where, message)]) from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        message = "the key that signs responses of fullcmc must be an RSA or EC key"
        raise DocumentErrors([config.problem(where, message)])
    if key.public_key() != chain[0].public_key():
        raise DocumentErrors([config.problem(where, "the first certificate is not that of the key")])
    return key, _bag(chain)


def _bag(chain: Sequence[x509.Certificate]) -> tuple[BagCertificate, ...]:
    return tuple(read_bag_certificate(der.read(one.public_bytes(Encoding.DER))) for one in chain)


def _nonce() -> bytes:
    return secrets.token_bytes(_NONCE_OCTETS)


def shared_secrets(name: EndpointName, config: Config, reader: Reader) -> Sealer | None:
    """Return what seals and opens the shared secrets of an endpoint, None where there are none.

    Raises DocumentErrors: the key file is missing or is none.
    """
    settings = config.endpoints.est[name].fullcmc
    if settings is None or settings.sealing_key is None:
        return None
    where = ("endpoints", str(name), "fullcmc", "sealing_key")
    text = reader.secret(where, settings.sealing_key)
    try:
        key = parse_key(text.decode("ascii", "replace"))
    except ValueError as error:
        raise DocumentErrors([config.problem(where, f"sealing_key: {error}")]) from error
    return Sealer(key)
