"""A private key on its way to its owner: AsymmetricKeyPackage (RFC 5958) in SignedData, write only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ca import der
from server.cms.signing import SigningKey, sign_content

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.cms.certificates import BagCertificate

KEY_PACKAGE = "2.16.840.1.101.2.1.2.78.5"
"""id-ct-KP-aKeyPackage."""

GeneratorKey = SigningKey


def sign_key_package(pkcs8: bytes, key: GeneratorKey, chain: Sequence[BagCertificate]) -> bytes:
    """Return the DER of SignedData, without ContentInfo, by whoever made the key (RFC 7030 section 4.4.2).

    Args:
        pkcs8: DER of the PrivateKeyInfo.
        key: the signer's key.
        chain: the signer's certificate and those above it.
    """
    return sign_content(KEY_PACKAGE, der.sequence(pkcs8), key, chain)
