"""Attestations of real hardware: chains, what makers put into certificates, and structures of TPMs.

They attest what WebAuthn asks for, or an arbitrary challenge, not an account of ACME; so what is tested are the parts
with which statements are judged, each on genuine octets. See PROVENANCE.toml beside them.
"""

from __future__ import annotations

import hashlib
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from server.acme.challenges.attestation import android_key, step, tpm
from server.acme.challenges.attestation.chains import follow
from server.acme.challenges.attestation.signatures import verify
from server.acme.challenges.attestation.statement import Statement, decode_cbor, decode_statement
from server.acme.challenges.attestation.tpm_structures import decode_certified, decode_public
from server.acme.challenges.attestation.vocabulary import BadStatement, Expected

VECTORS = Path("tests/vectors/attestation")
PHONES = ("android-tee-ec", "android-tee-rsa", "android-strongbox-rsa")
TPMS = ("tpm-intel", "tpm-nuvoton", "tpm-st", "tpm-nuvoton-ec")
THEN = datetime(2020, 6, 1, tzinfo=UTC)
PIXEL = datetime(2025, 1, 8, tzinfo=UTC)
WINDOWS = datetime(2022, 6, 1, tzinfo=UTC)


def chain(name: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((VECTORS / f"{name}.pem").read_bytes())


def attested(name: str) -> tuple[Statement, bytes, bytes]:
    """Return the statement, the authenticator data and the hash of the client data: what WebAuthn has attested."""
    octets = (VECTORS / f"{name}.cbor").read_bytes()
    whole = decode_cbor(octets)
    assert isinstance(whole, dict)
    return decode_statement(octets), whole["authData"], hashlib.sha256((VECTORS / f"{name}.json").read_bytes()).digest()


def test_each_vector_has_its_provenance() -> None:
    known = tomllib.loads((VECTORS / "PROVENANCE.toml").read_text())
    assert known.keys() == {path.name for path in VECTORS.iterdir() if path.suffix in {".pem", ".cbor"}}


@pytest.mark.parametrize("name", PHONES)
def test_a_phone_leads_to_the_root_of_google_while_its_certificates_last(name: str) -> None:
    *statement, root = chain(name)
    follow(statement, [root], THEN)
    follow([*statement, root], [root], THEN)
    with pytest.raises(BadStatement, match="not valid now"):
        follow(statement, [root], THEN + timedelta(days=3650))
    with pytest.raises(BadStatement, match="no root"):
        follow(statement, [chain("yubikey-9c")[-1]], THEN)
    with pytest.raises(BadStatement, match="not issued by the next"):
        follow([statement[0], *statement[2:]], [root], THEN)


@pytest.mark.parametrize("name", PHONES)
def test_the_key_description_of_a_phone_says_how_the_key_is_kept(name: str) -> None:
    description = android_key._description(chain(name)[0])
    assert description.levels == ((2, 2) if "strongbox" in name else (1, 1))
    assert android_key._fault(description, b"abc") == ""
    assert "not for the key authorization" in android_key._fault(description, b"abd")


def test_a_certificate_of_early_strongboxes_can_not_be_read() -> None:
    """NULL beside ecdsa-with-SHA256: `cryptography` refuses it, so these devices get no certificate."""
    with pytest.raises(ValueError, match="signature_alg"):
        chain("android-strongbox-ec")


def test_a_phone_with_remote_provisioning_attests_over_five_certificates() -> None:
    statement, data, client = attested("android-pixel-8a")
    statement.expect("alg", "sig", "x5c")
    leaf, *above = statement.certificates()
    follow((leaf, *above), above[-1:], PIXEL)
    follow((leaf, *above[:-1]), above[-1:], PIXEL)
    verify(statement.number("alg"), leaf.public_key(), statement.octets("sig"), data + client)
    description = android_key._description(leaf)
    assert (description.levels, android_key._fault(description, b"")) == (
        (1, 1),
        "the attestation is not for the key authorization of this challenge",
    )
    assert android_key._fault(description, client) == ""
    with pytest.raises(BadStatement, match="signature"):  # it is for another message than an account's
        android_key.judge(statement, Expected("token", "token.thumbprint"))


def test_a_yubikey_says_its_serial_number_under_the_root_of_its_maker() -> None:
    *statement, root = chain("yubikey-9c")
    follow(statement, [root], PIXEL)
    assert [text for each in statement[0].extensions if (text := step._device(each))] == ["25515003"]
    with pytest.raises(BadStatement, match="that of a CA"):
        follow(statement[1:], [root], PIXEL)


@pytest.mark.parametrize("name", TPMS)
def test_a_tpm_has_certified_the_key_that_its_statement_shows(name: str) -> None:
    statement, data, client = attested(name)
    statement.expect("ver", "alg", "x5c", "sig", "certInfo", "pubArea")
    leaf, issuer = statement.certificates()
    follow([leaf], [issuer], WINDOWS)
    assert len(tpm._names(leaf)) == 1
    certified, public = decode_certified(statement.octets("certInfo")), decode_public(statement.octets("pubArea"))
    assert certified.name == public.name
    assert certified.extra == hashlib.sha1(data + client).digest()  # noqa: S324 - as Windows has it, see below
    is_ec = isinstance(load_der_public_key(public.spki), ec.EllipticCurvePublicKey)
    assert is_ec is name.endswith("-ec")


@pytest.mark.parametrize("name", TPMS)
def test_what_windows_has_signed_with_sha1_is_refused(name: str) -> None:
    statement, *_ = attested(name)
    with pytest.raises(BadStatement, match="alg is not taken"):
        tpm.judge(statement, Expected("token", "token.thumbprint"))
