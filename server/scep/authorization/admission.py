"""What is asked of whoever authorises first enrollments, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ca.csr import Csr
    from policies.request import ChallengeEvidence, EndpointName, PossessionEvidence
    from server.outcome import Issued, Problem


class Asked(NamedTuple):
    """A first enrollment whose message and proof of possession hold.

    Attributes:
        endpoint: where it came in.
        transaction: its transactionID.
        csr: the certification request, the challenge password still in it.
        challenge: the challenge password, None when there is none.
        address: the peer's IP address.
    """

    endpoint: EndpointName
    transaction: str
    csr: Csr
    challenge: str | None
    address: str | None


class Admission(NamedTuple):
    """The requester may be heard by the policy.

    Attributes:
        identity: `Requester.identity`.
        evidence: what was presented and is right.
        profile: the only profile that it is good for, None for the endpoint's first.
        spends: `EnrollmentRequest.spends`.
    """

    identity: str
    evidence: ChallengeEvidence | PossessionEvidence
    profile: str | None = None
    spends: tuple[str, ...] = ()


class Authorizer(Protocol):
    """Decides whether a first enrollment may be heard."""

    async def admit(self, asked: Asked) -> Admission | Problem | None:
        """Return the admission, a problem that ends it, or None when somebody else may know."""
        ...

    async def confirm(self, transaction: str, csr: bytes | None, issued: Issued) -> Problem | None:
        """Do what must be done before a certificate is delivered. Returns why it must not be, None when it may.

        Called again when a client asks again. The request is as it was sent, with its challenge, which is on no record:
        None when the client polls.
        """
        ...

    async def report(self, transaction: str, csr: bytes | None, problem: Problem) -> None:
        """Hear that nothing was issued; arguments as above."""
        ...


@runtime_checkable
class ClosingAuthorizer(Protocol):
    """One that holds connections; a power of its own."""

    async def close(self) -> None:
        """Give them back. The authorizer is not used afterwards."""
        ...
