"""Why a validation did not succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.acme.messages import ErrorType


class ValidationFailed(Exception):
    """Control over the identifier was not shown; nothing of what the peer sent is in here.

    Attributes:
        error: ``connection``, ``dns``, ``tls``, ``incorrectResponse`` or ``unauthorized``.
        detail: one sentence for the client.
        final: True when trying again can't help.
    """

    def __init__(self, error: ErrorType, detail: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.error = error
        self.detail = detail
        self.final = final
