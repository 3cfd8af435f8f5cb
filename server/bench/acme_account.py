"""An ACME account: its key, its nonces, and requests signed with them (RFC 8555 section 6)."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from server.bench.connection import Connection, Reply

_FIELD = 32


def base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class Account:
    """An ES256 account key in use.

    Attributes:
        thumbprint: of the key (RFC 7638), the second half of every key authorization.
    """

    def __init__(self, connection: Connection, new_nonce: str) -> None:
        self._connection = connection
        self._new_nonce = new_nonce
        self._nonces: list[str] = []
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        x, y = (base64url(each.to_bytes(_FIELD, "big")) for each in (numbers.x, numbers.y))
        # RFC 7638 section 3: these members, in this order, without blanks
        self._jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        digest = hashes.Hash(hashes.SHA256())
        digest.update(_compact(self._jwk))
        self.thumbprint = base64url(digest.finalize())
        self._identity: Mapping[str, Any] = {"jwk": self._jwk}

    async def register(self, new_account: str) -> None:
        """Make the account. Raises EnrollmentFailed."""
        reply = await self.post(new_account, {"termsOfServiceAgreed": True})
        self._identity = {"kid": reply.headers["location"]}

    async def post(self, url: str, payload: Mapping[str, Any] | None) -> Reply:
        """Send a signed request, None being POST-as-GET. Raises EnrollmentFailed for anything but success."""
        reply = await self._post_once(url, payload)
        if reply.status == HTTPStatus.BAD_REQUEST and b":badNonce" in reply.body:
            reply = await self._post_once(url, payload)  # RFC 8555 section 6.5: with the nonce of the error
        return reply.expect(HTTPStatus.OK, HTTPStatus.CREATED)

    async def _post_once(self, url: str, payload: Mapping[str, Any] | None) -> Reply:
        nonce = self._nonces.pop() if self._nonces else await self._fresh_nonce()
        protected = base64url(_compact({"alg": "ES256", "nonce": nonce, "url": url, **self._identity}))
        content = base64url(_compact(payload)) if payload is not None else ""
        r, s = decode_dss_signature(self._key.sign(f"{protected}.{content}".encode(), ec.ECDSA(hashes.SHA256())))
        signature = base64url(r.to_bytes(_FIELD, "big") + s.to_bytes(_FIELD, "big"))
        body = _compact({"protected": protected, "payload": content, "signature": signature})
        reply = await self._connection.request(
            "POST", url, body=body, headers={"Content-Type": "application/jose+json"}
        )
        if "replay-nonce" in reply.headers:
            self._nonces.append(reply.headers["replay-nonce"])
        return reply

    async def _fresh_nonce(self) -> str:
        reply = await self._connection.request("HEAD", self._new_nonce)
        try:
            return reply.headers["replay-nonce"]
        except KeyError:
            raise EnrollmentFailed("newNonce gave no nonce") from None


def _compact(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("ascii")
