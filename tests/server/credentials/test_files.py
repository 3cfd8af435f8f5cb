"""The files of secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher

from policies.document import DocumentErrors
from server.credentials import load_challenge, load_passwords

if TYPE_CHECKING:
    from pathlib import Path

STORED = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("secret")


def test_passwords_are_user_names_with_hashes(tmp_path: Path) -> None:
    path = tmp_path / "passwords.yaml"
    path.write_text(f'pump-17: "{STORED}"\n"": "{STORED}"\n')
    assert load_passwords(path) == {"pump-17": STORED, "": STORED}


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("pump-17: secret\n", "1:10", "certwright hash"),
        (f'a: "{STORED}"\nb: $argon2id$v=19$broken\n', "2:4", "certwright hash"),
        ("a: 12345678\n", "1:4", "certwright hash"),
        ("{}\n", "1:1", "at least 1"),
        ("", "1:1", "empty"),
    ],
)
def test_what_is_no_hash_is_told_with_its_place(tmp_path: Path, text: str, place: str, message: str) -> None:
    path = tmp_path / "passwords.yaml"
    path.write_text(text)
    with pytest.raises(DocumentErrors) as caught:
        load_passwords(path)
    assert str(caught.value).startswith(f"{path}:{place}: ")
    assert message in str(caught.value)
    assert "12345678" not in str(caught.value)  # it may be a password


def test_a_challenge_is_one_hash(tmp_path: Path) -> None:
    path = tmp_path / "challenge"
    path.write_text(f"{STORED}\n")
    assert load_challenge(path) == STORED


@pytest.mark.parametrize(
    ("content", "message"), [(b"secret\n", "certwright hash"), (b"\xff", "UTF-8"), (None, "No such file")]
)
def test_another_challenge_file_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "challenge"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DocumentErrors, match=message) as caught:
        load_challenge(path)
    assert str(caught.value).startswith(f"{path}:1:1: ")
    assert "secret" not in str(caught.value)
