"""Names that policy forbids whatever the CSR will be: said at newOrder, before anybody validates anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca.csr import Csr, KeyShape
from ca.names import DistinguishedName
from policies.request import EnrollmentRequest, Kind
from server.acme.problems import about_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from policies.decision import Finding
    from policies.request import EndpointName, Requester


class ForbiddenNames:
    """Asks the policy about names alone.

    The policy takes the names of an ACME request from the order, not from the CSR, so it can be asked with a CSR that
    is a placeholder; what it finds about anything but names is left for finalize, when there is a real one.

    Args:
        objections: the policy, as far as it is about names; pure.
    """

    def __init__(self, objections: Callable[[EnrollmentRequest], tuple[Finding, ...]]) -> None:
        self._objections = objections
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        self._placeholder = Csr(
            der=b"",
            subject=DistinguishedName(),
            spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key=key,
            key_shape=KeyShape("ec", 256, "P-256"),
            names=(),
            extensions=(),
            attributes=(),
            challenge_password=None,
        )

    def findings(
        self, endpoint: EndpointName, profile: str | None, requester: Requester, now: datetime
    ) -> tuple[Finding, ...]:
        """Return what the policy has against the names that the requester's account asks for."""
        request = EnrollmentRequest(
            key="",
            kind=Kind.ENROLL,
            endpoint=endpoint,
            profile=profile,
            csr=self._placeholder,
            requester=requester,
            now=now,
        )
        return tuple(filter(about_names, self._objections(request)))
