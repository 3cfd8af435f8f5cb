"""What the certificate of a signer proves: one of ours renews itself, one of a listed CA speaks for its names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from server.outcome import Problem
from server.scep.problems import UNREADABLE_SIGNER, Rejected

if TYPE_CHECKING:
    from policies.request import CertificateEvidence, EndpointName
    from server.cms.certificates import BagCertificate
    from server.config import ScepEndpointConfig
    from server.credentials import Credentials, ThirdParty
    from server.scep.gate import Authentic
    from server.store.certificates import StoredCertificate


class Signers:
    """Judges the signers' certificates at one endpoint, whose keys are proven already.

    Args:
        endpoint: the endpoint.
        config: what it takes.
        credentials: knows what was issued, and other parties' CAs.
    """

    def __init__(self, endpoint: EndpointName, config: ScepEndpointConfig, credentials: Credentials) -> None:
        self._endpoint = endpoint
        self._config = config
        self._credentials = credentials

    def claims_to_be_ours(self, signer: BagCertificate) -> bool:
        """Whether it names a CA of ours as its issuer; whether that is so is judged by `own`."""
        return not signer.self_issued and self._credentials.issues_as(signer.issuer)

    async def own(self, signer: BagCertificate) -> tuple[CertificateEvidence, StoredCertificate]:
        """Return what a certificate of ours proves, and the record of it. Raises Rejected."""
        presented = _loaded(signer)
        judged = await self._credentials.certificate(self._endpoint, presented, grace=self._config.renewal_grace)
        if isinstance(judged, Problem):
            raise Rejected(judged)
        return judged

    async def alternate(self, authentic: Authentic) -> ThirdParty | None:
        """Return what one of another party's CA says of the signer, None when it is none. Raises Rejected.

        The alternate certificate of RFC 8894 section 2.3: what another CA issued, where the endpoint lists that CA.
        """
        signer = authentic.signer
        if not self._config.alternate_cas or signer.self_issued or self.claims_to_be_ours(signer):
            return None
        others = (one for one in authentic.message.signed.certificates if one is not signer)
        found = await self._credentials.third_party(self._endpoint, _loaded(signer, *others))
        if isinstance(found, Problem):
            raise Rejected(found)
        return found


def _loaded(*certificates: BagCertificate) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_der_x509_certificate(one.der) for one in certificates)
    except (ValueError, x509.InvalidVersion) as error:
        raise Rejected(UNREADABLE_SIGNER) from error
