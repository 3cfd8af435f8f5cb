"""Signatures in attestation statements, by COSE algorithm numbers (RFC 9053)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

from server.acme.challenges.attestation.vocabulary import BadStatement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

ES256, EDDSA, ES384, PS256, RS256 = -7, -8, -35, -37, -257
_RSA_BITS = range(2048, 8193)
_CURVES = {ES256: ("secp256r1", SHA256()), ES384: ("secp384r1", SHA384())}


def verify(algorithm: int, key: CertificatePublicKeyTypes, signature: bytes, data: bytes) -> None:
    """Verify a signature, ECDSA in DER. Raises BadStatement: also when the algorithm is not one for the key."""
    try:
        match key:
            case ec.EllipticCurvePublicKey() if _CURVES.get(algorithm, ("", None))[0] == key.curve.name:
                key.verify(signature, data, ec.ECDSA(_CURVES[algorithm][1]))
            case ed25519.Ed25519PublicKey() if algorithm == EDDSA:
                key.verify(signature, data)
            case rsa.RSAPublicKey() if algorithm in {RS256, PS256} and key.key_size in _RSA_BITS:
                pss = padding.PSS(padding.MGF1(SHA256()), padding.PSS.AUTO)
                key.verify(signature, data, padding.PKCS1v15() if algorithm == RS256 else pss, SHA256())
            case _:
                raise BadStatement("alg is not one that is taken for the key of the attestation certificate")
    except (InvalidSignature, ValueError) as error:
        if isinstance(error, BadStatement):
            raise
        raise BadStatement("the signature of the statement does not verify") from None
