from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from ruamel.yaml import YAML

from server.config import LocalIssuerConfig, load_config
from server.deployment.folder import PROTECTED, Secrets
from server.deployment.making import DeploymentRefused, create

if TYPE_CHECKING:
    from pathlib import Path

    from server.clock import Clock
    from server.deployment.folder import Deployment


def content(folder: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with closing(sqlite3.connect(folder / "certwright.db")) as database:
        lines = "\n".join(database.iterdump()).splitlines()
    # a migration that copies a table makes its indexes and constraints in any order
    return found | {"certwright.db": "\n".join(sorted(line.rstrip(", ") for line in lines)).encode()}


def test_everything_that_the_configuration_names_is_there(made: Deployment) -> None:
    config = load_config(made.config)
    (issuer,) = config.issuers.values()
    (scep,) = config.endpoints.scep.values()
    (est,) = config.endpoints.est.values()
    assert config.listeners.https
    assert isinstance(issuer, LocalIssuerConfig)
    assert scep.challenge
    paths = {issuer.certificate, issuer.key, issuer.passphrase_file, issuer.chain}
    paths |= {scep.ra.certificate, scep.ra.key, scep.ra.passphrase_file, scep.challenge.static}
    paths |= {config.listeners.https.certificate, config.listeners.https.key, est.authenticate.passwords}
    named = {path for path in paths if path}
    assert len(named) == 11
    assert [path for path in named if not path.is_file()] == []


def test_the_shipped_profiles_are_copied(made: Deployment) -> None:
    names = {path.name for path in (made.folder / "policies").iterdir()}
    assert names == {"iot-device.yaml", "network-device.yaml", "tls-server.yaml"}


def test_what_is_secret_is_readable_by_its_owner_only(made: Deployment) -> None:
    secret = [path for path in made.folder.rglob("*") if path.suffix in {".key", ".passphrase"}]
    secret += [made.folder / "credentials.json", made.database, *(made.folder / "secrets").iterdir()]
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in secret if path.stat().st_mode & 0o077} == {}
    assert len(secret) == 11
    assert all((made.folder / name).stat().st_mode & 0o777 == 0o700 for name in PROTECTED)


def test_the_server_gets_hashes_of_what_clients_present(made: Deployment) -> None:
    passwords = YAML(typ="safe").load((made.folder / "secrets" / "est-passwords.yaml").read_text())
    hasher = PasswordHasher()
    assert list(passwords) == [made.secrets.est_username]
    assert hasher.verify(passwords[made.secrets.est_username], made.secrets.est_password)
    challenge = (made.folder / "secrets" / "scep-challenge").read_text().strip()
    assert hasher.verify(challenge, made.secrets.scep_challenge)


def test_the_credentials_are_written_for_clients(made: Deployment) -> None:
    assert Secrets.from_json((made.folder / "credentials.json").read_text()) == made.secrets


def test_the_fingerprint_is_that_of_the_root(made: Deployment) -> None:
    root = x509.load_pem_x509_certificate(made.root_pem.read_bytes())
    assert made.fingerprint == root.fingerprint(hashes.SHA256())


def test_the_database_has_its_tables(made: Deployment) -> None:
    with closing(sqlite3.connect(made.database)) as database:
        assert database.execute("SELECT count(*) FROM certificates").fetchone() == (0,)


def test_no_two_deployments_share_anything_secret_or_signed(made: Deployment, tmp_path: Path, clock: Clock) -> None:
    other = create(tmp_path / "other", clock=clock, hostnames=["ca.example.com"])
    ours, theirs = content(made.folder), content(other.folder)
    assert ours.keys() == theirs.keys()
    same = {name for name, each in ours.items() if theirs[name] == each}
    assert same == {"server.yaml", "certwright.db", *(name for name in ours if name.startswith("policies/"))}
    assert other.secrets.est_username != made.secrets.est_username


def test_what_stands_beside_it_stays(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "README.md").write_text("mine")
    made = create(tmp_path, clock=clock, beside=["README.md"])
    assert (tmp_path / "README.md").read_text() == "mine"
    assert made.config.is_file()


def test_a_folder_in_use_is_refused_and_left_alone(made: Deployment, clock: Clock) -> None:
    before = content(made.folder)
    with pytest.raises(DeploymentRefused, match=r"holds .* nothing is overwritten"):
        create(made.folder, clock=clock)
    assert content(made.folder) == before


def test_a_file_in_the_way_is_refused(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeploymentRefused, match="File exists"):
        create(tmp_path / "file", clock=clock)


def test_a_host_name_that_is_none_is_refused_before_anything_is_made(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(DeploymentRefused, match="not a DNS name"):
        create(tmp_path / "new", clock=clock, hostnames=["not a name"])
    assert not (tmp_path / "new").exists()


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    def broken() -> None:
        raise OSError("no clock")

    with pytest.raises(OSError, match="no clock"):
        create(tmp_path / "new", clock=broken)  # type: ignore[arg-type]  # a clock that fails
    assert list((tmp_path / "new").iterdir()) == []
