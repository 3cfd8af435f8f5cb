"""A small ACME client that can also do everything wrong. It shares no code with the server that it is for."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from email.message import Message

ERROR = "urn:ietf:params:acme:error:"
JOSE = "application/jose+json"
_PATIENCE = 60.0
_CURVES: dict[str, tuple[str, Any]] = {
    "secp256r1": ("P-256", SHA256),
    "secp384r1": ("P-384", SHA384),
    "secp521r1": ("P-521", SHA512),
}
_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}


def b64(octets: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def to_json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class NotOffered(Exception):
    """The server does not have what a test is about, or the test has no means to see it."""


@dataclass(frozen=True)
class Key:
    """An account key."""

    private: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def jwk(self) -> dict[str, str]:
        public = self.private.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            e, n = public.public_numbers().e, public.public_numbers().n
            return {"e": _number(e), "kty": "RSA", "n": _number(n)}
        if isinstance(public, ed25519.Ed25519PublicKey):
            return {"crv": "Ed25519", "kty": "OKP", "x": b64(public.public_bytes_raw())}
        numbers, size = public.public_numbers(), (public.curve.key_size + 7) // 8
        curve = _CURVES[public.curve.name][0]
        return {"crv": curve, "kty": "EC", "x": b64(numbers.x.to_bytes(size)), "y": b64(numbers.y.to_bytes(size))}

    @property
    def alg(self) -> str:
        return {"RSA": "RS256", "OKP": "EdDSA"}.get(self.jwk["kty"]) or _ALGORITHMS[self.jwk["crv"]]

    @property
    def thumbprint(self) -> str:
        return b64(hashlib.sha256(to_json(self.jwk)).digest())

    def signature(self, data: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(data, padding.PKCS1v15(), SHA256())
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(data)
        size = (self.private.curve.key_size + 7) // 8
        digest = _CURVES[self.private.curve.name][1]()
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)

    def sign(self, payload: bytes, header: dict[str, Any]) -> dict[str, str]:
        """Return a flattened JWS; members of the header that are None are left out."""
        protected = b64(to_json({name: value for name, value in header.items() if value is not None}))
        return self.sign_text(protected, b64(payload))

    def sign_text(self, protected: str, payload: str) -> dict[str, str]:
        signature = b64(self.signature(f"{protected}.{payload}".encode()))
        return {"protected": protected, "payload": payload, "signature": signature}


def _number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8))


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The error type without ACME's prefix, empty when this is no problem document."""
        if not self.headers.get_content_type().endswith("problem+json"):
            return ""
        return str(self.json.get("type", "")).removeprefix(ERROR)

    @property
    def location(self) -> str:
        return self.headers["Location"] or ""

    @property
    def nonce(self) -> str:
        return self.headers["Replay-Nonce"] or ""

    def links(self, relation: str) -> list[str]:
        """The targets of the Link headers with this relation."""
        texts = [part for line in self.headers.get_all("Link", []) for part in line.split(",")]
        return [text[text.index("<") + 1 : text.index(">")] for text in texts if f'rel="{relation}"' in text]

    def refused(self, error: str, *statuses: int) -> bool:
        """Whether this is a problem document of the type, with one of the statuses; 400 when none is given."""
        return (self.error, self.status in (statuses or (400,))) == (error, True)


class Http:
    """One kept-alive connection after the other; for one thread."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        self._trust = trust
        self._connections: dict[str, http.client.HTTPSConnection] = {}

    def request(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """Send one request; once again on a new connection when the kept one was closed meanwhile."""
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"User-Agent": "certwright-conformance", **(headers or {})}
        kept = parts.netloc in self._connections
        try:
            return self._once(parts.netloc, method, target, body, sent)
        except (http.client.HTTPException, OSError):
            self.drop(parts.netloc)
            if not kept:
                raise
            return self._once(parts.netloc, method, target, body, sent)

    def _once(self, host: str, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = self._connections.get(host)
        if connection is None:
            connection = http.client.HTTPSConnection(host, timeout=_PATIENCE, context=self._trust)
            self._connections[host] = connection
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def drop(self, host: str) -> None:
        """Close the connection to a host."""
        if connection := self._connections.pop(host, None):
            connection.close()

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


@dataclass
class Client:
    """An ACME client with one key.

    Attributes:
        http: the way to the server.
        directory_url: where the directory is.
        publish: puts a key authorization where http-01 looks for it.
        key: the account key.
        kid: the account's URL once there is one.
    """

    http: Http
    directory_url: str
    publish: Callable[[str, str], None]
    key: Key = field(default_factory=Key)
    kid: str | None = None
    directory: dict[str, Any] = field(default_factory=dict)
    _nonce: str = ""

    def __post_init__(self) -> None:
        if not self.directory:
            self.directory = self.http.request("GET", self.directory_url).json

    def other(self, key: Key | None = None, directory_url: str = "") -> Client:
        """A client with another key, without account."""
        known = {} if directory_url else self.directory
        return Client(self.http, directory_url or self.directory_url, self.publish, key or Key(), directory=known)

    def url(self, resource: str) -> str:
        """A URL of the directory. Raises NotOffered."""
        if resource not in self.directory:
            raise NotOffered(f"the directory has no {resource}")
        return str(self.directory[resource])

    def nonce(self) -> str:
        """A nonce that nobody has used: the last answer's, or a new one."""
        kept, self._nonce = self._nonce, ""
        return kept or self.http.request("HEAD", self.url("newNonce")).nonce

    def jws(self, url: str, payload: object = b"", **header: Any) -> dict[str, str]:
        """A signed message; bytes are the payload as they are, b"" for POST-as-GET. None removes a header member."""
        octets = payload if isinstance(payload, bytes) else to_json(payload)
        identity = {"kid": self.kid} if self.kid else {"jwk": self.key.jwk}
        members = {"alg": self.key.alg, "url": url, **identity, **header}
        if "nonce" not in members:
            members["nonce"] = self.nonce()
        return self.key.sign(octets, members)

    def send(self, url: str, body: object, content_type: str = JOSE, **headers: str) -> Answer:
        """POST a body as it is: bytes, or anything for JSON."""
        octets = body if isinstance(body, bytes) else to_json(body)
        answer = self.http.request("POST", url, octets, {"Content-Type": content_type, **headers})
        self._nonce = answer.nonce
        return answer

    def post(self, url: str, payload: object = b"", **header: Any) -> Answer:
        """Sign and send; badNonce is tried again, as clients must, unless the nonce was given."""
        answer = self.send(url, self.jws(url, payload, **header))
        for _ in range(5):
            if answer.error != "badNonce" or "nonce" in header:
                break
            answer = self.send(url, self.jws(url, payload, **header))
        return answer

    def register(self, **members: Any) -> Answer:
        """Make an account, or find the one that has the key."""
        identity = {"jwk": self.key.jwk, "kid": None}
        answer = self.post(self.url("newAccount"), {"termsOfServiceAgreed": True, **members}, **identity)
        if answer.status in {200, 201}:
            self.kid = answer.location
        return answer

    def order(self, *names: str, **members: Any) -> Answer:
        return self.post(self.url("newOrder"), {"identifiers": identifiers(*names), **members})

    def until(self, url: str, *wanted: str) -> Answer:
        """Read a resource until its status is one of these."""
        end = time.monotonic() + _PATIENCE
        while True:
            answer = self.post(url)
            if answer.json.get("status") in wanted:
                return answer
            assert time.monotonic() < end, f"{url} stays {answer.body!r}"
            time.sleep(0.05)

    def challenge(self, authorization: str, type_: str = "http-01") -> dict[str, Any]:
        """A challenge of an authorization. Raises NotOffered."""
        offered = {each["type"]: each for each in self.post(authorization).json["challenges"]}
        if type_ not in offered:
            raise NotOffered(f"{type_} is not offered")
        return dict(offered[type_])

    def digest(self, challenge: dict[str, Any]) -> str:
        """What the TXT record of a challenge holds."""
        return b64(hashlib.sha256(f"{challenge['token']}.{self.key.thumbprint}".encode()).digest())

    def answer(self, challenge: dict[str, Any], text: str | None = None) -> Answer:
        """Publish the key authorization, or another text, for http-01, and say that it is there."""
        token = challenge["token"]
        self.publish(token, f"{token}.{self.key.thumbprint}" if text is None else text)
        return self.post(challenge["url"], {})

    def authorize(self, order: Answer) -> None:
        for url in order.json["authorizations"]:
            if self.post(url).json["status"] == "pending":
                self.answer(self.challenge(url))
        for url in order.json["authorizations"]:
            assert self.until(url, "valid", "invalid").json["status"] == "valid"

    def ready(self, *names: str, **members: Any) -> Answer:
        """An order that waits for its CSR."""
        order = self.order(*names, **members)
        assert order.status == 201, order.body
        self.authorize(order)
        return order

    def finalize(self, order: Answer, csr: bytes) -> Answer:
        return self.post(order.json["finalize"], {"csr": b64(csr)})

    def issue(self, *names: str, key: Any = None, **members: Any) -> Issued:
        """From newOrder to the certificate."""
        order = self.ready(*names, **members)
        own = key or ec.generate_private_key(ec.SECP256R1())
        finalized = self.finalize(order, make_csr(*names, key=own))
        assert finalized.status == 200, finalized.body
        done = self.until(order.location, "valid", "invalid")
        assert done.json["status"] == "valid", done.body
        chain = self.post(done.json["certificate"])
        return Issued(order.location, done.json, chain, x509.load_pem_x509_certificates(chain.body), own)


@dataclass(frozen=True)
class Issued:
    """What came of an order."""

    url: str
    order: dict[str, Any]
    answer: Answer
    chain: list[x509.Certificate]
    key: Any

    @property
    def certificate(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def certificate_id(self) -> str:
        """The identifier of RFC 9773 section 4.1."""
        authority = self.certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        serial = self.certificate.serial_number
        return f"{b64(authority.value.key_identifier or b'')}.{b64(serial.to_bytes(serial.bit_length() // 8 + 1))}"


def identifiers(*names: str) -> list[dict[str, str]]:
    """DNS names and, where they look so, IP addresses as identifiers."""
    return [{"type": "ip" if _is_address(name) else "dns", "value": name} for name in names]


def _is_address(name: str) -> bool:
    return ":" in name or name.rpartition(".")[2].isdigit()


def make_csr(
    *names: str,
    key: Any = None,
    common_names: Iterable[str] = (),
    extra: Iterable[x509.GeneralName] = (),
    extensions: Iterable[x509.ExtensionType] = (),
) -> bytes:
    """A CSR in DER."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text) for text in common_names])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    general = [*(x509.DNSName(name) for name in names), *extra]
    if general:
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key or ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.DER)
