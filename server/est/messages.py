"""What EST requests and replies are, apart from HTTP libraries and sockets (RFC 7030, clarified by RFC 8951)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from ca.csr import Csr


class Malformed(ValueError):
    """A request body that holds no certification request to judge; the one exception of the codec.

    Attributes:
        reason: the closed class of the fault.
        message: one sentence that the requester may see.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def problem(self) -> Problem:
        """The fault as every protocol records it."""
        return Problem(self.reason, self.message)


class Operation(StrEnum):
    """The operations that are served, by their path segment (RFC 7030 section 3.2.2, RFC 8295)."""

    CACERTS = "cacerts"
    CSRATTRS = "csrattrs"
    CRLS = "crls"
    EECERTS = "eecerts"
    SIMPLEENROLL = "simpleenroll"
    SIMPLEREENROLL = "simplereenroll"
    SERVERKEYGEN = "serverkeygen"
    FULLCMC = "fullcmc"

    @property
    def methods(self) -> tuple[str, ...]:
        """The HTTP methods that the operation takes; HEAD goes with GET (RFC 9110 section 9.3.2)."""
        return ("GET", "HEAD") if self in FETCHED else ("POST",)


FETCHED = frozenset({Operation.CACERTS, Operation.CSRATTRS, Operation.CRLS, Operation.EECERTS})
"""What anybody may fetch."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the path names: a label, None for the service without one, and an operation."""

    label: str | None
    operation: Operation


@dataclass(frozen=True, slots=True)
class BasicCredentials:
    """User and password of RFC 7617; the user may be empty (RFC 7030 section 3.2.3)."""

    username: str
    password: str = field(repr=False)


class Encoding(StrEnum):
    """How the body carried the certification request. RFC 8951 section 3 knows the first only."""

    BASE64 = "base64"
    PEM = "pem"
    DER = "der"


@dataclass(frozen=True, slots=True)
class EnrollmentBody:
    """A decoded simpleenroll or simplereenroll body, and how it was encoded."""

    csr: Csr
    encoding: Encoding


class Layout(StrEnum):
    """How base64 is laid out in replies. No single layout suits every client: see the README beside this file."""

    AUTO = "auto"
    WRAPPED = "wrapped"
    SINGLE = "single"


@dataclass(frozen=True, slots=True)
class KeyPart:
    """A key that the server made, as it leaves: PKCS#8, or CMS EnvelopedData around it; both DER."""

    octets: bytes = field(repr=False)
    encrypted: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply: status, header fields without Content-Length, and the whole body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
