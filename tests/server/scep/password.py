"""The other side of a password: what a client with an EC key does to open a reply (RFC 3211), written on its own."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.ciphers import Cipher as CipherContext
from cryptography.hazmat.primitives.ciphers.modes import CBC, ECB
from cryptography.hazmat.primitives.padding import PKCS7

from ca import der
from server.cms.algorithms import Cipher

CIPHERS = {cipher.oid: cipher for cipher in Cipher}
PBKDF2, PWRI_KEK, HMAC_SHA256 = "1.2.840.113549.1.5.12", "1.2.840.113549.1.9.16.3.9", "1.2.840.113549.2.9"


def algorithm(element: der.Tlv) -> tuple[str, der.Tlv]:
    oid, parameters = der.children(element)
    return der.read_oid(oid.content), parameters


def unwrap(wrapped: bytes, key: bytes, cipher: Cipher, vector: bytes) -> bytes:
    """Return the content key, undoing the two encryptions from the end (RFC 3211 section 2.3.2)."""
    size = cipher.block_octets
    last = CipherContext(cipher.keyed(key), ECB()).decryptor().update(wrapped[-size:])  # noqa: S305 - one block
    chained = bytes(a ^ b for a, b in zip(last, wrapped[-2 * size : -size], strict=True))
    once = CipherContext(cipher.keyed(key), CBC(chained)).decryptor().update(wrapped)
    plain = CipherContext(cipher.keyed(key), CBC(vector)).decryptor().update(once)
    content_key = plain[4 : 4 + plain[0]]
    if any(a ^ b != 0xFF for a, b in zip(plain[1:4], content_key, strict=False)) or len(content_key) != plain[0]:
        raise ValueError("the check does not hold")
    return content_key


def open_with_password(data: bytes, password: str) -> bytes:
    """Return the content of an EnvelopedData whose one recipient is a password."""
    content_info = der.children(der.read(data))
    version, infos, encrypted = der.children(der.children(content_info[1])[0])
    assert der.read_integer(version) == 3
    (info,) = der.children(infos)
    assert info.tag == 0xA3
    number, derivation, wrap, wrapped = der.children(info)
    assert der.read_integer(number) == 0
    kdf, parameters = algorithm(derivation)
    salt, iterations, function = der.children(parameters)
    kek, inner = algorithm(wrap)
    assert (kdf, kek, algorithm(function)[0]) == (PBKDF2, PWRI_KEK, HMAC_SHA256)
    oid, vector = algorithm(inner)
    cipher = CIPHERS[oid]
    rounds = der.read_integer(iterations)
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.content, rounds, cipher.key_octets)
    content_key = unwrap(wrapped.content, key, cipher, vector.content)
    _type, content_algorithm, content = der.children(encrypted)
    oid, content_vector = algorithm(content_algorithm)
    context = CipherContext(CIPHERS[oid].keyed(content_key), CBC(content_vector.content)).decryptor()
    unpadder = PKCS7(CIPHERS[oid].block_octets * 8).unpadder()
    return unpadder.update(context.update(content.content) + context.finalize()) + unpadder.finalize()
