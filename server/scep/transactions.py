"""What makes two requests the same, and whose a request is."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from server.cms.certificates import key_digest

if TYPE_CHECKING:
    from ca.csr import Csr
    from policies.request import EndpointName, Renewed
    from server.scep.gate import Authentic

_SUBJECT_KEY_IDENTIFIER = "2.5.29.14"


def signer_of(authentic: Authentic) -> str:
    """Return what the key of a message's signer is known by on record: a poll must be signed with the same."""
    return key_digest(authentic.signer.spki)


def idempotency_key(
    endpoint: EndpointName, transaction: str, authentic: Authentic, csr: Csr, renewed: Renewed | None
) -> str:
    """Return what must be issued once: endpoint, transaction, signer's key, initial or renewal of N, what is asked.

    Many clients make the transactionID from their key alone, so that a renewal with the same key and even the same
    octets has the same one: without "renewal of N" it would get the old certificate again. The self-signed
    certificate, the challenge, the subject key identifier (certmonger: random) and the signature are left out: clients
    make them anew for each retry.
    """
    signer = signer_of(authentic)
    occasion = f"renewal:{renewed.serial:x}" if renewed else "initial"
    # Tuples of plain values: to write dataclasses takes several times as long.
    subject = [[(attribute.oid, attribute.value) for attribute in rdn] for rdn in csr.subject.rdns]
    others = [each for each in csr.extensions if each.oid != _SUBJECT_KEY_IDENTIFIER]
    extensions = [(each.oid, each.critical, each.value) for each in others]
    asked = sha256(repr((subject, key_digest(csr.spki), extensions)).encode()).hexdigest()
    return f"{endpoint} {signer} {occasion} {asked} {transaction}"
