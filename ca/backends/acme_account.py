"""Our account at another ACME server: signed requests with nonces (RFC 8555 sections 6 and 7.3)."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ca.issuer import IssuerRefused, IssuerUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ca.backends.http_client import Answer, HttpClient

_TRIES = 10
_TEMPORARY = frozenset({"rateLimited", "serverInternal", "badNonce", "orderNotReady"})
_OURS = frozenset({"accountDoesNotExist", "externalAccountRequired", "userActionRequired"})
"""Errors about our account: the requester can't help them."""


def b64(data: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class AcmeRefused(IssuerRefused):
    """A refusal, with the last word of the problem document's type."""

    def __init__(self, said: str, kind: str) -> None:
        super().__init__(said)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class ExternalAccount:
    """What ties our account to one that the CA has given us (RFC 8555 section 7.3.4)."""

    kid: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, kid: str, key: str) -> ExternalAccount:
        """Read the key from base64url, as CAs hand it out. Raises ValueError."""
        return cls(kid, urlsafe_b64decode(key + "=" * (-len(key) % 4)))


@dataclass(slots=True)
class AcmeAccount:
    """Our account.

    Attributes:
        directory_url: the server's directory.
        key: the account's key, P-256.
        client: HTTP.
        contact: URLs like ``mailto:pki@example.com``.
        external: the binding to an account outside of ACME.
    """

    directory_url: str
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    client: HttpClient
    contact: tuple[str, ...] = ()
    external: ExternalAccount | None = None
    _directory: Mapping[str, Any] | None = None
    _kid: str | None = None
    _nonces: list[str] = field(default_factory=list)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key (RFC 7518 section 6.2), its members in the order of RFC 7638."""
        numbers = self.key.public_key().public_numbers()
        return {
            "crv": "P-256",
            "kty": "EC",
            "x": b64(numbers.x.to_bytes(32, "big")),
            "y": b64(numbers.y.to_bytes(32, "big")),
        }

    def key_authorization(self, token: str) -> str:
        """Return what proves that a challenge is answered by this account (RFC 8555 section 8.1)."""
        canonical = json.dumps(self.jwk, separators=(",", ":"), sort_keys=True)
        return f"{token}.{b64(hashlib.sha256(canonical.encode()).digest())}"

    async def place(self, resource: str, payload: Mapping[str, Any]) -> Answer:
        """Post to a resource of the directory."""
        return await self.post((await self._known())[resource], payload)

    async def post(self, url: str, payload: Mapping[str, Any] | None = None) -> Answer:
        """Post with our account, or with None fetch by POST-as-GET (section 6.3).

        Raises:
            IssuerRefused, IssuerUnavailable: by what the problem document says.
        """
        if self._kid is None:
            self._kid = await self._register()
        return await self._signed(url, {"kid": self._kid}, payload)

    async def _known(self) -> Mapping[str, Any]:
        if self._directory is None:
            answer = await self.client.send("GET", self.directory_url)
            answer.require(HTTPStatus.OK, outages=(HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN))
            self._directory = json.loads(answer.body)
        return self._directory

    async def _register(self) -> str:
        """Make our account, or find it: the same key gives the same account (section 7.3.1)."""
        url = (await self._known())["newAccount"]
        payload: dict[str, Any] = {"termsOfServiceAgreed": True, "contact": list(self.contact)}
        if self.external is not None:
            protected = {"alg": "HS256", "kid": self.external.kid, "url": url}
            parts = b64(json.dumps(protected).encode()), b64(json.dumps(self.jwk).encode())
            signature = hmac.digest(self.external.key, ".".join(parts).encode(), "sha256")
            binding = {"protected": parts[0], "payload": parts[1], "signature": b64(signature)}
            payload["externalAccountBinding"] = binding
        try:
            answer = await self._signed(url, {"jwk": self.jwk}, payload)
        except IssuerRefused as error:
            raise IssuerUnavailable(f"our account is not taken: {error}") from error
        return answer.headers["Location"]

    async def _signed(self, url: str, who: Mapping[str, Any], payload: Mapping[str, Any] | None) -> Answer:
        """Send a JWS; a nonce that is not taken any more is replaced (section 6.5)."""
        content = b"" if payload is None else json.dumps(payload).encode()
        for _ in range(_TRIES):
            protected = {"alg": "ES256", "nonce": await self._nonce(), "url": url, **who}
            parts = b64(json.dumps(protected).encode()), b64(content)
            body = {"protected": parts[0], "payload": parts[1], "signature": self._signature(".".join(parts))}
            headers = {"Content-Type": "application/jose+json"}
            answer = await self.client.send("POST", url, json.dumps(body).encode(), headers)
            self._keep_nonce(answer)
            if answer.status < HTTPStatus.BAD_REQUEST:
                return answer
            kind, detail = _problem(answer)
            if kind != "badNonce":
                raise _failure(answer, kind, detail)
        raise IssuerUnavailable("the CA takes none of the nonces that it gives")

    def _signature(self, text: str) -> str:
        r, s = decode_dss_signature(self.key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    async def _nonce(self) -> str:
        if not self._nonces:
            self._keep_nonce(await self.client.send("HEAD", (await self._known())["newNonce"]))
        if not self._nonces:
            raise IssuerUnavailable("the CA gives no nonce")
        return self._nonces.pop()

    def _keep_nonce(self, answer: Answer) -> None:
        nonce = answer.headers.get("Replay-Nonce")
        if nonce is not None and len(self._nonces) < 64:
            self._nonces.append(nonce)


def _problem(answer: Answer) -> tuple[str, str]:
    """Return the last word of a problem document's type, and its detail (section 6.7)."""
    try:
        document = json.loads(answer.body)
        return str(document["type"]).rpartition(":")[2], str(document.get("detail", ""))[:300]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", answer.text


def _failure(answer: Answer, kind: str, detail: str) -> IssuerRefused | IssuerUnavailable:
    said = f"the CA answers {answer.status} {kind}: {detail}"
    passing = kind in _TEMPORARY | _OURS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return IssuerUnavailable(said) if passing else AcmeRefused(said, kind)
