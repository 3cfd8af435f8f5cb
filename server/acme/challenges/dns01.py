"""The dns-01 challenge (RFC 8555 section 8.4): a TXT record below the name holds a digest of the key authorization."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import dns.rdtypes.ANY.TXT

from server.acme.challenges.failure import ValidationFailed
from server.acme.challenges.lookup import NoAnswer, lookup
from server.acme.codec.encodings import encode_base64url
from server.acme.messages import ErrorType

if TYPE_CHECKING:
    from server.acme.challenges.lookup import Lookup
    from server.acme.challenges.question import Question
    from server.config import Dns01 as Dns01Config

_RECORDS = 100
"""Records that are looked at: clients that never clean up leave a few behind."""
_LABEL = "_acme-challenge"


class Dns01:
    """Validates dns-01.

    Args:
        lookup: asks DNS.
    """

    type = "dns-01"

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    async def validate(self, question: Question) -> None:
        """Look up and compare once; one right record among others is enough. Raises ValidationFailed."""
        await expect_digest(self._lookup, f"{_LABEL}.{question.name}", question)


async def expect_digest(lookup: Lookup, where: str, question: Question) -> None:
    """Return when one of the texts at a name is the digest of the key authorization. Raises ValidationFailed."""
    digest = hashlib.sha256(question.key_authorization.encode("ascii")).digest()
    found = await texts(lookup, where, question.trail)
    if encode_base64url(digest).encode("ascii") not in found:
        detail = f"none of the {len(found)} TXT records at {where} is that of this account and token"
        raise ValidationFailed(ErrorType.UNAUTHORIZED, detail)


async def texts(lookup: Lookup, name: str, trail: list[str]) -> list[bytes]:
    """Return the texts at a name, at least one, aliases followed; each is its character-strings joined.

    Raises ValidationFailed: dns.
    """
    try:
        records = await lookup.records(name, "TXT")
    except NoAnswer as error:
        trail.append(f"TXT at {name}: {error}")
        raise ValidationFailed(ErrorType.DNS, f"no usable answer from DNS for {name}") from None
    found = [b"".join(each.strings) for each in records[:_RECORDS] if isinstance(each, dns.rdtypes.ANY.TXT.TXT)]
    trail.append(f"TXT at {name}: {len(found)} records")
    if not found:
        raise ValidationFailed(ErrorType.DNS, f"there is no TXT record at {name}")
    return found


def dns01(config: Dns01Config) -> Dns01:
    """Return the validator that the configuration of an endpoint describes."""
    return Dns01(lookup(config))
