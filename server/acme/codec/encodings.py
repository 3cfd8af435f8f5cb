"""JSON and base64url as strictly as ACME needs them: one reading for every text (RFC 7493, RFC 7515 section 2)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from typing import Any, NoReturn

from server.acme.messages import ErrorType, Rejected, rejected

_TO_BASE64 = bytes.maketrans(b"-_+/=", b"+/!!!")
"""To the alphabet of base64; what only that has becomes what neither has."""
_PADDING = (b"", b"", b"==", b"=")
_LAST = {2: frozenset("AQgw"), 3: frozenset("AEIMQUYcgkosw048")}
"""The last characters that leave no bits over, by how many characters there are beyond groups of four."""


def malformed(detail: str) -> Rejected:
    """Return the exception for a message that is not what the protocol says."""
    return rejected(ErrorType.MALFORMED, detail)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is repeated")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(separators=(",", ":"), check_circular=False)


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """Return the members of a JSON object in UTF-8.

    Repeated members, NaN and Infinity, nesting beyond reason, a byte order mark, escapes that stand for no character
    and anything that is not an object are refused. Raises Rejected (malformed) naming ``what``.
    """
    try:
        text = data.decode("utf-8")
        value, end = _DECODER.raw_decode(text) if text.startswith("{") else (None, -1)
        if end != len(text):  # white space round it, or no object
            value = _DECODER.decode(text)
        if "\\" in text:  # an escape: half of a surrogate pair is no text
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise malformed(f"{what} is not a JSON object in UTF-8 with unrepeated members") from None
    if not isinstance(value, dict):
        raise malformed(f"{what} is not a JSON object")
    return value


def write_object(value: dict[str, object]) -> bytes:
    """Return compact JSON in ASCII, members in the given order."""
    return _ENCODER.encode(value).encode("ascii")


def decode_base64url(text: object, what: str) -> bytes:
    """Return the octets of unpadded canonical base64url. Raises Rejected (malformed) naming ``what``."""
    if not isinstance(text, str):
        raise malformed(f"{what} is not base64url without padding")
    left = len(text) % 4
    try:
        octets = a2b_base64(text.encode("ascii").translate(_TO_BASE64) + _PADDING[left], strict_mode=True)
    except ValueError:
        raise malformed(f"{what} is not base64url without padding") from None
    if left and text[-1] not in _LAST[left]:
        raise malformed(f"{what} is not canonical base64url")
    return octets


def encode_base64url(octets: bytes) -> str:
    """Return unpadded base64url."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
