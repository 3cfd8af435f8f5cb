"""A key in an HSM, as the configuration names it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from policies.document import Strict
from server.config.listeners import PositiveSeconds
from server.config.secret_sources import SecretSource


class HsmKeyConfig(Strict):
    """A key in an HSM.

    Attributes:
        module: the HSM's PKCS#11 library.
        token: the token's label.
        pin: where the user's PIN comes from.
        key: the key's label.
        timeout_seconds: for one operation; a signer process that takes longer is replaced.
    """

    module: Path
    token: Annotated[str, Field(min_length=1, max_length=32)]
    pin: SecretSource
    key: Annotated[str, Field(min_length=1)]
    timeout_seconds: PositiveSeconds = 10

    def secret_files(self) -> tuple[Path, ...]:
        """Return the files that only the server may read."""
        return (self.pin.file,) if self.pin.file is not None else ()
