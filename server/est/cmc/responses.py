"""Full responses, signed (RFC 5272 section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from server.cms.certificates import SIGNED_DATA, content_info
from server.cms.signing import sign_content
from server.est.cmc.codec import encode_response
from server.est.cmc.messages import PKI_RESPONSE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from server.cms.certificates import BagCertificate
    from server.cms.signing import SigningKey
    from server.est.cmc.messages import PkiResponse


@dataclass(frozen=True, slots=True)
class Responder:
    """What responses are signed with.

    Attributes:
        signer: returns the key, and its certificate with those above it; another pair when they were renewed.
        nonce: makes our nonce of a response.
    """

    signer: Callable[[], tuple[SigningKey, Sequence[BagCertificate]]]
    nonce: Callable[[], bytes]

    def seal(self, response: PkiResponse) -> bytes:
        """Return the DER of the response in its ContentInfo, with what was issued and revocation lists in its bags."""
        content = encode_response(replace(response, sender_nonce=self.nonce()))
        key, chain = self.signer()
        signed = sign_content(PKI_RESPONSE, content, key, chain, certificates=response.certificates, crls=response.crls)
        return content_info(SIGNED_DATA, signed)
