"""PasswordRecipientInfo, opened by OpenSSL and by the test client."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from server.cms.algorithms import Cipher
from server.cms.certificates import DATA
from server.cms.passwords import Password
from server.cms.recipients import seal_for
from tests.server.scep.password import open_with_password
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = b"what only those who know the password may read"


def sealed(cipher: Cipher, password: str = "correct horse") -> bytes:
    recipient = Password(password.encode(), cipher)
    return seal_for(CONTENT, DATA, recipient, cipher=cipher, random=secrets.token_bytes)


@pytest.mark.parametrize("cipher", Cipher)
def test_who_knows_the_password_opens_it(cipher: Cipher) -> None:
    assert open_with_password(sealed(cipher), "correct horse") == CONTENT


def test_who_does_not_know_it_finds_out_and_nothing_more() -> None:
    with pytest.raises(ValueError, match="check"):
        open_with_password(sealed(Cipher.AES128), "wrong horse")


def test_nothing_is_the_same_twice() -> None:
    assert sealed(Cipher.AES256) != sealed(Cipher.AES256)


@pytest.mark.parametrize("cipher", [Cipher.AES128, Cipher.AES192, Cipher.AES256, Cipher.DES3])
def test_openssl_opens_it(cipher: Cipher, tmp_path: Path) -> None:
    openssl = require_program("openssl", "apt-get install openssl")
    message, opened = tmp_path / "message.der", tmp_path / "opened"
    message.write_bytes(sealed(cipher, "pässword"))
    arguments = ("-inform", "DER", "-in", message, "-out", opened, "-binary", "-pwri_password", "pässword")
    run(openssl, "cms", "-decrypt", *arguments)
    assert opened.read_bytes() == CONTENT
