"""Keys in an HSM, proved with SoftHSM2; the signer process is killed, hung and cut off from its token."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from ca import ceremony
from ca.backends.hsm import (
    LONG,
    HsmEcKey,
    HsmMisconfigured,
    HsmRsaKey,
    SignerProcess,
    Token,
    generate_hsm_key,
    hsm_key,
)
from ca.backends.pkcs11 import Pkcs11Issuer
from ca.issuer import IssuerConfigurationError, IssuerUnavailable
from ca.names import DistinguishedName
from tests.contract.issuer import SigningContract, issue
from tests.fakes.issuer import NOW, make_plan
from tests.fakes.softhsm import PIN, make_token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ca.issuer import Issuer

KINDS = {"P-256": False, "P-384": False, "P-521": False, "rsa:2048": False, "rsa:3072": True}
OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - what SoftHSM knows


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    with pytest.MonkeyPatch.context() as environment:
        yield make_token(tmp_path_factory.mktemp("hsm"), environment)


@pytest.fixture(scope="module")
def signer(token: Token) -> Iterator[SignerProcess]:
    signer = SignerProcess(token)
    yield signer
    signer.close()


@pytest.fixture(scope="module")
def keys(signer: SignerProcess) -> dict[str, HsmRsaKey | HsmEcKey]:
    return {kind: generate_hsm_key(signer, kind, kind, bytes([n])) for n, kind in enumerate(KINDS, 1)}


def make(key: HsmRsaKey | HsmEcKey, *, pss: bool = False, limit: int = 1000) -> Pkcs11Issuer:
    root = ceremony.make_root(DistinguishedName.from_text("CN=HSM CA"), now=NOW, key=key)
    return Pkcs11Issuer(key, root.certificate, pss=pss, limit=limit)


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, keys: dict[str, HsmRsaKey | HsmEcKey]) -> Pkcs11Issuer:
    return make(keys[request.param], pss=KINDS[request.param])


class TestPkcs11Issuer(SigningContract):
    @pytest.fixture
    def issuer(self, made: Pkcs11Issuer) -> Issuer:
        return made


@pytest.fixture
def own(token: Token) -> Iterator[SignerProcess]:
    """A signer process of the test's own."""
    process = SignerProcess(token, timeout=5)
    yield process
    process.close()


async def test_a_killed_signer_is_replaced_and_nothing_is_lost(
    own: SignerProcess, keys: dict[str, HsmRsaKey | HsmEcKey]
) -> None:
    assert keys
    issuer = make(hsm_key(own, "P-256"))
    plan = make_plan()
    first = own.pid

    async def kill() -> None:
        for _ in range(3):
            await asyncio.sleep(0.05)
            if own.pid is not None:
                os.kill(own.pid, signal.SIGKILL)

    issued = asyncio.gather(*(issue(issuer, plan, n) for n in range(1, 201)), return_exceptions=True)
    await kill()
    results = await issued
    good = [each for each in results if isinstance(each, x509.Certificate)]
    assert all(isinstance(each, IssuerUnavailable) for each in results if not isinstance(each, x509.Certificate))
    assert len(good) >= 190
    assert (await issue(issuer, plan, 500)).serial_number == 500
    assert own.pid != first


@pytest.mark.parametrize("size", [4, LONG], ids=["short", "more than a pipe holds"])
def test_a_signer_that_hangs_is_replaced(token: Token, keys: dict[str, HsmRsaKey | HsmEcKey], size: int) -> None:
    assert keys
    process = SignerProcess(token, timeout=1.5)
    key = hsm_key(process, "P-256")
    assert isinstance(key, HsmEcKey)
    assert process.pid is not None
    first = process.pid
    os.kill(first, signal.SIGSTOP)
    assert key.sign(bytes(size), ec.ECDSA(hashes.SHA256()))
    assert process.pid != first
    process.close()


def test_what_was_asked_when_the_signer_is_closed_starts_no_other(
    token: Token, keys: dict[str, HsmRsaKey | HsmEcKey]
) -> None:
    assert keys
    process = SignerProcess(token, timeout=20)
    key = hsm_key(process, "P-256")
    assert isinstance(key, HsmEcKey)
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(key.sign, b"data", ec.ECDSA(hashes.SHA256()))
        time.sleep(0.3)
        process.close()
        with pytest.raises(IssuerUnavailable):
            asked.result()
    assert process.pid is None
    with pytest.raises(IssuerUnavailable):
        key.sign(b"data", ec.ECDSA(hashes.SHA256()))
    assert process.pid is None


def test_a_token_that_is_gone_makes_the_issuer_unavailable(
    token: Token, keys: dict[str, HsmRsaKey | HsmEcKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys
    process = SignerProcess(token)
    key = hsm_key(process, "P-256")
    assert isinstance(key, HsmEcKey)
    process.release()
    monkeypatch.setenv("SOFTHSM2_CONF", "/nonexistent")
    with pytest.raises(IssuerUnavailable, match="does not answer"):
        key.sign(b"data", ec.ECDSA(hashes.SHA256()))
    monkeypatch.undo()
    assert key.sign(b"data", ec.ECDSA(hashes.SHA256()))
    process.close()


def test_a_wrong_pin_is_tried_once(token: Token) -> None:
    starts: list[object] = []

    def start(*arguments: Any, **more: Any) -> Any:
        starts.append(arguments)
        return subprocess.Popen(*arguments, **more)

    process = SignerProcess(Token(token.module, token.label, "000000"), start=start)
    for _ in range(3):
        with pytest.raises(HsmMisconfigured, match="PinIncorrect"):
            process.ask("public_key", label="P-256")
    assert len(starts) == 1
    process.close()


@pytest.mark.parametrize(("token_label", "key_label", "text"), [("other", "P-256", "NoSuchToken"), (None, "x", "Key")])
def test_what_is_not_there_is_told(token: Token, token_label: str | None, key_label: str, text: str) -> None:
    process = SignerProcess(Token(token.module, token_label or token.label, PIN))
    with pytest.raises(HsmMisconfigured, match=text):
        hsm_key(process, key_label)
    process.close()


def test_a_module_that_is_none_makes_the_issuer_unavailable(token: Token) -> None:
    process = SignerProcess(Token(token.module.with_name("nothing.so"), "t", PIN))
    with pytest.raises(IssuerUnavailable):
        hsm_key(process, "x")
    process.close()


def test_a_label_is_given_once(signer: SignerProcess, keys: dict[str, HsmRsaKey | HsmEcKey]) -> None:
    assert keys
    with pytest.raises(HsmMisconfigured, match="already"):
        generate_hsm_key(signer, "P-256", "P-256", b"\x09")


def test_tokens_and_keys_are_listed(signer: SignerProcess, keys: dict[str, HsmRsaKey | HsmEcKey]) -> None:
    found = signer.ask("tokens")
    assert "certwright" in {slot["label"] for slot in found["slots"]}
    assert {key["label"] for key in found["keys"]} >= set(keys)


def test_without_a_pin_nothing_secret_is_listed(token: Token) -> None:
    process = SignerProcess(Token(token.module))
    assert process.ask("tokens")["keys"] == []
    process.close()


def test_an_rsa_key_decrypts_what_was_encrypted_to_it(keys: dict[str, HsmRsaKey | HsmEcKey]) -> None:
    key = keys["rsa:2048"]
    assert isinstance(key, HsmRsaKey)
    for scheme in (padding.PKCS1v15(), OAEP):
        assert key.decrypt(key.public_key().encrypt(b"content key", scheme), scheme) == b"content key"


def test_wrong_padding_is_an_answer_and_no_reason_to_replace_the_signer(
    signer: SignerProcess, keys: dict[str, HsmRsaKey | HsmEcKey]
) -> None:
    key, before = keys["rsa:2048"], signer.pid
    assert isinstance(key, HsmRsaKey)
    with pytest.raises(ValueError, match="could not decrypt"):
        key.decrypt(b"\x01" * 256, OAEP)
    with suppress(ValueError):  # on OpenSSL 3.2 and later the token gives octets that mean nothing instead
        key.decrypt(b"\x01" * 256, padding.PKCS1v15())
    assert signer.pid == before


def test_keys_stay_where_they_are(keys: dict[str, HsmRsaKey | HsmEcKey]) -> None:
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for key in keys.values():
        with pytest.raises(TypeError, match="can't leave"):
            key.private_bytes(*form)
        with pytest.raises(TypeError, match="can't leave"):
            key.private_numbers()


def test_digests_made_elsewhere_are_not_signed(keys: dict[str, HsmRsaKey | HsmEcKey]) -> None:
    one, other = keys["P-256"], keys["rsa:2048"]
    assert isinstance(one, HsmEcKey)
    assert isinstance(other, HsmRsaKey)
    with pytest.raises(TypeError, match="hashes by itself"):
        one.sign(b"\0" * 32, ec.ECDSA(Prehashed(hashes.SHA256())))
    with pytest.raises(TypeError, match="hashes by itself"):
        other.sign(b"\0" * 32, padding.PKCS1v15(), Prehashed(hashes.SHA256()))
    with pytest.raises(TypeError, match="salt"):
        other.sign(b"", padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO), hashes.SHA256())


@pytest.mark.parametrize("kind", ["P-256", "rsa:2048"])
def test_requests_are_signed_as_with_any_key(keys: dict[str, HsmRsaKey | HsmEcKey], kind: str) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    key = keys[kind]
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    assert builder.sign(key, hashes.SHA256()).is_signature_valid


def test_another_certificates_key_is_refused(keys: dict[str, HsmRsaKey | HsmEcKey]) -> None:
    other = ceremony.make_root(DistinguishedName.from_text("CN=Other"), now=NOW)
    with pytest.raises(IssuerConfigurationError, match="does not belong"):
        Pkcs11Issuer(keys["P-256"], other.certificate)
    root = ceremony.make_root(DistinguishedName.from_text("CN=HSM CA"), now=NOW, key=keys["P-256"])
    with pytest.raises(IssuerConfigurationError, match="RSASSA-PSS is for RSA"):
        Pkcs11Issuer(keys["P-256"], root.certificate, pss=True)


async def test_a_queue_that_is_full_turns_requests_away(keys: dict[str, HsmRsaKey | HsmEcKey]) -> None:
    issuer, plan = make(keys["rsa:2048"], limit=2), make_plan()
    results = await asyncio.gather(*(issue(issuer, plan, n) for n in range(1, 6)), return_exceptions=True)
    assert sum(isinstance(each, IssuerUnavailable) for each in results) == 3
