"""Audit events: who did what to which request or certificate, and when. The store only ever appends them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime


class Action(StrEnum):
    """What may happen to a request or a certificate; what the policy said is in each request's own record."""

    APPROVED = "approved"
    """A person approved."""
    REJECTED = "rejected"
    """A person said no."""
    ISSUED = "issued"
    """A certificate was recorded."""
    FAILED = "failed"
    """An intent came to nothing."""
    QUARANTINED = "quarantined"
    """An issuer returned a certificate that is not what was planned."""
    REVOKED = "revoked"
    """A certificate was revoked."""
    RELEASED = "released"
    """A certificate that was on hold is good again."""
    KEY_READ = "key-read"
    """A person read a key that is kept, encrypted."""
    ISSUER_TOLD = "issuer-told"
    """The CA elsewhere that issued a certificate was told of its revocation."""
    CREDENTIAL_MADE = "credential-made"
    """A secret for a requester was made."""
    CREDENTIAL_ENDED = "credential-ended"
    """A secret was withdrawn."""
    UNPAUSED = "unpaused"
    """An ACME account that kept failing may try again."""
    TERMS_AGREED = "terms-agreed"
    """An ACME account agreed to terms of service that had changed."""
    ACCOUNT_ENDED = "account-ended"
    """An ACME account was ended, by itself or by a person."""
    RENEWALS_MOVED = "renewals-moved"
    """The renewal windows of certificates were moved."""


class AuditEvent(NamedTuple):
    """One thing that happened.

    Attributes:
        at: when, aware UTC.
        action: what.
        actor: who: a requester's identity, or ``admin:`` with a name, or ``certwright`` itself.
        request_id: the request that it happened to.
        serial: the certificate that it happened to.
        detail: anything else, for people.
    """

    at: datetime
    action: Action
    actor: str
    request_id: str | None = None
    serial: int | None = None
    detail: str = ""

    def row(self) -> dict[str, object]:
        """Return the event as a row of ``audit_events``."""
        return {
            "at": self.at,
            "action": str(self.action),
            "actor": self.actor,
            "request_id": self.request_id,
            "serial": self.serial,
            "detail": self.detail,
        }
