"""The attestation object (WebAuthn section 6.5.4): CBOR with a format and its statement, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import cbor2
from cryptography import x509

from server.acme.challenges.attestation.vocabulary import BadStatement

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT = 32_768
_DEPTH = 4
_FORMAT = 32
_CERTIFICATES = 8
_CERTIFICATE = 8192
_BUILT_IN_TAGS = (*range(6), 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000, 55799)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, its members not looked at.

    Attributes:
        format: ``apple``, ``tpm``, ``android-key``, ``step`` or another word.
        members: what ``attStmt`` holds.
    """

    format: str
    members: Mapping[str, object]

    def expect(self, *names: str, optional: tuple[str, ...] = ()) -> None:
        """Raise BadStatement unless exactly these members are there."""
        if not set(names) <= self.members.keys() <= {*names, *optional}:
            raise BadStatement(f"a statement of this format has exactly {', '.join(names)}")

    def octets(self, name: str) -> bytes:
        """Return a byte string that is not empty. Raises BadStatement."""
        value = self.members.get(name)
        if not isinstance(value, bytes) or not value:
            raise BadStatement(f"{name} is not a byte string")
        return value

    def number(self, name: str) -> int:
        """Return an integer. Raises BadStatement."""
        value = self.members.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise BadStatement(f"{name} is not an integer")
        return value

    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Return the certificates of ``x5c``, the attestation certificate first. Raises BadStatement."""
        listed = self.members.get("x5c")
        if not isinstance(listed, list) or not 1 <= len(listed) <= _CERTIFICATES:
            raise BadStatement(f"x5c is not an array of 1 to {_CERTIFICATES} certificates")
        return tuple(map(_certificate, listed))


def _certificate(value: object) -> x509.Certificate:
    if not isinstance(value, bytes) or len(value) > _CERTIFICATE:
        raise BadStatement("x5c holds something that is no certificate")
    try:
        certificate = x509.load_der_x509_certificate(value)
        for extension in certificate.extensions:  # all that is read later is read here first
            _ = extension.value
        _ = certificate.subject, certificate.issuer, certificate.signature_hash_algorithm
    except Exception:  # noqa: BLE001 - several kinds of error, and they all mean this
        raise BadStatement("x5c holds something that is no certificate that can be read") from None
    if certificate.version is not x509.Version.v3:
        raise BadStatement("x5c holds a certificate that is not of version 3")
    return certificate


def decode_statement(octets: bytes) -> Statement:
    """Return the statement of an attestation object.

    Raises BadStatement: not the one encoding of a map with ``fmt`` and ``attStmt`` (``authData`` may be there and means
    nothing in ACME), repeated members, tags, depth or size without measure.
    """
    if len(octets) > _LIMIT:
        raise BadStatement(f"the attestation object has more than {_LIMIT} octets")
    value = decode_cbor(octets)
    if not isinstance(value, dict) or not {"fmt", "attStmt"} <= value.keys() <= {"fmt", "attStmt", "authData"}:
        raise BadStatement("the attestation object has not exactly fmt and attStmt")
    word, members = value["fmt"], value["attStmt"]
    if not isinstance(word, str) or len(word) > _FORMAT or not word.isprintable():
        raise BadStatement("fmt is not the name of a format")
    if not isinstance(members, dict) or not all(isinstance(name, str) for name in members):
        raise BadStatement("attStmt is not a map with names")
    return Statement(word, members)


def decode_cbor(octets: bytes) -> object:
    """Return what CBOR in its one form says: definite and shortest lengths, no tags. Raises BadStatement."""
    try:
        value = cbor2.loads(
            octets,
            semantic_decoders=_NO_TAGS,
            tag_hook=_no_tag,
            max_depth=_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        )
        same = _plain(value) and cbor2.dumps(value) == octets
    except Exception:  # noqa: BLE001 - the library has its own errors, and those of Python's types
        raise BadStatement("this is not CBOR that can be read") from None
    if not same:
        raise BadStatement("this is not CBOR in its one form")
    return value


def _no_tag(*_: Any) -> NoReturn:
    raise BadStatement("CBOR tags have no place here")


_NO_TAGS = dict.fromkeys(_BUILT_IN_TAGS, _no_tag)


def _plain(value: object) -> bool:
    """Say whether a value is made of maps, arrays, texts, byte strings and integers."""
    match value:
        case dict():
            return all(_plain(key) and _plain(item) for key, item in value.items())
        case list():
            return all(map(_plain, value))
        case str() | bytes():
            return True
        case int():
            return not isinstance(value, bool)
        case _:
            return False
