"""What one validation is about, and what was seen on the way."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Question:
    """Whether an account controls a name.

    Attributes:
        name: the DNS name in lower case without ``*.``, or the text of an IP address.
        token: the challenge's token.
        key_authorization: token and thumbprint of the account key (RFC 8555 section 8.1).
        wildcard: whether it is about ``*.`` of the name, or about every name below it, too (RFC 9444).
        accounts: the URLs of the account, one for each external URL of the server.
        trail: what was looked up, connected to and found, a line each, for administrators only: it may hold a little
            of what the peer sent.
    """

    name: str
    token: str
    key_authorization: str
    wildcard: bool = False
    accounts: tuple[str, ...] = ()
    trail: list[str] = field(default_factory=list)
