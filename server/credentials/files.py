"""The files of secrets: only argon2 hashes stand in them, and every error says where and what to write instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from argon2 import extract_parameters
from pydantic import BeforeValidator, Field, RootModel

from policies.decision import Location
from policies.document import DocumentErrors, DocumentProblem, read_document

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_WAY_OUT = "it must be an argon2 hash; certwright hash makes one"


def _argon2(value: object) -> str:
    if not isinstance(value, str):  # a password of digits is a number here; what it is must not be told
        raise ValueError(_WAY_OUT)  # noqa: TRY004 - pydantic collects it
    try:
        extract_parameters(value)
    except ValueError:
        raise ValueError(_WAY_OUT) from None
    return value


class _Passwords(RootModel[Annotated[dict[str, Annotated[str, BeforeValidator(_argon2)]], Field(min_length=1)]]):
    """User names with the hashes of their passwords."""


def load_passwords(path: Path) -> Mapping[str, str]:
    """Return user names with argon2 hashes. Raises DocumentErrors."""
    return read_document(_read(path), str(path), _Passwords).value.root


def load_challenge(path: Path) -> str:
    """Return the argon2 hash that stands alone in a file. Raises DocumentErrors."""
    try:
        return _argon2(_read(path).strip())
    except DocumentErrors:
        raise
    except ValueError as error:
        raise DocumentErrors([DocumentProblem(Location(str(path), 1, 1), str(error))]) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise DocumentErrors(
            [DocumentProblem(Location(str(path), 1, 1), f"can't be read: {error.strerror}")]
        ) from error
    except UnicodeDecodeError as error:
        raise DocumentErrors([DocumentProblem(Location(str(path), 1, 1), "is not UTF-8 text")]) from error
