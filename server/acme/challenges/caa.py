"""CAA: whether the owner of a domain lets this CA issue for it (RFC 8659, RFC 8657)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.rdtypes.ANY.CAA

from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.issue_value import parse_issue_value
from server.acme.challenges.lookup import Lookup, NoAnswer, lookup
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from server.config import CaaConfig

_CRITICAL = 0x80
_ISSUE, _ISSUE_WILD = "issue", "issuewild"
_UNDERSTOOD = frozenset({_ISSUE, _ISSUE_WILD, "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"})
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class CaaRecord:
    """One record: its flags, its tag in lower case, its value."""

    flags: int
    tag: str
    value: str


@dataclass(frozen=True, slots=True)
class Issuance:
    """What is to be allowed.

    Attributes:
        name: the DNS name without ``*.``.
        wildcard: whether it is about ``*.`` of the name.
        method: the challenge that showed control.
        accounts: the URLs of the account.
    """

    name: str
    wildcard: bool
    method: str
    accounts: tuple[str, ...]


def objection(records: Sequence[CaaRecord], identities: tuple[str, ...], asked: Issuance) -> str:
    """Say why the records of a domain forbid an issuance, empty when they allow it."""
    strange = sorted({each.tag for each in records if each.flags & _CRITICAL} - _UNDERSTOOD)
    if strange:
        return "a critical property is not understood"
    wild = [each for each in records if each.tag == _ISSUE_WILD] if asked.wildcard else []
    relevant = wild or [each for each in records if each.tag == _ISSUE]
    if not relevant or any(_allows(each.value, identities, asked) for each in relevant):
        return ""
    return "no record allows this CA, account and challenge"


def _allows(value: str, identities: tuple[str, ...], asked: Issuance) -> bool:
    parsed = parse_issue_value(value)
    if parsed is None or parsed.domain not in identities:
        return False
    accounts, methods = parsed.all("accounturi"), parsed.all("validationmethods")
    if len(accounts) > 1 or len(methods) > 1:
        return False  # said twice is not said (RFC 8657 sections 3 and 4)
    return all(each in asked.accounts for each in accounts) and all(asked.method in each.split(",") for each in methods)


class Caa:
    """Asks for CAA records and judges them.

    Args:
        lookup: asks.
        identities: what the records call this CA, in lower case.
        seconds: the time limit for all questions about one name.
    """

    def __init__(self, lookup: Lookup, identities: tuple[str, ...], seconds: float = 10.0) -> None:
        self.identities = identities
        self._lookup = lookup
        self._seconds = seconds

    async def check(
        self, asked: Issuance, trail: list[str], known: dict[str, Sequence[CaaRecord]] | None = None
    ) -> None:
        """Return when the issuance is allowed. Raises ValidationFailed: caa.

        Args:
            asked: what is to be allowed.
            trail: takes what was found.
            known: what was found just now for other names of the same order, by domain; takes what is found for this.
        """
        try:
            async with asyncio.timeout(self._seconds):
                owner, records = await self._relevant(asked.name, {} if known is None else known)
        except (NoAnswer, TimeoutError) as error:
            # Not knowing is not being allowed: an attacker could keep the answer away (RFC 8659 section 5.6).
            trail.append(f"CAA: {str(error) or 'no answer in time'}")
            detail = f"the CAA records of {asked.name} can't be looked up"
            raise ValidationFailed(ErrorType.CAA, detail) from None
        shown = "; ".join(f"{each.flags} {each.tag} {each.value!r}" for each in records[:_SHOWN])
        trail.append(f"CAA at {owner}: {shown}" if records else "CAA: none")
        wrong = objection(records, self.identities, asked)
        if wrong:
            raise ValidationFailed(ErrorType.CAA, f"the CAA records of {owner} forbid issuing: {wrong}", final=True)

    async def _relevant(self, name: str, known: dict[str, Sequence[CaaRecord]]) -> tuple[str, Sequence[CaaRecord]]:
        """Return the records of the name, or of the nearest name above that has any (RFC 8659 section 3)."""
        owner = name
        while owner:
            if owner not in known:
                known[owner] = await self._records(owner)
            if known[owner]:
                return owner, known[owner]
            owner = owner.partition(".")[2]
        return name, ()

    async def _records(self, owner: str) -> Sequence[CaaRecord]:
        return [
            CaaRecord(each.flags, each.tag.decode("ascii", "replace").lower(), each.value.decode("latin-1"))
            for each in await self._lookup.records(owner, "CAA")
            if isinstance(each, dns.rdtypes.ANY.CAA.CAA)
        ]


def caa(config: CaaConfig) -> Caa | None:
    """Return what the configuration describes, None where CAA is not looked at."""
    return Caa(lookup(config), config.identities, config.timeout_seconds) if config.identities else None
