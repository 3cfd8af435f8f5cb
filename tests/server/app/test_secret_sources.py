"""Secrets from files, the environment, systemd credentials and the terminal; never from the configuration itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from policies.document import DocumentErrors
from server.app.secret_sources import Reader
from server.config import SecretSource, load_config

if TYPE_CHECKING:
    from pathlib import Path

    from server.config import Config

HERE = ("issuers", "issuing", "passphrase")


def _nobody(question: str) -> str:
    raise EOFError


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    (tmp_path / "ca-key").write_bytes(b"from systemd\n")
    (tmp_path / "empty").write_bytes(b"\n")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        ({"environment": "CA_PASSPHRASE"}, b"from the environment"),
        ({"credential": "ca-key"}, b"from systemd"),
        ({"prompt": True}, b"answer to issuers issuing passphrase: "),
    ],
)
def test_a_secret_is_read_from_its_source(
    config: Config, credentials: Path, source: dict[str, object], secret: bytes
) -> None:
    environment = {"CA_PASSPHRASE": "from the environment", "CREDENTIALS_DIRECTORY": str(credentials)}
    reader = Reader(config, environment, lambda question: f"answer to {question}")
    assert reader.secret(HERE, SecretSource.model_validate(source)) == secret


def test_a_secret_is_read_from_a_file_without_its_line_end(config: Config, credentials: Path) -> None:
    assert Reader(config).secret(HERE, SecretSource(file=credentials / "ca-key")) == b"from systemd"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"environment": "CA_PASSPHRASE"}, "environment variable CA_PASSPHRASE is not set"),
        ({"credential": "other"}, "No such file"),
        ({"credential": "empty"}, "the secret is empty"),
        ({"prompt": True}, "there is no terminal"),
    ],
)
def test_a_secret_that_is_not_there_is_told_where_it_is_named(
    config: Config, credentials: Path, source: dict[str, object], message: str
) -> None:
    reader = Reader(config, {"CREDENTIALS_DIRECTORY": str(credentials)}, _nobody)
    with pytest.raises(DocumentErrors, match=rf"server.yaml:\d+:\d+: .*{message}"):
        reader.secret(HERE, SecretSource.model_validate(source))


def test_without_credentials_the_unit_is_what_to_mend(config: Config) -> None:
    with pytest.raises(DocumentErrors, match="LoadCredentialEncrypted=ca-key:FILE"):
        Reader(config, {}).secret(HERE, SecretSource(credential="ca-key"))


@pytest.mark.parametrize(
    "passphrase",
    [
        "",
        "    passphrase_file: a\n    passphrase: {file: b}",
        "    passphrase: {}",
        "    passphrase: {file: a, prompt: true}",
        "    passphrase: {environment: 'A=B'}",
        "    passphrase: {credential: ../x}",
    ],
)
def test_an_issuer_without_one_clear_source_of_its_passphrase_is_refused(folder: Path, passphrase: str) -> None:
    path = folder / "server.yaml"
    text = path.read_text().replace("    passphrase_file: ca/issuing.passphrase", passphrase, 1)
    path.write_text(text)
    with pytest.raises(DocumentErrors, match=r"passphrase|environment|credential"):
        load_config(path)
