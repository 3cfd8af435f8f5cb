"""The JWS that every POST carries (RFC 8555 section 6.2): flattened JSON, exactly three members, all protected."""

from __future__ import annotations

from typing import Any

from server.acme.codec.encodings import (
    decode_base64url,
    encode_base64url,
    malformed,
    read_object,
    write_object,
)
from server.acme.messages import ALGORITHMS, ErrorType, Jwk, Jws, ProblemDocument, Rejected, rejected

_MEMBERS = {"protected", "payload", "signature"}
_PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_COORDINATE = {"P-256": 32, "P-384": 48, "P-521": 66}
_HEADER_LIMIT = 16384


def decode_jws(body: bytes) -> Jws:
    """Return the decoded message, signature not verified.

    Raises:
        Rejected: malformed (form, ``crit``, ``b64``, unprotected header, not exactly one of jwk and kid),
            badSignatureAlgorithm with the list of what is taken, badPublicKey.
    """
    return _from_members(read_object(body, "the request body"))


def _from_members(members: dict[str, Any]) -> Jws:
    if members.keys() != _MEMBERS:
        raise malformed("the JWS must have exactly the members protected, payload and signature")
    protected, payload, signature = members["protected"], members["payload"], members["signature"]
    header = _header(decode_base64url(protected, "the protected header"))
    decoded = decode_base64url(payload, "the payload")
    return Jws(
        alg=header["alg"],
        nonce=decode_base64url(header["nonce"], "the nonce") if "nonce" in header else None,
        url=header["url"],
        kid=header.get("kid"),
        jwk=decode_jwk(header["jwk"]) if "jwk" in header else None,
        payload=decoded,
        signing_input=f"{protected}.{payload}".encode("ascii"),
        signature=decode_base64url(signature, "the signature"),
    )


def _header(octets: bytes) -> dict[str, Any]:
    if len(octets) > _HEADER_LIMIT:
        raise malformed("the protected header is too long")
    header = read_object(octets, "the protected header")
    if "crit" in header or "b64" in header:
        raise malformed("the protected header must not have crit or b64")
    alg = header.get("alg")
    if not isinstance(alg, str):
        raise malformed("the protected header has no alg")
    if alg not in ALGORITHMS:
        raise Rejected(
            ProblemDocument(
                ErrorType.BAD_SIGNATURE_ALGORITHM, "the signature algorithm is not accepted", algorithms=ALGORITHMS
            )
        )
    if ("jwk" in header) == ("kid" in header):
        raise malformed("the protected header must have exactly one of jwk and kid")
    if not isinstance(header.get("url"), str):
        raise malformed("the protected header has no url")
    if "kid" in header and not isinstance(header["kid"], str):
        raise malformed("kid in the protected header is not a string")
    return header


def _bad_key(detail: str) -> Rejected:
    return rejected(ErrorType.BAD_PUBLIC_KEY, detail)


def decode_jwk(members: object) -> Jwk:
    """Return the key's public members, with lengths checked for curves (RFC 7518 section 6, RFC 8037 section 2).

    Raises Rejected: badPublicKey for a private or symmetric key, an unknown type or curve, wrong lengths.
    """
    if not isinstance(members, dict):
        raise malformed("jwk is not a JSON object")
    if not _PRIVATE.isdisjoint(members):
        raise _bad_key("the jwk must be a public key and has private or secret members")
    match members.get("kty"), members.get("crv"):
        case "RSA", _:
            return Jwk("RSA", "", decode_base64url(members.get("n"), "n"), decode_base64url(members.get("e"), "e"))
        case "EC", str(crv) if crv in _COORDINATE:
            x, y = (decode_base64url(members.get(name), name) for name in ("x", "y"))
            if len(x) != _COORDINATE[crv] or len(y) != _COORDINATE[crv]:
                raise _bad_key("a coordinate of the jwk has not the length of its curve")
            return Jwk("EC", crv, x, y)
        case "OKP", "Ed25519":
            return Jwk("OKP", "Ed25519", decode_base64url(members.get("x"), "x"), b"")
        case _:
            raise _bad_key("the key type or curve is not accepted")


def encode_jwk(jwk: Jwk) -> bytes:
    """Return the key as RFC 7638 section 3 hashes it: required members in lexical order, no white space.

    Leading zero octets of RSA numbers are dropped, so that one key has one form.
    """
    match jwk.kty:
        case "RSA":
            e, n = (encode_base64url(number.lstrip(b"\0")) for number in (jwk.second, jwk.first))
            return write_object({"e": e, "kty": "RSA", "n": n})
        case "EC":
            x, y = encode_base64url(jwk.first), encode_base64url(jwk.second)
            return write_object({"crv": jwk.crv, "kty": "EC", "x": x, "y": y})
        case _:
            return write_object({"crv": jwk.crv, "kty": "OKP", "x": encode_base64url(jwk.first)})
