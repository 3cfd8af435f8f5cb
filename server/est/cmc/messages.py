"""What CMC requests and responses say (RFC 5272, updated by RFC 6402); nothing here is judged yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from server.outcome import Problem, Reason

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from ca.csr import Csr
    from server.cms.algorithms import Digest

PKI_DATA = "1.3.6.1.5.5.7.12.2"
PKI_RESPONSE = "1.3.6.1.5.5.7.12.3"
WHOLE = 0
"""The body part that is the whole message (RFC 5272 section 3.2.2)."""


class Status(IntEnum):
    """CMCStatus (RFC 5272 section 6.1.3), as far as it is sent."""

    SUCCESS = 0
    FAILED = 2
    PENDING = 3
    NO_SUPPORT = 4


class FailInfo(IntEnum):
    """CMCFailInfo (RFC 5272 section 6.1.4), as far as it is sent."""

    BAD_ALG = 0
    BAD_MESSAGE_CHECK = 1
    BAD_REQUEST = 2
    BAD_TIME = 3
    BAD_CERT_ID = 4
    BAD_IDENTITY = 7
    POP_REQUIRED = 8
    POP_FAILED = 9
    INTERNAL_CA_ERROR = 11
    TRY_LATER = 12


class CmcFault(ValueError):
    """A message, or a part of one, that can't be granted as it is; the one exception of this package.

    Attributes:
        problem: why, as every protocol records it.
        fail: what CMC calls it; None: as the problem's reason says.
        parts: the body parts that are at fault.
        status: failed, or not supported here.
    """

    def __init__(
        self,
        fail: FailInfo | None,
        problem: Problem,
        parts: tuple[int, ...] = (WHOLE,),
        status: Status = Status.FAILED,
    ) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.fail = fail
        self.parts = parts
        self.status = status


def malformed(message: str, *parts: int) -> CmcFault:
    """Return the fault of octets that are not what they must be."""
    return CmcFault(FailInfo.BAD_REQUEST, Problem(Reason.MALFORMED, message), parts or (WHOLE,))


def unsupported_algorithm(message: str, *parts: int) -> CmcFault:
    """Return the fault of an algorithm that is not taken."""
    return CmcFault(FailInfo.BAD_ALG, Problem(Reason.BAD_ALGORITHM, message), parts or (WHOLE,))


@dataclass(frozen=True, slots=True)
class Witness:
    """A MAC that shows knowledge of a shared secret (RFC 5272 sections 6.2.1 and 6.3.1.1).

    Attributes:
        hash: makes the key of the secret.
        mac: the digest of the HMAC.
        value: the MAC.
    """

    hash: Digest
    mac: Digest
    value: bytes


@dataclass(frozen=True, slots=True)
class Query:
    """A question for the outcome of a request that was pending (section 6.13)."""

    part: int
    token: bytes


@dataclass(frozen=True, slots=True)
class Revocation:
    """A request to revoke a certificate (section 6.11).

    Attributes:
        part: its body part.
        issuer: DER of the issuer's name.
        serial: the certificate's serial number.
        reason: the CRLReason; unspecified also for those that no administrator here would use.
        invalid_since: since when it should not be trusted, None when not said.
        passphrase: the secret that was agreed upon when it was issued, None without.
    """

    part: int
    issuer: bytes
    serial: int
    reason: x509.ReasonFlags
    invalid_since: datetime | None = None
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CrlQuery:
    """A question for a revocation list (section 6.10).

    Attributes:
        part: its body part.
        issuer: DER of the name of the issuer of the list.
        at: the list is to be the last one from before then, None: the newest.
    """

    part: int
    issuer: bytes
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CertificationRequest:
    """One request, its proof of possession verified, or what is wrong with it.

    Attributes:
        part: its body part.
        csr: what is asked for.
        link: the POP link witness, None without.
        issuer: DER of the name of the issuer that it names (CRMF), None without.
    """

    part: int
    csr: Csr
    link: Witness | None = None
    issuer: bytes | None = None


@dataclass(frozen=True, slots=True)
class PkiData:
    """A full request.

    Attributes:
        requests: those that can be read and whose keys are proven, in order.
        faults: what is wrong with the others.
        request_sequence: DER of all requests, which identityProofV2 is over.
        queries, revocations, crl_query: what is asked besides.
        transaction: the transactionId.
        sender_nonce: to be returned as the recipient's.
        data_return: octets that the client wants back.
        identification: who it says it is.
        proof: that it is that one.
        link_random: what POP link witnesses are over.
    """

    requests: tuple[CertificationRequest, ...]
    faults: tuple[CmcFault, ...]
    request_sequence: bytes
    queries: tuple[Query, ...] = ()
    revocations: tuple[Revocation, ...] = ()
    crl_query: CrlQuery | None = None
    transaction: int | None = None
    sender_nonce: bytes | None = None
    data_return: bytes | None = None
    identification: str | None = None
    proof: Witness | None = None
    link_random: bytes | None = None


@dataclass(frozen=True, slots=True)
class StatusInfo:
    """What became of some body parts (CMCStatusInfoV2, section 6.1.1).

    Attributes:
        status: in one word.
        parts: which; never empty.
        text: for people.
        fail: why it failed, None when it did not.
        pending: the token to ask with and the time from which on; None when it is not pending.
    """

    status: Status
    parts: tuple[int, ...]
    text: str = ""
    fail: FailInfo | None = None
    pending: tuple[bytes, datetime] | None = None


@dataclass(frozen=True, slots=True)
class PkiResponse:
    """A full response.

    Attributes:
        statuses: what became of each part of the request.
        certificates: DER of those that were issued.
        crls: DER of revocation lists that were asked for.
        sender_nonce: ours.
        transaction, recipient_nonce, data_return: the client's own, returned.
    """

    statuses: tuple[StatusInfo, ...]
    certificates: tuple[bytes, ...] = field(default=())
    crls: tuple[bytes, ...] = field(default=())
    sender_nonce: bytes = b""
    transaction: int | None = None
    recipient_nonce: bytes | None = None
    data_return: bytes | None = None
