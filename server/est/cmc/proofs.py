"""Proofs by a shared secret (RFC 5272 sections 6.2 and 6.3.1.1): the MACs, and whether they hold."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from server.est.cmc.messages import CmcFault, FailInfo
from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from server.est.cmc.messages import CertificationRequest, Witness

_SHORTEST_RANDOM = 64
"""Section 6.3.1.1 recommends 512 bits; less is refused here."""


def identifies(secret: bytes, identification: str, witness: Witness, data: bytes) -> bool:
    """Tell whether an identityProofV2 is over these data, made by who has this name and knows the secret.

    Beside an identification, secret and identification together make the key (section 6.2.3).
    """
    return _holds(secret + identification.encode(), witness, data)


def _holds(secret: bytes, witness: Witness, data: bytes) -> bool:
    made = hmac.digest(witness.hash.digest(secret), data, witness.mac.hash.name)
    return hmac.compare_digest(made, witness.value)


def is_linked(request: CertificationRequest, secret: bytes | None, random: bytes | None) -> bool:
    """Tell whether a request's key was proven by who knows the secret: whether it has a POP link witness that holds.

    Args:
        request: the request.
        secret: of the identity that was proven; None when none was.
        random: popLinkRandom.

    Raises:
        CmcFault: it has one that does not hold or can't be judged.
    """
    if request.link is None:
        return False
    if secret is None:
        raise _not_linked(request, "The POP link witness can't be verified without identityProofV2.")
    if random is None or len(random) < _SHORTEST_RANDOM:
        raise _not_linked(request, "A POP link witness needs a popLinkRandom of 64 octets or more.")
    if not _holds(secret, request.link, random):
        raise _not_linked(request, "The POP link witness does not hold: the request was not made by who sends it.")
    return True


def _not_linked(request: CertificationRequest, message: str) -> CmcFault:
    return CmcFault(FailInfo.POP_FAILED, Problem(Reason.BAD_PROOF, message), (request.part,))
