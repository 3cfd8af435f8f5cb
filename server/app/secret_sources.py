"""Files and secrets that the configuration names, read; what is missing is told where it is named."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

from policies.document import DocumentErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from policies.document import DocumentProblem
    from server.config import Config, SecretSource

KeyPath = tuple[str | int, ...]
SECRET_LIMIT = 64 * 1024


class Reader:
    """Reads what the configuration names.

    Attributes:
        config: the configuration.
        environment: the environment variables.
        prompt: asks on the terminal.
    """

    def __init__(
        self,
        config: Config,
        environment: Mapping[str, str] = os.environ,
        prompt: Callable[[str], str] = getpass.getpass,
    ) -> None:
        self._config = config
        self._environment = environment
        self._prompt = prompt

    @property
    def folder(self) -> Path:
        """The folder of the configuration."""
        return self._config.file.absolute().parent

    def problem(self, path: KeyPath, message: str) -> DocumentProblem:
        """Return a problem with what the configuration says at `path`."""
        return self._config.problem(path, message)

    def file(self, path: KeyPath, file: Path) -> bytes:
        """Return a file's bytes. Raises DocumentErrors that point at the key by which the configuration names it."""
        try:
            return file.read_bytes()
        except OSError as error:
            raise self._missing(path, f"{file} can't be read: {error.strerror}") from error

    def secret(self, path: KeyPath, source: SecretSource) -> bytes:
        """Return a secret, without line end.

        Raises:
            DocumentErrors: it is not where the configuration says, or it is empty.
        """
        if source.file is not None:
            found = self.file((*path, "file"), source.file)
        elif source.environment is not None:
            found = self._variable((*path, "environment"), source.environment).encode()
        elif source.credential is not None:
            found = self._credential((*path, "credential"), source.credential)
        else:
            found = self._asked((*path, "prompt")).encode()
        secret = found.rstrip(b"\r\n")
        if not secret:
            raise self._missing(path, "the secret is empty")
        return secret

    def _variable(self, path: KeyPath, name: str) -> str:
        found = self._environment.get(name)
        if found is None:
            raise self._missing(path, f"the environment variable {name} is not set")
        return found

    def _credential(self, path: KeyPath, name: str) -> bytes:
        folder = self._environment.get("CREDENTIALS_DIRECTORY")
        if folder is None:
            raise self._missing(
                path, f"there are no credentials; give the systemd unit LoadCredentialEncrypted={name}:FILE"
            )
        return self.file(path, type(self._config.file)(folder) / name)

    def _asked(self, path: KeyPath) -> str:
        try:
            return self._prompt(f"{' '.join(map(str, path[:-1]))}: ")
        except (EOFError, OSError) as error:
            raise self._missing(path, "there is no terminal to ask on") from error

    def _missing(self, path: KeyPath, message: str) -> DocumentErrors:
        return DocumentErrors([self._config.problem(path, f"{path[-1]}: {message}")])
