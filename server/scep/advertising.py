"""What an endpoint says of itself, to anyone: capabilities, the CA's certificates, those of the CA to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from ca.issuer import IssuerError
from server.cms.algorithms import Digest
from server.cms.certificates import degenerate
from server.cms.signing import write_signed
from server.scep.codec import write_capabilities, write_next_ca_attributes
from server.scep.messages import CA_CERTIFICATE, CA_CERTIFICATES, NEXT_CA_CERTIFICATES, TEXT, Answer
from server.scep.problems import not_signed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from server.clock import Clock
    from server.config import ScepEndpointConfig
    from server.scep.keyring import Keyring
    from server.scep.messages import Accepted

_MAX_AGE = 300
"""Seconds for which proxies may keep it: an RA that was renewed serves those who know the one before."""


class Advertising:
    """The unprotected half of SCEP.

    Args:
        config: the switches of the endpoint.
        accepted: the algorithms that it takes.
        keys: its RA.
        chain: returns the issuing CA's certificate and those above it, root last.
        clock: tells the signing time.
    """

    def __init__(
        self,
        config: ScepEndpointConfig,
        accepted: Accepted,
        keys: Keyring,
        chain: Callable[[], tuple[x509.Certificate, ...]],
        clock: Clock,
    ) -> None:
        self._config = config
        self._accepted = accepted
        self._keys = keys
        self._chain = chain
        self._clock = clock

    def capabilities(self) -> Answer:
        """Answer GetCACaps (RFC 8894 section 3.5)."""
        body = write_capabilities(self._accepted, renewal=self._config.renewal)
        return Answer(200, TEXT, body, max_age=_MAX_AGE)

    def ca_certificates(self) -> Answer:
        """Answer GetCACert (RFC 8894 section 4.2): a single certificate by itself, several as certs-only message."""
        encoded = self._chosen(self._keys.current.certificate, self._chain())
        if len(encoded) == 1:
            return Answer(200, CA_CERTIFICATE, encoded[0], max_age=_MAX_AGE)
        return Answer(200, CA_CERTIFICATES, degenerate(encoded), max_age=_MAX_AGE)

    async def next_ca_certificates(self) -> Answer:
        """Answer GetNextCACert (RFC 8894 section 4.7): the CA to come and its RA, signed by the present RA."""
        coming = self._keys.rollover
        if coming is None:
            return Answer(404, TEXT, b"no next CA is announced\n")
        content = degenerate(self._chosen(coming.ra.certificate, coming.chain()))
        digest = Digest.SHA256
        attributes = write_next_ca_attributes(content, digest=digest, now=self._clock())
        try:
            signature = await self._keys.current.sign(attributes, digest)
        except IssuerError as error:
            return not_signed(error)
        signed = write_signed(content, attributes, signature, digest, self._keys.current.addressed)
        return Answer(200, NEXT_CA_CERTIFICATES, signed)

    def _chosen(self, ra: x509.Certificate, chain: tuple[x509.Certificate, ...]) -> list[bytes]:
        chosen = {
            "ra+chain": (ra, *chain),
            "ra+ca": (ra, *chain[:1]),
            "ra-only": (ra,),
            "chain": chain,
            "ca-only": chain[:1],
        }[self._config.ca_certificates]
        return [certificate.public_bytes(Encoding.DER) for certificate in chosen]
