"""CMS messages from outside."""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding

from server.cms.algorithms import MalformedCms, UnsupportedAlgorithm
from server.cms.certificates import degenerate
from server.cms.enveloped import read_envelope
from server.cms.signed import BadSignature, load_signer_key, read_signed, verify
from tests.fuzz.target import KEPT, Target, tolerant
from tests.fuzz.targets.pkix import CERTIFICATES

_CERTIFICATE = CERTIFICATES[0].public_bytes(Encoding.DER)
_RECORDED = KEPT.parent / "scep"
_SIGNED = tuple(path.read_bytes() for path in sorted(_RECORDED.glob("strongswan-*.der")))


def _signed(octets: bytes) -> object:
    """Read a message and everything that is asked of one, and verify it."""
    message = read_signed(octets)
    certificate = message.signer_certificate()
    if certificate is not None:
        verify(message, load_signer_key(certificate.spki))
    return message


def _envelopes(octets: bytes) -> object:
    """Read the envelope inside a signed message, or the octets themselves."""
    try:
        inside = read_signed(octets).content or octets
    except MalformedCms:
        inside = octets
    envelope = read_envelope(inside)
    for each in envelope.recipients:
        each.transport()
    return envelope


TARGETS = (
    Target("cms.signed", tolerant(_signed, MalformedCms, UnsupportedAlgorithm, BadSignature), _SIGNED),
    Target(
        "cms.enveloped",
        tolerant(_envelopes, MalformedCms, UnsupportedAlgorithm),
        (*_SIGNED, degenerate([_CERTIFICATE])),
    ),
)
