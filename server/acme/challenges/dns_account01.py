"""The dns-account-01 challenge (draft-ietf-acme-dns-account-label): dns-01 at a label of each account's own."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from typing import TYPE_CHECKING

from server.acme.challenges.dns01 import expect_digest
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.lookup import lookup
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from server.acme.challenges.lookup import Lookup
    from server.acme.challenges.question import Question
    from server.config import Dns01 as Dns01Config

_OCTETS = 10


def account_label(account: str) -> str:
    """Return the label of an account, by its URL."""
    digest = hashlib.sha256(account.encode("ascii")).digest()[:_OCTETS]
    return f"_{b32encode(digest).decode('ascii').lower()}"


class DnsAccount01:
    """Validates dns-account-01.

    Args:
        lookup: asks DNS.
    """

    type = "dns-account-01"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def validate(self, question: Question) -> None:
        """Look up and compare once, for each URL that the account is known by. Raises ValidationFailed."""
        failure = ValidationFailed(ErrorType.UNAUTHORIZED, "the account has no URL", final=True)
        for account in question.accounts:
            try:
                await expect_digest(self._lookup, f"{account_label(account)}._acme-challenge.{question.name}", question)
            except ValidationFailed as failed:
                failure = failed
            else:
                return
        raise failure


def dns_account01(config: Dns01Config) -> DnsAccount01:
    """Return the validator that the configuration describes."""
    return DnsAccount01(lookup(config))
