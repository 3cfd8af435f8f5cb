"""What stands where in a deployment folder, and the credentials that were generated for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PROTECTED = ("ca", "ra", "tls", "secrets")
"""The folders that hold keys and secrets: nobody but the owner looks inside."""


@dataclass(frozen=True, slots=True)
class Ports:
    """TCP ports: of the three listeners, and the one on which http-01 answers are looked for."""

    https: int = 8443
    http: int = 8080
    admin: int = 8081
    http01: int = 5002


@dataclass(frozen=True, slots=True)
class Secrets:
    """What clients present to be let in. The server itself keeps only hashes of these."""

    est_username: str
    est_password: str
    scep_challenge: str

    def to_json(self) -> str:
        """Return the text of ``credentials.json``."""
        est = {"username": self.est_username, "password": self.est_password}
        return json.dumps({"est": est, "scep": {"challenge": self.scep_challenge}}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Secrets:
        """Read ``credentials.json``. Raises ValueError when it is not what `to_json` writes."""
        try:
            document = json.loads(text)
            values = document["est"]["username"], document["est"]["password"], document["scep"]["challenge"]
        except (KeyError, TypeError) as error:
            raise ValueError("credentials.json lacks est.username, est.password or scep.challenge") from error
        if not all(isinstance(value, str) for value in values):
            raise ValueError("credentials.json holds something that is not text")
        return cls(*values)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment as it was made.

    Attributes:
        folder: where it is.
        ports: the ports that its ``server.yaml`` names.
        secrets: the content of its ``credentials.json``.
        fingerprint: SHA-256 of the root's certificate.
    """

    folder: Path
    ports: Ports
    secrets: Secrets
    fingerprint: bytes

    @property
    def config(self) -> Path:
        """The server's configuration."""
        return self.folder / "server.yaml"

    @property
    def root_pem(self) -> Path:
        """The root's certificate: what clients trust."""
        return self.folder / "root.pem"

    @property
    def chain_pem(self) -> Path:
        """The issuing CA's certificate, then the root's."""
        return self.folder / "chain.pem"

    @property
    def ra_pem(self) -> Path:
        """The certificate for which SCEP clients encrypt."""
        return self.folder / "ra" / "ra.pem"

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / "certwright.db"
