"""What every endpoint says, whatever its protocol."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from policies.document import Strict


class Profiled(Strict):
    """What every endpoint says.

    Attributes:
        profiles: which profiles may be asked for; the first is the one for requests that name none.
        issuer: whose chain the endpoint hands out; None when there is only one issuer.
    """

    profiles: Annotated[tuple[str, ...], Field(min_length=1)]
    issuer: str | None = None

    def every_profile(self) -> tuple[str, ...]:
        """Return the profiles that may judge here, those included that nobody can ask for by name."""
        return self.profiles
