"""The JWS layer: what is good in every algorithm, and some sixty ways of being no good (RFC 8555 section 6.2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from server.acme.codec.envelope import decode_jwk, decode_jws, encode_jwk
from server.acme.jws import load_key, to_jwk, verify
from server.acme.messages import ALGORITHMS, Jws, Rejected
from tests.fakes.acme import Signer, b64, json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

URL = "https://acme.test/acme/new-order"
SIGNER = Signer()
RSA = rsa.generate_private_key(65537, 2048)
SMALL_RSA = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
P256 = (1 << 256) - (1 << 224) + (1 << 192) + (1 << 96) - 1


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8))


def rsa_jwk(key: rsa.RSAPrivateKey = RSA, **changes: object) -> dict[str, object]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **changes}


def jwk_of(key: Any) -> dict[str, object]:
    match key:
        case rsa.RSAPrivateKey():
            return rsa_jwk(key)
        case ed25519.Ed25519PrivateKey():
            return {"kty": "OKP", "crv": "Ed25519", "x": b64(key.public_key().public_bytes_raw())}
        case _:
            numbers, size = key.public_key().public_numbers(), (key.key_size + 7) // 8
            crv = {32: "P-256", 48: "P-384", 66: "P-521"}[size]
            return {"kty": "EC", "crv": crv, "x": number(numbers.x, size), "y": number(numbers.y, size)}


def check(body: bytes) -> Jws:
    """Everything that is done with a message that brings its key."""
    message = decode_jws(body)
    assert message.jwk is not None
    verify(message, load_key(message.jwk, encode_jwk(message.jwk)))
    return message


def envelope(protected: bytes, payload: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    head, body = b64(protected), b64(payload)
    return json_bytes({"protected": head, "payload": body, "signature": b64(sign(f"{head}.{body}".encode()))})


def ec_signer(key: ec.EllipticCurvePrivateKey, digest: Any, size: int) -> Callable[[bytes], bytes]:
    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(digest)))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def header(**changes: object) -> bytes:
    members = {"alg": "ES256", "nonce": "AAAA", "url": URL, "jwk": SIGNER.jwk, **changes}
    return json_bytes({name: value for name, value in members.items() if value is not None})


def good(**changes: object) -> dict[str, str]:
    return SIGNER.sign_raw(b64(header(**changes)), b64(b"{}"))


@pytest.mark.parametrize(
    ("alg", "curve", "digest", "size"),
    [
        ("ES256", ec.SECP256R1(), SHA256(), 32),
        ("ES384", ec.SECP384R1(), SHA384(), 48),
        ("ES512", ec.SECP521R1(), SHA512(), 66),
    ],
)
def test_ecdsa_is_verified_with_the_hash_of_its_curve(alg: str, curve: Any, digest: Any, size: int) -> None:
    key = ec.generate_private_key(curve)
    message = check(envelope(header(alg=alg, jwk=jwk_of(key)), b"{}", ec_signer(key, digest, size)))
    assert (message.alg, message.payload, message.url) == (alg, b"{}", URL)


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
def test_ed25519_is_verified_under_both_of_its_names(alg: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert check(envelope(header(alg=alg, jwk=jwk_of(key)), b"", key.sign)).payload == b""


def test_rs256_is_verified() -> None:
    check(
        envelope(header(alg="RS256", jwk=rsa_jwk()), b"{}", lambda data: RSA.sign(data, padding.PKCS1v15(), SHA256()))
    )


@pytest.mark.parametrize(
    "key",
    [
        RSA,
        ed25519.Ed25519PrivateKey.generate(),
        *(ec.derive_private_key(0x5EED, curve()) for curve in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)),
    ],
    ids=["RSA", "Ed25519", "P-256", "P-384", "P-521"],
)
def test_a_key_is_the_same_jwk_in_a_message_and_in_a_certificate(key: Any) -> None:
    """A certificate's key must not be the account's (RFC 8555 section 11.1), and may revoke it (section 7.6)."""
    public = key.public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert to_jwk(public, spki) == decode_jwk(jwk_of(key))


def test_a_key_that_no_account_can_have_is_no_jwk() -> None:
    for key in (ec.generate_private_key(ec.SECP256K1()), ed448.Ed448PrivateKey.generate()):
        public = key.public_key()
        assert to_jwk(public, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)) is None


def test_the_thumbprint_of_an_ed25519_key_is_that_of_rfc_8037() -> None:
    # RFC 8037 appendix A.3
    jwk = decode_jwk({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
    assert load_key(jwk, encode_jwk(jwk)).thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    # RFC 7638 section 3.1
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur"
        "-kEgU8awapJzKnqDKgw"
    )
    jwk = decode_jwk({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"})
    assert load_key(jwk, encode_jwk(jwk)).thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_leading_zeros_of_rsa_numbers_do_not_make_another_key() -> None:
    numbers = RSA.public_key().public_numbers()
    padded = rsa_jwk(n=b64(b"\0" + numbers.n.to_bytes(256)), e=b64(b"\0" + numbers.e.to_bytes(3)))
    assert encode_jwk(decode_jwk(padded)) == encode_jwk(decode_jwk(rsa_jwk()))


def replaced(**members: object) -> bytes:
    envelope_: dict[str, object] = dict(good())
    for name, value in members.items():
        if value is None:
            del envelope_[name]
        else:
            envelope_[name] = value
    return json_bytes(envelope_)


def with_header(**changes: object) -> bytes:
    return json_bytes(good(**changes))


def with_raw_header(text: bytes) -> bytes:
    return json_bytes(SIGNER.sign_raw(b64(text), b64(b"{}")))


def with_signature(change: Callable[[bytes], bytes]) -> bytes:
    made = decode_jws(json_bytes(good()))
    return replaced(signature=b64(change(made.signature)))


def compact() -> bytes:
    made = good()
    return f"{made['protected']}.{made['payload']}.{made['signature']}".encode()


def off_curve() -> dict[str, str]:
    jwk = dict(SIGNER.jwk)
    y = SIGNER.key.public_key().public_numbers().y
    return {**jwk, "y": number((y + 1) % P256, 32)}


@pytest.mark.parametrize(
    ("r", "s"),
    [
        (
            "00b79fd08e2c594cc196b267999c5140e62ae114137eeb4a92cce2f902845c6d",
            "4d116ee375f659d818700040ea0185df80a6a6365b4dfae0b662647b25d5b49e",
        ),
        (
            "cf152701be476e65ef1b464188ad5d738cf388df0b1ffe2893776cb2df9b44fb",
            "00d83039e0299641e9ca4512d9e38201661061844c6a266be092cab5b5e2d063",
        ),
        (
            "005880841451c29469b3f1c44a5bc8027b6ed2658de38e53c91f78bd8e3e71df",
            "000795f0835a854bb26e93eb8b74efb1efb30f94605e1dfa84dbbbf453f28e68",
        ),
    ],
    ids=["r", "s", "both"],
)
def test_an_ecdsa_signature_lacks_leading_zeros_as_apples_do_where_that_is_taken_alone(r: str, s: str) -> None:
    jwk = decode_jwk(jwk_of(ec.derive_private_key(0x5EED, ec.SECP256R1())))
    lenient, strict = load_key(jwk, encode_jwk(jwk), short_signatures=True), load_key(jwk, encode_jwk(jwk))
    short = bytes.fromhex(r.removeprefix("00") + s.removeprefix("00"))
    assert len(short) < 64
    for key in (lenient, strict):
        key.check(bytes.fromhex(r + s), b"data")
        with pytest.raises(InvalidSignature):
            key.check(bytes.fromhex(r + s), b"other data")
    lenient.check(short, b"data")
    with pytest.raises(InvalidSignature):
        strict.check(short, b"data")
    for wrong in (short[:-1], short[:-1] + b"\0", short + bytes(3), bytes(len(short)), b""):
        with pytest.raises(InvalidSignature):
            lenient.check(wrong, b"data")
    with pytest.raises(InvalidSignature):
        lenient.check(short, b"other data")


@pytest.mark.parametrize("key", [RSA, ed25519.Ed25519PrivateKey.generate()], ids=["rsa", "ed25519"])
def test_of_other_keys_nothing_is_taken_that_was_not(key: Any) -> None:
    jwk = to_jwk(key.public_key(), b"")
    assert jwk is not None
    lenient = load_key(jwk, encode_jwk(jwk), short_signatures=True)
    data = b"data"
    signature = key.sign(data, padding.PKCS1v15(), SHA256()) if jwk.kty == "RSA" else key.sign(data)
    lenient.check(signature, data)
    with pytest.raises(InvalidSignature):
        lenient.check(signature[1:], data)


def p384_signed_as_es256() -> bytes:
    key = ec.generate_private_key(ec.SECP384R1())
    return envelope(header(jwk=jwk_of(key)), b"{}", ec_signer(key, SHA256(), 48))


TEXT = json_bytes(good()).decode()
JWK = SIGNER.jwk
X_PADDED = {**JWK, "x": JWK["x"] + "="}


def lengthened(coordinate: str) -> bytes:
    """Another form of the same key would be another thumbprint, and so a second account."""
    point = SIGNER.key.public_key().public_numbers()
    return with_header(jwk={**JWK, coordinate: number(point.x if coordinate == "x" else point.y, 33)})


BAD: dict[str, tuple[bytes, str]] = {
    # The envelope: exactly three members, all strings, flattened (RFC 8555 section 6.2)
    "empty body": (b"", "malformed"),
    "not JSON": (b"hello", "malformed"),
    "not UTF-8": (b'{"protected":"\xff"}', "malformed"),
    "byte order mark": (b"\xef\xbb\xbf" + TEXT.encode(), "malformed"),
    "UTF-16": (TEXT.encode("utf-16"), "malformed"),
    "an array": (f"[{TEXT}]".encode(), "malformed"),
    "null": (b"null", "malformed"),
    "two documents": ((TEXT + TEXT).encode(), "malformed"),
    "nested without end": (b'{"protected":' + b"[" * 50_000, "malformed"),
    "a number of ten thousand digits": (b'{"protected":' + b"9" * 10_000 + b"}", "malformed"),
    "NaN": (b'{"protected":NaN}', "malformed"),
    "repeated payload": ((TEXT[:-1] + ',"payload":""}').encode(), "malformed"),
    "unprotected header": (replaced(header={"kid": "x"}), "malformed"),
    "empty unprotected header": (replaced(header={}), "malformed"),
    "general serialization": (replaced(signatures=[]), "malformed"),
    "compact serialization": (compact(), "malformed"),
    "unknown member": (replaced(extra=""), "malformed"),
    "no payload": (replaced(payload=None), "malformed"),
    "no signature": (replaced(signature=None), "malformed"),
    "no protected": (replaced(protected=None), "malformed"),
    "payload is an object": (replaced(payload={}), "malformed"),
    "payload is null": (b'{"protected":"e30","payload":null,"signature":"AA"}', "malformed"),
    "signature is a number": (replaced(signature=1), "malformed"),
    # base64url without padding, canonical (RFC 7515 section 2, RFC 8555 section 6.1)
    "padded protected": (replaced(protected=good()["protected"] + "="), "malformed"),
    "padded payload": (replaced(payload="e30="), "malformed"),
    "padded signature": (replaced(signature=good()["signature"] + "=="), "malformed"),
    "standard alphabet": (replaced(payload="+/+/"), "malformed"),
    "white space in base64": (replaced(payload="e3 0"), "malformed"),
    "line feed in base64": (replaced(payload="e30\n"), "malformed"),
    "trailing bits": (replaced(payload="e31"), "malformed"),
    "impossible length": (replaced(payload="e30aa"), "malformed"),
    "not ASCII in base64": (replaced(payload="\u0661\u0662\u0663\u0664"), "malformed"),
    # The protected header
    "header is an array": (with_raw_header(b"[]"), "malformed"),
    "header is empty": (with_raw_header(b""), "malformed"),
    "header repeats alg": (with_raw_header(header()[:-1] + b',"alg":"none"}'), "malformed"),
    "header repeats url": (with_raw_header(header()[:-1] + b',"url":"https://evil.test/"}'), "malformed"),
    "header too long": (with_header(extra="x" * 20_000), "malformed"),
    "crit": (with_header(crit=["exp"]), "malformed"),
    "b64": (with_header(b64=False), "malformed"),
    "b64 true": (with_header(b64=True), "malformed"),
    "no alg": (with_header(alg=None), "malformed"),
    "alg is a list": (with_header(alg=["ES256"]), "malformed"),
    "alg none": (with_header(alg="none"), "badSignatureAlgorithm"),
    "alg None": (with_header(alg="None"), "badSignatureAlgorithm"),
    "alg HS256": (with_header(alg="HS256"), "badSignatureAlgorithm"),
    "alg PS256": (with_header(alg="PS256"), "badSignatureAlgorithm"),
    "alg ES256K": (with_header(alg="ES256K"), "badSignatureAlgorithm"),
    "alg RS1": (with_header(alg="RS1"), "badSignatureAlgorithm"),
    "alg in lower case": (with_header(alg="es256"), "badSignatureAlgorithm"),
    "jwk and kid": (with_header(kid="https://acme.test/acme/account/1"), "malformed"),
    "neither jwk nor kid": (with_header(jwk=None), "malformed"),
    "kid is a number": (with_header(jwk=None, kid=1), "malformed"),
    "no url": (with_header(url=None), "malformed"),
    "url is a list": (with_header(url=[URL]), "malformed"),
    "half of a surrogate pair": (with_raw_header(header()[:-1] + b',"x":"\\ud800"}'), "malformed"),
    "nonce is a number": (with_header(nonce=1), "malformed"),
    "nonce is not base64url": (with_header(nonce="a+b="), "malformed"),
    # The key (RFC 7518, RFC 8037)
    "jwk is a string": (with_header(jwk="x"), "malformed"),
    "jwk with d": (with_header(jwk={**JWK, "d": "AA"}), "badPublicKey"),
    **{
        f"jwk of RSA with {each}": (with_header(alg="RS256", jwk=rsa_jwk() | {each: "AA"}), "badPublicKey")
        for each in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")  # RFC 7518 sections 6.3.2 and 6.4.1
    },
    "symmetric key": (with_header(jwk={"kty": "oct", "k": "AAAA"}), "badPublicKey"),
    "no kty": (with_header(jwk={"crv": "P-256"}), "badPublicKey"),
    "kty in lower case": (with_header(jwk={**JWK, "kty": "ec"}), "badPublicKey"),
    "unknown curve": (with_header(jwk={**JWK, "crv": "secp256k1"}), "badPublicKey"),
    "curve is a list": (with_header(jwk={**JWK, "crv": ["P-256"]}), "badPublicKey"),
    "X25519": (with_header(alg="EdDSA", jwk={"kty": "OKP", "crv": "X25519", "x": "A" * 43}), "badPublicKey"),
    "Ed25519 too short": (with_header(alg="EdDSA", jwk={"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}), "badPublicKey"),
    "Ed25519 without x": (with_header(alg="EdDSA", jwk={"kty": "OKP", "crv": "Ed25519"}), "malformed"),
    "coordinate padded": (with_header(jwk=X_PADDED), "malformed"),
    "coordinate too short": (with_header(jwk={**JWK, "x": "AAAA"}), "badPublicKey"),
    "x with a leading zero": (lengthened("x"), "badPublicKey"),
    "y with a leading zero": (lengthened("y"), "badPublicKey"),
    "point at zero": (with_header(jwk={**JWK, "x": b64(bytes(32)), "y": b64(bytes(32))}), "badPublicKey"),
    "point off the curve": (with_header(jwk=off_curve()), "badPublicKey"),
    "RSA with a small factor": (
        with_header(alg="RS256", jwk=rsa_jwk(n=b64((3 * (1 << 2046 | 1)).to_bytes(256)))),
        "badPublicKey",
    ),
    "RSA too small": (with_header(alg="RS256", jwk=rsa_jwk(SMALL_RSA)), "badPublicKey"),
    "RSA too large": (with_header(alg="RS256", jwk=rsa_jwk(n=b64(b"\xff" * 2049))), "badPublicKey"),
    "RSA with an even modulus": (with_header(alg="RS256", jwk=rsa_jwk(n=b64(b"\xfe" * 256))), "badPublicKey"),
    "RSA with exponent 1": (with_header(alg="RS256", jwk=rsa_jwk(e="AQ")), "badPublicKey"),
    "RSA with exponent 4": (with_header(alg="RS256", jwk=rsa_jwk(e="BA")), "badPublicKey"),
    "RSA with an exponent beyond 33 bits": (with_header(alg="RS256", jwk=rsa_jwk(e=number(2**33 + 1))), "badPublicKey"),
    "RSA with a huge exponent": (with_header(alg="RS256", jwk=rsa_jwk(e=b64(b"\x01" * 64))), "badPublicKey"),
    "RSA without exponent": (with_header(alg="RS256", jwk={"kty": "RSA", "n": "AQAB"}), "malformed"),
    "RSA with exponent zero": (with_header(alg="RS256", jwk=rsa_jwk(e="")), "badPublicKey"),
    # The signature, bound to the key
    "EC key says RS256": (with_header(alg="RS256"), "badSignatureAlgorithm"),
    "EC key says EdDSA": (with_header(alg="EdDSA"), "badSignatureAlgorithm"),
    "P-256 key says ES384": (with_header(alg="ES384"), "badSignatureAlgorithm"),
    "P-384 key says ES256": (p384_signed_as_es256(), "badSignatureAlgorithm"),
    "RSA key says ES256": (with_header(jwk=rsa_jwk()), "badSignatureAlgorithm"),
    "RS256 over SHA-1": (
        envelope(
            header(alg="RS256", jwk=rsa_jwk()),
            b"{}",
            lambda data: RSA.sign(data, padding.PKCS1v15(), SHA1()),  # noqa: S303 - that is what must be refused
        ),
        "malformed",
    ),
    "another payload": (replaced(payload=b64(b'{"a":1}')), "malformed"),
    "another header": (replaced(protected=b64(header(nonce="BBBB"))), "malformed"),
    "another key": (with_header(jwk=Signer().jwk), "malformed"),
    "empty signature": (replaced(signature=""), "malformed"),
    "signature of zeros": (with_signature(lambda octets: bytes(len(octets))), "malformed"),
    "r is zero": (with_signature(lambda octets: bytes(32) + octets[32:]), "malformed"),
    "signature short by one": (with_signature(lambda octets: octets[:-1]), "malformed"),
    "signature short by two": (with_signature(lambda octets: octets[1:-1]), "malformed"),
    "signature short by three": (with_signature(lambda octets: octets[:-3]), "malformed"),
    "signature long by one": (with_signature(lambda octets: octets + b"\0"), "malformed"),
    "signature in DER": (replaced(signature=b64(SIGNER.key.sign(b"x", ec.ECDSA(SHA256())))), "malformed"),
}


def test_the_message_that_the_others_are_changed_from_is_good() -> None:
    check(json_bytes(good()))


@pytest.mark.parametrize(("body", "error"), BAD.values(), ids=BAD.keys())
def test_a_bad_message_is_refused_with_its_error(body: bytes, error: str) -> None:
    with pytest.raises(Rejected) as refused:
        check(body)
    assert refused.value.document.type == error
    assert refused.value.document.http_status == 400
    if error == "badSignatureAlgorithm":
        assert set(refused.value.document.algorithms) <= set(ALGORITHMS)
        assert refused.value.document.algorithms


def test_there_are_sixty_and_more_bad_messages() -> None:
    assert len(BAD) >= 60


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_rejected(body: bytes) -> None:
    with pytest.raises(Rejected):
        decode_jws(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["ES256", "EC", "P-256", "AAAA"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_HEADERS = st.dictionaries(
    st.sampled_from(["alg", "nonce", "url", "kid", "jwk", "crit", "b64"]),
    _JSON | st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "n", "e", "d"]), _JSON),
)


@given(_HEADERS)
def test_any_header_makes_a_message_or_is_rejected(members: dict[str, object]) -> None:
    head = b64(json.dumps(members).encode())
    body = json_bytes({"protected": head, "payload": "", "signature": "AAAA"})
    try:
        message = decode_jws(body)
        assert message.alg in ALGORITHMS
        if message.jwk is not None:
            load_key(message.jwk, encode_jwk(message.jwk))
    except Rejected:
        return


@given(st.integers(0, 63), st.integers(1, 255))
def test_no_changed_octet_of_a_signature_verifies(position: int, mask: int) -> None:
    message = decode_jws(json_bytes(good()))
    octets = bytearray(message.signature)
    octets[position] ^= mask
    key = load_key(decode_jwk(jwk_of(SIGNER.key)), b"")
    with pytest.raises(Rejected):
        verify(message._replace(signature=bytes(octets)), key)
