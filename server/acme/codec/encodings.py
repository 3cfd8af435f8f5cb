"""JSON and base64url as strictly as ACME needs them: one reading for every text (RFC 7493, RFC 7515 section 2)."""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, NoReturn

from server.acme.messages import ErrorType, Rejected, rejected

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


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


def read_object(data: bytes, what: str) -> dict[str, Any]:
    """Return the members of a JSON object in UTF-8.

    Repeated members, NaN and Infinity, nesting beyond reason, a byte order mark and anything that is not an object
    are refused. Raises Rejected (malformed) naming ``what``.
    """
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise malformed(f"{what} is not a JSON object in UTF-8 with unrepeated members") from None
    if not isinstance(value, dict):
        raise malformed(f"{what} is not a JSON object")
    return value


def write_object(value: dict[str, object]) -> bytes:
    """Return compact JSON in ASCII, members in the given order."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def decode_base64url(text: object, what: str) -> bytes:
    """Return the octets of unpadded canonical base64url. Raises Rejected (malformed) naming ``what``."""
    if not isinstance(text, str) or not _BASE64URL.fullmatch(text):
        raise malformed(f"{what} is not base64url without padding")
    try:
        octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise malformed(f"{what} is not base64url without padding") from None
    if encode_base64url(octets) != text:
        raise malformed(f"{what} is not canonical base64url")
    return octets


def encode_base64url(octets: bytes) -> str:
    """Return unpadded base64url."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
