"""The test mode of an ACME endpoint."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from policies.document import Strict


class TestModeConfig(Strict):
    """An endpoint that makes life hard for clients; only profiles with ``testing: true`` may stand beside it.

    Attributes:
        refuse_nonces: how many good nonces of a hundred are refused.
        odd_directory: whether the directory has a member that nobody knows.
        slow_validation: seconds that a validation waits at most before it begins.
        slow_finalize: whether finalize answers ``processing`` at once.
    """

    __test__ = False

    refuse_nonces: Annotated[int, Field(ge=0, le=90)] = 5
    odd_directory: bool = True
    slow_validation: Annotated[float, Field(ge=0, le=8)] = 3.0
    slow_finalize: bool = True
