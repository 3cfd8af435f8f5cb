"""What ACME's resources do, without HTTP: one module for each kind of resource, wired together here."""

from __future__ import annotations

from server.acme.service.accounts import Accounts
from server.acme.service.authentication import Authentication, Call
from server.acme.service.authorizations import Authorizations
from server.acme.service.bindings import Bindings
from server.acme.service.certificates import Certificates
from server.acme.service.endpoint import DEFAULT_LABEL, AcmeEndpoint, AcmeProfile, ExternalAccounts, Proofs, Timing
from server.acme.service.finalization import Finalization
from server.acme.service.limits import Rate, RateLimits
from server.acme.service.orders import Orders
from server.acme.service.pre_authorization import PreAuthorization
from server.acme.service.renewals import Renewals
from server.acme.service.retention import Retention
from server.acme.service.revocation import Revocation
from server.acme.service.validation import Validation


class Service:
    """One endpoint at work."""

    def __init__(self, endpoint: AcmeEndpoint) -> None:
        self.endpoint = endpoint
        self.authentication = Authentication(endpoint)
        self.validation = Validation(endpoint)
        self.retention = Retention(endpoint)
        self.finalization = Finalization(endpoint, self.authentication)
        self.renewals = Renewals(endpoint)
        self.bindings = Bindings(endpoint)
        self.accounts = Accounts(endpoint, self.authentication, self.bindings)
        self.orders = Orders(endpoint, self.authentication, self.finalization, self.renewals, self.bindings)
        self.certificates = Certificates(endpoint, self.authentication)
        self.authorizations = Authorizations(endpoint, self.authentication, self.validation)
        self.pre_authorization = PreAuthorization(
            endpoint, self.authentication, self.bindings, self.orders, self.authorizations
        )
        self.revocation = Revocation(endpoint, self.authentication)

    async def start(self) -> None:
        """Take up what the last process left behind. Raises Rejected when the store has trouble."""
        self.validation.start()
        await self.finalization.start()
        self.retention.start()

    async def stop(self) -> None:
        """Stop validating, finish what is being signed."""
        await self.retention.stop()
        await self.validation.stop()
        await self.finalization.stop()


__all__ = [
    "DEFAULT_LABEL",
    "AcmeEndpoint",
    "AcmeProfile",
    "Call",
    "ExternalAccounts",
    "Proofs",
    "Rate",
    "RateLimits",
    "Service",
    "Timing",
]
