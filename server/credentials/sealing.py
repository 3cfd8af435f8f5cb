"""Secrets that a protocol needs in plain, encrypted at rest: who has the database alone has none of them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


class Unsealable(Exception):
    """What is sealed was sealed with another key, for another identifier, or has changed since."""


class Sealer:
    """Seals and opens secrets: AES-256-GCM, bound to the identifier that each is kept under.

    Args:
        key: 32 random bytes, from a file of its own that the database does not know.
        nonce: gives that many unpredictable bytes.

    Raises:
        ValueError: the key is not of 32 bytes.
    """

    def __init__(self, key: bytes, nonce: Callable[[int], bytes] = secrets.token_bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key must be of {KEY_BYTES} bytes, not {len(key)}")
        self._aead = AESGCM(key)
        self._nonce = nonce

    def seal(self, secret: bytes, identifier: str) -> bytes:
        """Return the secret encrypted."""
        nonce = self._nonce(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, secret, identifier.encode())

    def open(self, sealed: bytes, identifier: str) -> bytes:
        """Return the secret. Raises Unsealable."""
        nonce, text = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION or len(nonce) != _NONCE_BYTES:
                raise Unsealable("sealed in a way that is not known here")
            return self._aead.decrypt(nonce, text, identifier.encode())
        except InvalidTag as error:
            raise Unsealable("sealed with another key, or changed since") from error


def parse_key(text: str) -> bytes:
    """Return the key that stands in a key file as 64 hexadecimal digits. Raises ValueError with the way out."""
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("must hold 64 hexadecimal digits; openssl rand -hex 32 makes them")
    return key
