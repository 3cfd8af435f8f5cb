"""Pairs that follow one another: written whole or not at all, by one process."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from server.successors import Successors
from tests.fakes.issuer import make_issuer

if TYPE_CHECKING:
    from pathlib import Path

ISSUER = make_issuer().chain()[0]


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def never() -> ec.EllipticCurvePrivateKey:
    raise AssertionError("the key is there already")


@pytest.fixture
def pairs(tmp_path: Path) -> Successors:
    return Successors(tmp_path / "renewed", b"secret")


def test_a_pair_is_found_under_the_serial_number_of_the_one_before(pairs: Successors) -> None:
    stem = pairs.folder / f"after-{ISSUER.serial_number:x}"
    assert pairs.paths(ISSUER) == (stem.with_suffix(".pem"), stem.with_suffix(".key"))


def test_the_key_is_made_once_encrypted_and_for_the_owner_alone(pairs: Successors) -> None:
    made = pairs.key(ISSUER, new_key)
    assert pairs.key(ISSUER, never).public_key() == made.public_key()
    file = pairs.paths(ISSUER)[1]
    assert b"ENCRYPTED" in file.read_bytes()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(pairs.folder.stat().st_mode) == 0o700
    with pytest.raises(ValueError, match=r"."):
        Successors(pairs.folder, b"another").key(ISSUER, never)


def test_without_a_passphrase_the_key_is_in_the_clear(tmp_path: Path) -> None:
    pairs = Successors(tmp_path, None)
    pairs.key(ISSUER, new_key)
    assert b"BEGIN PRIVATE KEY" in pairs.paths(ISSUER)[1].read_bytes()


def test_who_comes_second_leaves_the_certificate_of_the_first(pairs: Successors) -> None:
    pairs.keep(ISSUER, [ISSUER])
    pairs.keep(ISSUER, [ISSUER, ISSUER])
    assert x509.load_pem_x509_certificates(pairs.paths(ISSUER)[0].read_bytes()) == [ISSUER]
    assert [file.name for file in pairs.folder.iterdir()] == [pairs.paths(ISSUER)[0].name]


def test_a_folder_that_can_not_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Successors(tmp_path / "file" / "renewed", None).keep(ISSUER, [ISSUER])
