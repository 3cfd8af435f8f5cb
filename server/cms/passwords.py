"""Recipients that share a password: PasswordRecipientInfo (RFC 5652 section 6.2.4, RFC 3211), write only.

PBKDF2 makes a key of the password, which wraps the content key by PWRI-KEK: encrypted twice in CBC, so that every bit
depends on every other. Whoever records such a message can try passwords on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

from ca import der

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.cms.algorithms import Cipher

PWRI_KEK = "1.2.840.113549.1.9.16.3.9"
PBKDF2 = "1.2.840.113549.1.5.12"
HMAC_SHA256 = "1.2.840.113549.2.9"
_ITERATIONS = 100_000
_SALT_OCTETS = 16
_CHECK_OCTETS = 3


@dataclass(frozen=True, slots=True)
class Password:
    """A recipient that knows a password.

    Attributes:
        secret: the octets of the password.
        cipher: what wraps the content key.
    """

    secret: bytes = field(repr=False)
    cipher: Cipher

    def info(self, content_key: bytes, random: Callable[[int], bytes]) -> bytes:
        """Return the PasswordRecipientInfo. Takes some 30 ms: that is what deriving a key from a password is for."""
        salt, vector = random(_SALT_OCTETS), random(self.cipher.block_octets)
        key = PBKDF2HMAC(SHA256(), self.cipher.key_octets, salt, _ITERATIONS).derive(self.secret)
        derivation = der.sequence(
            der.octet_string(salt),
            der.integer(_ITERATIONS),
            der.sequence(der.oid(HMAC_SHA256), der.null()),
        )
        wrap = der.sequence(der.oid(self.cipher.oid), der.octet_string(vector))
        info = (
            der.integer(0),
            der.tlv(der.context(0), der.oid(PBKDF2), derivation),
            der.sequence(der.oid(PWRI_KEK), wrap),
            der.octet_string(_wrap(content_key, key, self.cipher, vector, random)),
        )
        return der.tlv(der.context(3), *info)

    version = 3


def _wrap(content_key: bytes, key: bytes, cipher: Cipher, vector: bytes, random: Callable[[int], bytes]) -> bytes:
    """Return the wrapped content key (RFC 3211 section 2.3.1): length, check, key, padding, encrypted twice."""
    check = bytes(octet ^ 0xFF for octet in content_key[:_CHECK_OCTETS])
    block = bytes((len(content_key),)) + check + content_key
    size = max(-(-len(block) // cipher.block_octets), 2) * cipher.block_octets
    block += random(size - len(block))
    for _ in range(2):  # the second time goes on where the first one ended
        context = CipherContext(cipher.keyed(key), CBC(vector)).encryptor()
        block = context.update(block) + context.finalize()
        vector = block[-cipher.block_octets :]
    return block
