"""Single values of policy files: keys, and words that must be known, each with a suggestion when it is not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from ca.keys import POST_QUANTUM, KeyShape
from policies.document import did_you_mean
from policies.patterns import known_placeholders
from policies.request import EVIDENCE_WORDS
from policies.words import PURPOSES, SUBJECT_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

KEY_KINDS = ("rsa", "ec", "ed25519", *POST_QUANTUM)
_CURVES = ("P-256", "P-384", "P-521")
_FIELD_BITS = {"P-256": 256, "P-384": 384, "P-521": 521}
_RSA = re.compile(r"rsa:([0-9]{3,5})(?:-([0-9]{3,5}))?")
_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]{0,9})){1,20}")


def listed(patterns: Iterable[object]) -> str:
    """Return patterns as administrators read them."""
    return ", ".join(map(str, patterns))


def dotted(text: str) -> str:
    """Read an object identifier in dotted form. Raises ValueError."""
    if not _OID.fullmatch(text):
        raise ValueError(f'"{text}" is no object identifier, like 1.3.6.1.4.1.32473.1')
    return text


def _known(word: str, known: dict[str, str] | tuple[str, ...], what: str) -> str:
    if word not in known:
        raise ValueError(f'"{word}" is no {what}{did_you_mean(word, known)}')
    return word


def _attribute(word: str) -> str:
    return _known(word, SUBJECT_ATTRIBUTES, "subject attribute")


def _evidence(word: str) -> str:
    return _known(word, tuple(EVIDENCE_WORDS.values()), "kind of evidence")


def _key_kind(word: str) -> str:
    return _known(word, KEY_KINDS, "kind of key")


def _purpose(word: str) -> str:
    return word if _OID.fullmatch(word) else PURPOSES[_known(word, PURPOSES, "extended key usage (or dotted number)")]


def template(text: str) -> str:
    """Read a value in which ``{requester}`` may stand. Raises ValueError."""
    if not text:
        raise ValueError("a value can't be empty")
    known_placeholders(text)
    return text


AttributeWord = Annotated[str, AfterValidator(_attribute)]
EvidenceWord = Annotated[str, AfterValidator(_evidence)]
KeyKind = Annotated[str, AfterValidator(_key_kind)]
Purpose = Annotated[str, AfterValidator(_purpose)]
Template = Annotated[str, AfterValidator(template)]
ObjectIdentifier = Annotated[str, AfterValidator(dotted)]


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """A kind of key with its size: ``ec:P-256``, ``rsa:2048``, ``rsa:2048-4096``, ``ed25519`` or ``ml-dsa-65``."""

    text: str
    kind: str
    least: int = 0
    most: int = 0
    curve: str | None = None

    @classmethod
    def parse(cls, text: object) -> KeyPattern:
        """Read the pattern. Raises ValueError."""
        if not isinstance(text, str):
            raise ValueError("a key is written ec:P-256, rsa:2048-4096 or ed25519")  # noqa: TRY004 - pydantic collects it
        if text == "ed25519" or text in POST_QUANTUM:
            return cls(text, text)
        if text.startswith("ec:"):
            return cls(text, "ec", curve=_known(text[3:], _CURVES, "curve"))
        match = _RSA.fullmatch(text)
        if match is None:
            raise ValueError(f'"{text}" is no key; write ec:P-256, rsa:2048-4096, ed25519, ml-dsa-65 or ml-kem-768')
        least = int(match[1])
        most = int(match[2] or least)
        if most < least:
            raise ValueError(f'"{text}" begins with the larger size')
        return cls(text, "rsa", least, most)

    def __str__(self) -> str:
        return self.text

    def smallest(self, min_rsa_bits: int = 0) -> KeyShape:
        """Return the smallest key that is meant, with no fewer bits of RSA than the server's ceiling says."""
        if self.kind == "ec":
            return KeyShape("ec", _FIELD_BITS[self.curve or ""], self.curve)
        if self.kind in POST_QUANTUM:
            return KeyShape(self.kind, POST_QUANTUM[self.kind][1])
        return KeyShape("rsa", max(self.least, min_rsa_bits)) if self.kind == "rsa" else KeyShape(self.kind, 256)

    def matches(self, shape: KeyShape) -> bool:
        """Whether a key of this shape is meant."""
        if shape.kind != self.kind:
            return False
        return (
            shape.curve == self.curve
            if self.kind == "ec"
            else self.kind != "rsa" or self.least <= shape.bits <= self.most
        )


KeyPatternField = Annotated[KeyPattern, BeforeValidator(KeyPattern.parse), WithJsonSchema({"type": "string"})]
