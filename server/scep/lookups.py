"""GetCert and GetCRL (RFC 8894 sections 3.3.4 and 4.6): certificates and revocation lists for whoever asks.

What they ask with is so short that an attacker can piece it together from blocks of a recorded envelope, with a block
to be read inside of the serial number: an answer that told nonsense from a certificate that nobody knows would be an
oracle for the padding, and with that for challenge passwords. So nonsense is looked up too, and found as little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from cryptography import x509

from ca import der
from server.scep.codec import Malformed, read_issuer_and_serial
from server.scep.messages import Found
from server.scep.problems import STORE_UNAVAILABLE, UNKNOWN_CERTIFICATE, UNKNOWN_CRL, Rejected
from server.store.certificates import find_by_serial
from server.store.lane import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from policies.request import EndpointName
    from server.store import Store

CurrentCrl: TypeAlias = Callable[[bytes], bytes | None]
"""Returns the newest revocation list, DER, of the issuer with this encoded name; None when there is none."""


class Lookups:
    """Looks up what one endpoint may show.

    Args:
        store: the record of what was issued.
        endpoints: the endpoints whose certificates are shown.
        current_crl: gives revocation lists; None: there are none.
        decoy: DER of any certificate, read in place of those that are not there.

    Attributes:
        have_crls: whether there are revocation lists.
    """

    def __init__(
        self,
        store: Store,
        endpoints: Sequence[EndpointName],
        current_crl: CurrentCrl | None,
        decoy: bytes,
    ) -> None:
        self._store = store
        self._endpoints = frozenset(endpoints)
        self._current_crl = current_crl
        self._decoy = decoy
        self.have_crls = current_crl is not None

    async def certificate(self, content: bytes | None) -> Found:
        """Return the certificate with this IssuerAndSerialNumber; None: it can't be deciphered. Raises Rejected."""
        wanted = _read(content)
        try:
            stored = await self._store.read(lambda connection: find_by_serial(connection, wanted.serial))
        except StoreUnavailable as error:
            raise Rejected(replace(STORE_UNAVAILABLE, detail=str(error))) from error
        issuer = x509.load_der_x509_certificate(self._decoy if stored is None else stored.der).issuer.public_bytes()
        if stored is None or stored.endpoint not in self._endpoints or issuer != wanted.issuer:
            raise Rejected(replace(UNKNOWN_CERTIFICATE, detail=wanted.detail))
        return Found(certificates=(stored.der,))

    async def crl(self, content: bytes | None) -> Found:
        """Return the list of the issuer of this IssuerAndSerialNumber; argument as above. Raises Rejected.

        Of any of our issuers: devices have certificates of the CA before, or of the one to come.
        """
        wanted = _read(content)
        crl = None if self._current_crl is None else self._current_crl(wanted.issuer)
        if crl is None:
            raise Rejected(replace(UNKNOWN_CRL, detail=wanted.detail))
        return Found(crls=(crl,))


class _Wanted(NamedTuple):
    """What was asked for, nobody's when that can't be read; the detail is for administrators."""

    issuer: bytes
    serial: int
    detail: str = ""


_NOBODY = der.sequence(der.sequence(), der.integer(0))


def _read(content: bytes | None) -> _Wanted:
    detail = "the envelope can't be deciphered" if content is None else ""
    try:
        return _Wanted(*read_issuer_and_serial(_NOBODY if content is None else content), detail)
    except Malformed as error:
        return _Wanted(*read_issuer_and_serial(_NOBODY), str(error))  # it takes as long, too
