"""The HSMs of the configuration: one signer process for each token, whoever has a key in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from ca.backends.hsm import HsmRsaKey, SignerProcess, Token, generate_hsm_key, hsm_key
from ca.issuer import IssuerConfigurationError, IssuerUnavailable
from policies.document import DocumentErrors
from server.scep.ra import RaConfigurationError, RaKey

if TYPE_CHECKING:
    from ca.backends.hsm import HsmEcKey
    from server.app.secret_sources import KeyPath, Reader
    from server.config import HsmKeyConfig

__all__ = ["HsmRsaKey", "Hsms", "SignerProcess", "Token", "generate_hsm_key", "hsm_key", "load_hsm_ra_key"]


class Hsms:
    """Finds keys in HSMs."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._signers: dict[tuple[str, str], SignerProcess] = {}

    def key(self, path: KeyPath, settings: HsmKeyConfig) -> HsmRsaKey | HsmEcKey:
        """Return the key that is configured at `path`.

        Raises:
            DocumentErrors: the PIN is not where the configuration says or is wrong, there is no such token or key, or
                the HSM does not answer; each at the word of the configuration that is to be mended.
        """
        which = str(settings.module), settings.token
        if which not in self._signers:
            pin = self._reader.secret((*path, "pin"), settings.pin).decode(errors="replace")
            token = Token(settings.module, settings.token, pin)
            self._signers[which] = SignerProcess(token, timeout=settings.timeout_seconds)
        signer = self._signers[which]
        try:
            return hsm_key(signer, settings.key)
        except IssuerUnavailable as error:
            raise DocumentErrors([self._reader.problem((*path, "module"), str(error))]) from error
        except IssuerConfigurationError as error:
            word, way_out = _mending(str(error), settings)
            raise DocumentErrors([self._reader.problem((*path, word), f"{error}; {way_out}")]) from error
        finally:
            signer.release()  # each process that serves gets its own


def _mending(said: str, settings: HsmKeyConfig) -> tuple[str, str]:
    """Return which word of the configuration is to be mended after what the HSM said, and how."""
    look = f"certwright ca hsm list --module {settings.module}"
    if "Pin" in said:
        return "pin", f"write the right PIN for token {settings.token}: after some wrong ones it locks itself"
    if "Token" in said:
        return "token", f"see which there are: {look}"
    return "key", f"see which there are: {look} --token {settings.token}"


def load_hsm_ra_key(certificate_pem: bytes, key: HsmRsaKey | HsmEcKey) -> RaKey:
    """Return the RA whose key is in an HSM. Raises RaConfigurationError."""
    if not isinstance(key, HsmRsaKey):
        raise RaConfigurationError("the RA key must be RSA: clients encrypt to it (RFC 8894 section 3.1)")
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise RaConfigurationError("the RA certificate is not a PEM certificate") from error
    return RaKey(certificate, key, key.signer.executor)
