"""What fullcmc stands on, loaded from the configuration; and what is said when it can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from ca import ceremony
from ca.names import DistinguishedName
from policies.document import DocumentErrors
from policies.request import EndpointName
from server.app.cmc import responder
from server.app.material import load_material
from server.clock import system_clock
from server.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config

EST = EndpointName.parse("est/default")
SIGNER = "{signer: {certificate: cmc/cmc.pem, key: cmc/cmc.key, passphrase_file: cmc/passphrase}}"


@pytest.fixture
def signing(folder: Path) -> Path:
    """A deployment with a CMC signer of its own in its folder."""
    root = ceremony.make_root(
        DistinguishedName.from_text("CN=CMC"), now=system_clock(), key=ceremony.generate_key("P-256")
    )
    (folder / "cmc").mkdir()
    (folder / "cmc" / "cmc.pem").write_bytes(root.certificate_pem())
    (folder / "cmc" / "cmc.key").write_bytes(root.key_pem(b"open"))
    (folder / "cmc" / "passphrase").write_text("open\n")
    return folder


def configured(folder: Path, fullcmc: str) -> Config:
    file = folder / "server.yaml"
    file.write_text(file.read_text().replace("  est/default:\n", f"  est/default:\n    fullcmc: {fullcmc}\n", 1))
    return load_config(file)


def problem(config: Config) -> str:
    with pytest.raises(DocumentErrors) as caught:
        load_material(config)
    (found,) = caught.value.problems
    return str(found)


def test_without_the_section_there_is_none(folder: Path) -> None:
    assert responder(EST, load_config(folder / "server.yaml"), None) is None


def test_the_key_of_the_https_listener_signs_where_no_other_is_named(folder: Path) -> None:
    config = configured(folder, "{}")
    tls = load_material(config).tls
    found = responder(EST, config, tls)
    assert found is not None
    assert tls is not None
    assert found.signer()[0] is tls.served.key
    assert len(found.signer()[1]) == 2
    assert found.nonce() != found.nonce()


async def test_when_the_listeners_pair_is_renewed_the_new_one_signs(signing: Path) -> None:
    config = configured(signing, "{}")
    tls = load_material(config).tls
    found = responder(EST, config, tls)
    assert found is not None
    assert tls is not None
    before = found.signer()[1][0].der
    key = load_pem_private_key((signing / "cmc" / "cmc.key").read_bytes(), b"open")
    (signing / "tls" / "server.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (signing / "tls" / "server.pem").write_bytes((signing / "cmc" / "cmc.pem").read_bytes())
    assert await tls.reload()
    key, (certificate,) = found.signer()
    assert certificate.der != before
    assert key is tls.served.key


def test_a_signer_of_its_own_signs(signing: Path) -> None:
    config = configured(signing, SIGNER)
    load_material(config)
    found = responder(EST, config, None)
    assert found is not None
    assert len(found.signer()[1]) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cmc/cmc.pem": "cmc/none.pem"}, "none.pem"),
        ({"cmc/passphrase": "secrets/scep-challenge"}, "the passphrase right"),
        ({"cmc/cmc.pem": "server.yaml"}, "must be PEM"),
        ({"cmc/cmc.pem": "tls/server.pem"}, "not that of the key"),
        ({"cmc/cmc.key, passphrase_file: cmc/passphrase": "cmc/odd.key"}, "RSA or EC key"),
    ],
    ids=["no file", "another passphrase", "no certificate", "another certificate", "another kind"],
)
def test_a_signer_that_can_not_sign_is_an_error_with_its_place(
    signing: Path, change: dict[str, str], says: str
) -> None:
    odd = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (signing / "cmc" / "odd.key").write_bytes(odd)
    settings = SIGNER
    for old, new in change.items():
        settings = settings.replace(old, new)
    found = problem(configured(signing, settings))
    assert says in found
    assert "server.yaml:" in found


def test_without_an_https_listener_it_needs_a_signer(signing: Path) -> None:
    config = configured(signing, "{}")
    bare = config.model_copy(update={"listeners": config.listeners.model_copy(update={"https": None})})
    with pytest.raises(DocumentErrors, match="needs a signer"):
        responder(EST, bare, None)


@pytest.mark.parametrize(("text", "says"), [("11" * 31, "64 hexadecimal digits"), ("", "the secret is empty")])
def test_a_sealing_key_that_is_none_is_an_error(signing: Path, text: str, says: str) -> None:
    (signing / "secrets" / "sealing.key").write_text(text)
    assert says in problem(configured(signing, "{sealing_key: {file: secrets/sealing.key}}"))
