"""PasswordRecipientInfo, opened by OpenSSL and by the test client."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from ca import der
from server.cms.algorithms import Cipher
from server.cms.certificates import DATA
from server.cms.passwords import PBKDF2, Password
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


def test_each_guess_costs_a_hundred_thousand_rounds_under_a_salt_of_its_own() -> None:
    salts = set()
    for _ in range(2):
        derivation = der.children(der.read(Password(b"secret", Cipher.AES256).info(bytes(32), secrets.token_bytes)))[1]
        named, parameters = der.children(derivation)
        salt, rounds, _ = der.children(parameters)
        assert (der.dotted(named), der.read_integer(rounds), len(salt.content)) == (PBKDF2, 100_000, 16)
        salts.add(salt.content)
    assert len(salts) == 2


@pytest.mark.parametrize(("cipher", "octets"), [(Cipher.AES128, 32), (Cipher.AES192, 32), (Cipher.AES256, 48)])
def test_a_content_key_is_padded_to_whole_blocks_and_no_further(cipher: Cipher, octets: int) -> None:
    info = Password(b"secret", cipher).info(bytes(cipher.key_octets), secrets.token_bytes)
    assert len(der.children(der.read(info))[-1].content) == octets


def test_nothing_is_the_same_twice() -> None:
    assert sealed(Cipher.AES256) != sealed(Cipher.AES256)


@pytest.mark.parametrize("cipher", [Cipher.AES128, Cipher.AES192, Cipher.AES256, Cipher.DES3])
def test_openssl_opens_it(cipher: Cipher, tmp_path: Path) -> None:
    openssl = require_program("openssl")
    message, opened = tmp_path / "message.der", tmp_path / "opened"
    message.write_bytes(sealed(cipher, "pässword"))
    arguments = ("-inform", "DER", "-in", message, "-out", opened, "-binary", "-pwri_password", "pässword")
    run(openssl, "cms", "-decrypt", *arguments)
    assert opened.read_bytes() == CONTENT
