"""GetCert and GetCRL (RFC 8894 sections 3.3.4 and 3.3.5): certificates and revocation lists for whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509

from server.scep.codec import Malformed, read_issuer_and_serial
from server.scep.messages import Found
from server.scep.problems import STORE_UNAVAILABLE, UNKNOWN_CERTIFICATE, UNKNOWN_CRL, UNREADABLE, Rejected
from server.store.certificates import find_by_serial
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.request import EndpointName
    from server.store import Store

CurrentCrl: TypeAlias = Callable[[], bytes | None]
"""Returns the newest revocation list of the endpoint's issuer, DER; None when there is none."""


class Lookups:
    """Looks up what one endpoint may show.

    Args:
        store: the record of what was issued.
        endpoints: the endpoints whose certificates are shown.
        chain: returns the issuing CA's certificate and those above it.
        current_crl: gives the revocation list; None: there are none.
    """

    def __init__(
        self,
        store: Store,
        endpoints: Sequence[EndpointName],
        chain: Callable[[], tuple[x509.Certificate, ...]],
        current_crl: CurrentCrl | None,
    ) -> None:
        self._store = store
        self._endpoints = frozenset(endpoints)
        self._chain = chain
        self._current_crl = current_crl

    async def certificate(self, content: bytes) -> Found:
        """Return the certificate with this IssuerAndSerialNumber. Raises Rejected."""
        issuer, serial = _read(content)
        try:
            stored = await self._store.read(lambda connection: find_by_serial(connection, serial))
        except StoreUnavailable as error:
            raise Rejected(replace(STORE_UNAVAILABLE, detail=str(error))) from error
        if stored is None or stored.endpoint not in self._endpoints:
            raise Rejected(UNKNOWN_CERTIFICATE)
        if x509.load_der_x509_certificate(stored.der).issuer.public_bytes() != issuer:
            raise Rejected(UNKNOWN_CERTIFICATE)
        return Found(certificates=(stored.der,))

    async def crl(self, content: bytes) -> Found:
        """Return the revocation list of the issuer of this IssuerAndSerialNumber. Raises Rejected."""
        issuer, _serial = _read(content)
        crl = None
        if self._current_crl is not None and issuer == self._chain()[0].subject.public_bytes():
            crl = self._current_crl()
        if crl is None:
            raise Rejected(UNKNOWN_CRL)
        return Found(crls=(crl,))


def _read(content: bytes) -> tuple[bytes, int]:
    try:
        return read_issuer_and_serial(content)
    except Malformed as error:
        raise Rejected(replace(UNREADABLE, detail=str(error))) from error
