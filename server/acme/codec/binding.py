"""The external account binding of newAccount: a JWS with a MAC, around the account's key (RFC 8555 section 7.3.4)."""

from __future__ import annotations

from server.acme.codec.encodings import decode_base64url, malformed, read_object
from server.acme.messages import Binding

MAC_ALGORITHMS = ("HS256", "HS384", "HS512")

_MEMBERS = {"protected", "payload", "signature"}
_HEADER = {"alg", "kid", "url"}
_LIMIT = 16384


def decode_binding(value: object) -> Binding:
    """Return the binding, MAC not verified.

    Raises Rejected: malformed, when it is not a flattened JWS whose protected header has a MAC algorithm, kid and url,
    and neither nonce, jwk, crit nor b64.
    """
    if not isinstance(value, dict) or value.keys() != _MEMBERS or not all(isinstance(v, str) for v in value.values()):
        raise malformed("externalAccountBinding must have exactly the members protected, payload and signature")
    if sum(map(len, value.values())) > _LIMIT:
        raise malformed("externalAccountBinding is too long")
    what = "the protected header of externalAccountBinding"
    header = read_object(decode_base64url(value["protected"], what), what)
    if not header.keys() >= _HEADER or not all(isinstance(header[name], str) for name in _HEADER):
        raise malformed(f"{what} must have alg, kid and url")
    if not {"nonce", "jwk", "crit", "b64"}.isdisjoint(header):
        raise malformed(f"{what} must not have nonce, jwk, crit or b64")
    if header["alg"] not in MAC_ALGORITHMS:
        raise malformed(f"the algorithm of externalAccountBinding must be one of {', '.join(MAC_ALGORITHMS)}")
    payload = decode_base64url(value["payload"], "the payload of externalAccountBinding")
    return Binding(
        alg=header["alg"],
        kid=header["kid"],
        url=header["url"],
        jwk=read_object(payload, "the payload of externalAccountBinding"),
        signing_input=f"{value['protected']}.{value['payload']}".encode("ascii"),
        mac=decode_base64url(value["signature"], "the signature of externalAccountBinding"),
        members=value,
    )
