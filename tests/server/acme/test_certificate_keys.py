"""Keys of accounts get no certificates (RFC 8555 section 11.1)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x448
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from server.acme.jws import thumbprint
from server.acme.service.authentication import account_thumbprint
from tests.fakes.acme import Signer, b64, json_bytes, new_key
from tests.server.acme.lab import Client, make_csr

if TYPE_CHECKING:
    from tests.server.acme.lab import Lab


@dataclass
class RsaSigner(Signer):
    """Signs with RS256."""

    rsa: rsa.RSAPrivateKey | None = None

    @property
    def jwk(self) -> dict[str, str]:
        assert self.rsa is not None
        numbers = self.rsa.public_key().public_numbers()
        return {"e": b64(numbers.e.to_bytes(3)), "kty": "RSA", "n": b64(numbers.n.to_bytes(256))}

    def sign(self, payload: bytes, **header: Any) -> dict[str, str]:
        return super().sign(payload, **{"alg": "RS256", **header})

    def sign_raw(self, protected: str, payload: str) -> dict[str, str]:
        assert self.rsa is not None
        signature = self.rsa.sign(f"{protected}.{payload}".encode(), padding.PKCS1v15(), SHA256())
        return {"protected": protected, "payload": payload, "signature": b64(signature)}


def spki(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | x448.X448PublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


async def refuse(client: Client, name: str, key: object) -> None:
    order = await client.ready(name)
    refused = await client.finalize(order, make_csr(name, key=key))
    assert (refused.status, refused.error) == (400, "badCSR")
    assert "key of an account" in refused.body["detail"]
    assert (await client.finalize(order, make_csr(name))).body["status"] == "valid"


async def test_no_account_has_its_key_certified_by_itself_or_by_another_one(lab: Lab) -> None:
    client, other = await lab.client(), await lab.client()
    await refuse(client, "own.localhost", client.signer.key)
    await refuse(client, "other.localhost", other.signer.key)


async def test_an_account_of_another_directory_or_one_that_ended_has_a_key_too(lab: Lab) -> None:
    await lab.serve(lab.endpoint(), lab.endpoint("plant"))
    client, elsewhere = await lab.client(), await lab.client(prefix="/acme/plant")
    await elsewhere.post(str(elsewhere.kid), {"status": "deactivated"})
    await refuse(client, "elsewhere.localhost", elsewhere.signer.key)


async def test_an_rsa_key_of_an_account_is_known_again(lab: Lab) -> None:
    key = rsa.generate_private_key(65537, 2048)
    client = await lab.client()
    await lab.client(signer=RsaSigner(rsa=key))
    await refuse(client, "rsa.localhost", key)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_key_on_a_curve_is_known_as_the_account_that_has_it(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve).public_key()
    size, numbers = (curve.key_size + 7) // 8, key.public_numbers()
    crv = {256: "P-256", 384: "P-384", 521: "P-521"}[curve.key_size]
    x, y = (b64(each.to_bytes(size)) for each in (numbers.x, numbers.y))
    canonical = json_bytes({"crv": crv, "kty": "EC", "x": x, "y": y})
    assert account_thumbprint(key, spki(key)) == thumbprint(canonical) == b64(sha256(canonical).digest())


def test_a_key_is_known_however_its_point_is_written() -> None:
    key = new_key().public_key()
    point = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    found = load_der_public_key(compressed)
    assert account_thumbprint(found, compressed) == account_thumbprint(key, spki(key)) is not None


def test_an_ed25519_key_is_known_and_what_no_account_can_have_is_none() -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    canonical = json_bytes({"crv": "Ed25519", "kty": "OKP", "x": b64(key.public_bytes_raw())})
    assert account_thumbprint(key, spki(key)) == thumbprint(canonical)
    for other in (x448.X448PrivateKey.generate().public_key(), ec.generate_private_key(ec.SECP256K1()).public_key()):
        assert account_thumbprint(other, spki(other)) is None
    assert account_thumbprint(new_key(), b"") is None, "a private key is none"
