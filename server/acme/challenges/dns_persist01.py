"""The dns-persist-01 challenge (draft-ietf-acme-dns-persist): a TXT record that stays lets an account have a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from server.acme.challenges.dns01 import texts
from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.issue_value import parse_issue_value
from server.acme.challenges.lookup import lookup
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from collections.abc import Callable

    from server.acme.challenges.lookup import Lookup
    from server.acme.challenges.question import Question
    from server.config import DnsPersist01 as DnsPersist01Config

_LABEL = "_validation-persist"
_DIGITS = 15


class DnsPersist01:
    """Validates dns-persist-01.

    Args:
        lookup: asks DNS.
        identities: what records call this CA, in lower case, at most ten.
        now: seconds since the epoch.
    """

    type = "dns-persist-01"

    def __init__(self, lookup: Lookup, identities: tuple[str, ...], now: Callable[[], float]) -> None:
        self._lookup = lookup
        self._identities = identities
        self._now = now

    async def validate(self, question: Question) -> None:
        """Look up and judge once; one right record among others is enough. Raises ValidationFailed."""
        where = f"{_LABEL}.{question.name}"
        found = await texts(self._lookup, where, question.trail)
        objections = [self._objection(text.decode("latin-1"), question) for text in found]
        question.trail.extend(each or "the record of this account" for each in objections)
        if "" not in objections:
            detail = f"none of the {len(found)} TXT records at {where} lets this CA and account have the name"
            raise ValidationFailed(ErrorType.UNAUTHORIZED, detail)

    def _objection(self, text: str, question: Question) -> str:
        """Say why a record does not let the account have the name, empty when it does."""
        value = parse_issue_value(text)
        if value is None:
            return "a record that does not follow the grammar"
        accounts, policies, ends = (value.all(tag) for tag in ("accounturi", "policy", "persistuntil"))
        faults = (
            (value.domain not in self._identities, "a record for another CA"),
            (
                len(accounts) != 1 or accounts[0] not in question.accounts,
                "a record for another account, or for none or several",
            ),
            (len(ends) > 1 or len(policies) > 1, "a record that says something twice"),
            (not all(map(_is_number, ends)), "a record whose persistUntil is not a number"),
            (any(_is_number(end) and int(end) < self._now() for end in ends), "a record that is over"),
            (question.wildcard and "wildcard" not in map(str.lower, policies), "a record without policy=wildcard"),
        )
        return next((text for wrong, text in faults if wrong), "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS


def dns_persist01(config: DnsPersist01Config, now: Callable[[], float]) -> DnsPersist01:
    """Return the validator that the configuration describes."""
    return DnsPersist01(lookup(config), config.identities, now)
