"""Where a secret comes from: never from the configuration file itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from policies.document import Strict

_SOURCES = ("file", "environment", "credential", "prompt")


class SecretSource(Strict):
    """Where a secret comes from: exactly one of these.

    Attributes:
        file: a file that holds it, and a line end that does not count.
        environment: the name of an environment variable.
        credential: the name of a systemd credential (``LoadCredentialEncrypted=`` in the unit).
        prompt: whether it is asked for on the terminal, once, when the server starts.
    """

    file: Path | None = None
    environment: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    credential: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,255}$")] | None = None
    prompt: bool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretSource:
        if sum(bool(getattr(self, name)) for name in _SOURCES) != 1:
            raise ValueError("give exactly one of file: FILE, environment: VARIABLE, credential: NAME and prompt: true")
        return self
