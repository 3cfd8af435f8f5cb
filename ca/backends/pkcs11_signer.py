"""The signer process: the only one that loads an HSM's library, logs in and holds a session.

It is a program of its own (``python -m ca.backends.pkcs11_signer``) that answers one request after the other on its
standard streams and ends with its parent. A library that crashes, hangs or loses its session takes nothing else along:
the parent starts this anew. The PIN comes in the first frame, never in arguments or the environment.

A frame is its length in four octets, then JSON; octets inside are hexadecimal.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial
from typing import IO, TYPE_CHECKING, Any

import pkcs11
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from pkcs11 import MGF, Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters

from ca import der

if TYPE_CHECKING:
    from collections.abc import Callable

FRAME_LIMIT = 1 << 20
_PREFIX = 4

_RSA_SIGN = {
    "sha1": Mechanism.SHA1_RSA_PKCS,
    "sha256": Mechanism.SHA256_RSA_PKCS,
    "sha384": Mechanism.SHA384_RSA_PKCS,
    "sha512": Mechanism.SHA512_RSA_PKCS,
}
_HASHED = {
    "sha1": (Mechanism.SHA_1, MGF.SHA1),
    "sha256": (Mechanism.SHA256, MGF.SHA256),
    "sha384": (Mechanism.SHA384, MGF.SHA384),
    "sha512": (Mechanism.SHA512, MGF.SHA512),
}
_DIGESTS: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_DIGEST_OIDS = {
    "sha256": "2.16.840.1.101.3.4.2.1",
    "sha384": "2.16.840.1.101.3.4.2.2",
    "sha512": "2.16.840.1.101.3.4.2.3",
}
_CURVES = {"P-256": "secp256r1", "P-384": "secp384r1", "P-521": "secp521r1"}
_WRONG = (
    pkcs11.exceptions.PinIncorrect,
    pkcs11.exceptions.PinLocked,
    pkcs11.exceptions.PinInvalid,
    pkcs11.exceptions.PinLenRange,
    pkcs11.exceptions.NoSuchToken,
    pkcs11.exceptions.MultipleTokensReturned,
    pkcs11.exceptions.NoSuchKey,
    pkcs11.exceptions.MultipleObjectsReturned,
)


class Misconfigured(Exception):
    """What was asked for is not there, or the PIN is wrong: asking again does not help."""


def _hash(digest: str, octets: bytes) -> bytes:
    hasher = hashes.Hash(_DIGESTS[digest])
    hasher.update(octets)
    return hasher.finalize()


def write_frame(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    content = json.dumps(message).encode()
    stream.write(len(content).to_bytes(_PREFIX, "big") + content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> dict[str, Any] | None:
    """Return the next message, None when the other side has closed."""
    prefix = stream.read(_PREFIX)
    if len(prefix) < _PREFIX:
        return None
    content = stream.read(min(int.from_bytes(prefix, "big"), FRAME_LIMIT))
    message: dict[str, Any] = json.loads(content)
    return message


class Signer:
    """One session with one token."""

    def __init__(self, module: str, token: str | None, pin: str | None) -> None:
        """Load the library; with a token's label and PIN log in."""
        self._library = pkcs11.lib(module)
        self._session: Any = None
        self._keys: dict[str, Any] = {}
        if token is not None:
            found = self._library.get_token(token_label=token)
            self._session = found.open(rw=True, user_pin=pin) if pin is not None else found.open()

    def tokens(self) -> dict[str, Any]:
        """Return the slots with their tokens, and the labels of keys that can be seen."""
        slots = []
        for slot in self._library.get_slots(token_present=True):
            token = slot.get_token()
            slots.append(
                {
                    "slot": slot.slot_id,
                    "label": token.label,
                    "serial": bytes(token.serial).decode("latin-1").strip("\0 "),
                    "maker": str(token.manufacturer_id),
                    "model": str(token.model),
                }
            )
        keys = []
        if self._session is not None:
            keys = [
                {"label": key.label, "id": bytes(key.id).hex(), "kind": key.key_type.name}
                for key in self._session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})
            ]
        return {"slots": slots, "keys": keys}

    def public_key(self, label: str) -> dict[str, Any]:
        """Return the DER of a key's SubjectPublicKeyInfo."""
        key = self._private(label)
        if key.key_type is KeyType.RSA:
            public = self._session.get_key(label=label, object_class=ObjectClass.PUBLIC_KEY)
            numbers = (int.from_bytes(public[name], "big") for name in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            spki = rsa.RSAPublicNumbers(*numbers).public_key().public_bytes(serialization.Encoding.DER, form)
        elif key.key_type is KeyType.EC:
            public = self._session.get_key(label=label, object_class=ObjectClass.PUBLIC_KEY)
            spki = encode_ec_public_key(public)
        else:
            kind = getattr(key.key_type, "name", key.key_type)
            raise Misconfigured(f"the key {label!r} is neither RSA nor EC but {kind}: HSMs sign with those two here")
        return {"spki": spki.hex()}

    def sign(
        self, label: str, scheme: str, digest: str, data: str, salt: int = 0, *, hashed: bool = False
    ) -> dict[str, Any]:
        """Return a signature: ``pkcs1``, ``pss`` or ``ecdsa`` over data hashed with `digest`, here or before."""
        key, octets = self._private(label), bytes.fromhex(data)
        if scheme == "ecdsa":
            raw = key.sign(octets if hashed else _hash(digest, octets), mechanism=Mechanism.ECDSA)
            half = len(raw) // 2
            numbers = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
            return {"signature": encode_dss_signature(*numbers).hex()}
        if scheme == "pss":
            mechanism = Mechanism.RSA_PKCS_PSS if hashed else getattr(Mechanism, f"{digest.upper()}_RSA_PKCS_PSS")
            parameters = (*_HASHED[digest], salt)
            return {"signature": key.sign(octets, mechanism=mechanism, mechanism_param=parameters).hex()}
        if hashed:
            info = der.sequence(der.sequence(der.oid(_DIGEST_OIDS[digest]), der.null()), der.octet_string(octets))
            return {"signature": key.sign(info, mechanism=Mechanism.RSA_PKCS).hex()}
        return {"signature": key.sign(octets, mechanism=_RSA_SIGN[digest]).hex()}

    def decrypt(self, label: str, data: str, oaep: list[str] | None = None) -> dict[str, Any]:
        """Return the plain text, or ``refused`` when the padding is wrong: which the sender may have wanted."""
        key, octets = self._private(label), bytes.fromhex(data)
        try:
            if oaep is None:
                return {"plain": key.decrypt(octets, mechanism=Mechanism.RSA_PKCS).hex()}
            parameters = (_HASHED[oaep[0]][0], _HASHED[oaep[1]][1], None)
            return {"plain": key.decrypt(octets, mechanism=Mechanism.RSA_PKCS_OAEP, mechanism_param=parameters).hex()}
        except pkcs11.exceptions.PKCS11Error:
            _ = key[Attribute.MODULUS]  # fails when it is the session that is broken
            return {"refused": True}

    def generate(self, label: str, kind: str, identifier: str) -> dict[str, Any]:
        """Make a key pair that can't leave the token: ``P-256``, ``P-384``, ``P-521``, or ``rsa:`` with its bits."""
        if list(self._session.get_objects({Attribute.LABEL: label})):
            raise Misconfigured(f"the token has an object with the label {label!r} already")
        rsa_bits = int(kind[4:]) if kind.startswith("rsa:") else None
        private = {
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.SIGN: True,
            Attribute.DECRYPT: rsa_bits is not None,
        }
        more = {"id": bytes.fromhex(identifier), "label": label, "store": True, "private_template": private}
        if rsa_bits is not None:
            self._session.generate_keypair(KeyType.RSA, rsa_bits, **more)
        else:
            curve = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[kind])}
            self._session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(**more)
        return self.public_key(label)

    def _private(self, label: str) -> Any:
        if label not in self._keys:
            self._keys[label] = self._session.get_key(label=label, object_class=ObjectClass.PRIVATE_KEY)
        return self._keys[label]


def answer(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do one piece of work; what goes wrong becomes ``misconfigured`` or ``broken`` with a text."""
    try:
        return work()
    except Misconfigured as error:
        return {"misconfigured": str(error)}
    except _WRONG as error:
        return {"misconfigured": " ".join(filter(None, (type(error).__name__, str(error))))}
    except Exception as error:  # noqa: BLE001 - whatever the library does, the parent must hear of it
        return {"broken": f"{type(error).__name__} {error}".strip()}


def main() -> None:
    """Serve until the parent closes, or until the session is not to be trusted any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they are for the parent, which finishes what is in flight
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the frames
    requests = sys.stdin.buffer
    opening = read_frame(requests)
    if opening is None:
        return
    made: list[Signer] = []

    def start() -> dict[str, Any]:
        made.append(Signer(**opening))
        return {"ready": True}

    reply = answer(start)
    write_frame(replies, reply)
    while made and "broken" not in reply:
        request = read_frame(requests)
        if request is None:
            return
        reply = answer(partial(getattr(made[0], request.pop("do")), **request))
        write_frame(replies, reply)


if __name__ == "__main__":
    main()
