"""Requests in which nobody proves who it is: a person must find out (RFC 8894 section 2.4, manual mode)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from policies.request import PossessionEvidence
from server.cms.certificates import key_digest
from server.scep.authorization.admission import Admission

if TYPE_CHECKING:
    from server.outcome import Issued, Problem
    from server.scep.authorization.admission import Asked

_DIGITS = 16


class ByHand:
    """Lets everybody be heard who presents no challenge; only profiles that wait for a person take such evidence."""

    async def admit(self, asked: Asked) -> Admission | Problem | None:
        """Admit the key; whoever presents a challenge is judged by that."""
        if asked.challenge:
            return None
        key = key_digest(asked.csr.spki)
        return Admission(f"possession:{key[:_DIGITS]}", PossessionEvidence(key))

    async def confirm(self, transaction: str, csr: bytes | None, issued: Issued) -> None:  # noqa: ARG002 - nobody to ask
        """Let the certificate go."""
        return

    async def report(self, transaction: str, csr: bytes | None, problem: Problem) -> None:
        """Tell nobody."""
