"""An ACME client that can also do everything wrong."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def json_bytes(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def jwk_of(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    return {"crv": "P-256", "kty": "EC", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}


@dataclass
class Signer:
    """Signs with ES256; `header` is added to, or replaces, what stands in each protected header; None removes."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    @property
    def jwk(self) -> dict[str, str]:
        return jwk_of(self.key)

    @property
    def thumbprint(self) -> str:
        return b64(sha256(json_bytes(self.jwk)).digest())

    def sign(self, payload: bytes, **header: Any) -> dict[str, str]:
        members = {"alg": "ES256", **header}
        protected = b64(json_bytes({name: value for name, value in members.items() if value is not None}))
        return self.sign_raw(protected, b64(payload))

    def sign_raw(self, protected: str, payload: str) -> dict[str, str]:
        r, s = decode_dss_signature(self.key.sign(f"{protected}.{payload}".encode(), ec.ECDSA(SHA256())))
        return {"protected": protected, "payload": payload, "signature": b64(r.to_bytes(32) + s.to_bytes(32))}
