"""Orders (RFC 8555 section 7.4)."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ca.names import DnsName, IpAddress, dns_name
from policies.request import AccountEvidence, DeviceEvidence, Requester, account_identity
from server.acme import states
from server.acme.challenges import can_prove
from server.acme.challenges.device_attest01 import DeviceAttest01
from server.acme.codec.device_identifiers import DEVICE_TYPES, device_of
from server.acme.codec.encodings import malformed
from server.acme.codec.replies import encode_order
from server.acme.codec.requests import compound, decode_new_order
from server.acme.messages import (
    ErrorType,
    Identifier,
    Order,
    OrderStatus,
    Rejected,
    Reply,
    Subproblem,
    rejected,
)
from server.acme.records import orders
from server.acme.records.authorizations import held_authorizations
from server.acme.records.orders import Placed, Placement
from server.acme.service.authentication import deactivated, missing
from server.acme.service.forbidden_names import ForbiddenNames
from server.acme.service.limits import Limiter
from server.acme.service.parts import covering, make_order
from server.acme.service.terms import Terms

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ca.names import GeneralName
    from policies.decision import Finding
    from policies.request import Evidence
    from server.acme.messages import Authorization, NewOrder
    from server.acme.service.authentication import Authentication, Call, Signed
    from server.acme.service.bindings import Bindings
    from server.acme.service.endpoint import AcmeEndpoint
    from server.acme.service.finalization import Finalization
    from server.acme.service.renewals import Renewals

_STRANGER = "this device is not one of those that may ask for certificates here"
_NO_PROOF = "no challenge offered here can prove control over this identifier"


@lru_cache(maxsize=1024)
def names_of(identifiers: tuple[Identifier, ...]) -> tuple[DnsName | IpAddress, ...]:
    """Return the names that a certificate for these identifiers has, beside those of devices."""
    return tuple(
        IpAddress(ip_address(each.value)) if each.type == "ip" else dns_name(each.value)
        for each in identifiers
        if each.type not in DEVICE_TYPES
    )


def requester(
    account: str, names: tuple[GeneralName, ...], address: str | None, devices: tuple[str, ...] = ()
) -> Requester:
    """Return who asks, with the evidence: for these names, and from these devices."""
    evidence: tuple[Evidence, ...] = (AccountEvidence(account, names),)
    return Requester(account_identity(account), (*evidence, DeviceEvidence(devices)) if devices else evidence, address)


def devices_of(identifiers: tuple[Identifier, ...]) -> tuple[str, ...]:
    """Return the devices among identifiers, without their assigners and types."""
    return tuple(dict.fromkeys(device_of(each.value) for each in identifiers if each.type in DEVICE_TYPES))


class Orders:
    """newOrder and orders."""

    def __init__(
        self,
        endpoint: AcmeEndpoint,
        authentication: Authentication,
        finalization: Finalization,
        renewals: Renewals,
        bindings: Bindings,
    ) -> None:
        self._bindings = bindings
        self._endpoint = endpoint
        self._scope = str(endpoint.name)
        self._renewals = renewals
        self._authentication = authentication
        self._finalization = finalization
        self._forbidden = ForbiddenNames(endpoint.objections_to_names)
        self._limiter = Limiter(endpoint)
        self._terms = Terms(endpoint)

    async def create(self, call: Call) -> Reply:
        """Answer newOrder: 201 with an order that waits for authorizations (section 7.4)."""
        signed = await self._authentication.by_account(call)
        request = decode_new_order(signed.payload)
        await self._terms.judge(signed)
        profile = await self._bindings.profile(signed, request)
        if profile != request.profile:
            request = request._replace(profile=profile)
        self._judge(call, signed, request)
        replaced = await self._renewals.judge(signed, request)
        order, parts = make_order(self._endpoint, signed.account, request, await self._held(signed, request))
        now = self._endpoint.clock()

        def limit(connection: sa.Connection) -> Rejected | None:
            return self._limiter.new_order(connection, signed, call.address, request, replaced.names)

        placement = Placement(signed.owner, order, parts, self._scope, now, replaced.serial, call.address, limit)
        match await self._endpoint.place(placement):
            case Placed.YES:
                call.transaction = order.id
                return order_reply(order, signed, 201)
            case Placed.NO_ACCOUNT:
                raise deactivated()
            case Placed.REPLACED:
                raise rejected(ErrorType.ALREADY_REPLACED, "another order replaces that certificate already")

    def _judge(self, call: Call, signed: Signed, request: NewOrder) -> None:
        """Refuse now what could never be issued, naming each identifier at fault."""
        types = [each.type for each in self._endpoint.proofs(request.profile).challenges]
        helpless = tuple(each for each in request.identifiers if not any(can_prove(type_, each) for type_ in types))
        if helpless:
            problems = tuple(Subproblem(ErrorType.REJECTED_IDENTIFIER, _NO_PROOF, each) for each in helpless)
            raise Rejected(compound(problems, _NO_PROOF))
        self.judge_names(call, signed, request)

    async def _held(self, signed: Signed, request: NewOrder) -> tuple[Authorization, ...]:
        """Return what the account was authorized for before there was an order."""
        if not (self._endpoint.pre_authorization and self._endpoint.reuse):
            return ()
        now, names = self._endpoint.clock(), covering(request.identifiers)
        return await self._endpoint.read(lambda c: held_authorizations(c, signed.account, names, now))

    def judge_names(self, call: Call, signed: Signed, request: NewOrder, status: int = 0) -> None:
        """Refuse what the policy does not allow, whatever the CSR will be. Raises Rejected."""
        if request.profile is not None and request.profile not in self._endpoint.profiles:
            raise rejected(ErrorType.INVALID_PROFILE, "the profile is not one of those in the directory")
        self._judge_devices(request)
        who = requester(signed.account, names_of(request.identifiers), call.address, devices_of(request.identifiers))
        findings = self._forbidden.findings(self._endpoint.name, request.profile, who, self._endpoint.clock())
        if findings:
            problems = tuple(_subproblem(each, request.identifiers) for each in findings)
            document = compound(problems, "the policy does not allow some of the names")
            raise Rejected(replace(document, status=status), findings=findings)

    def _judge_devices(self, request: NewOrder) -> None:
        offered = self._endpoint.proofs(request.profile).challenges
        judges = [each for each in offered if isinstance(each, DeviceAttest01)]
        devices = [each for each in request.identifiers if each.type in DEVICE_TYPES]
        strangers = tuple(each for each in devices if not any(judge.knows(each) for judge in judges))
        if strangers:
            problems = tuple(Subproblem(ErrorType.REJECTED_IDENTIFIER, _STRANGER, each) for each in strangers)
            raise Rejected(compound(problems, "some of the devices are not known here"))

    async def read(self, call: Call, order: str) -> Reply:
        """Answer POST-as-GET to an order; what is processing is pushed on."""
        signed = await self._reader(call, order)
        now = self._endpoint.clock()

        def work(connection: sa.Connection) -> Order | Rejected:
            return orders.find_order(connection, signed.owner, order, now) or missing(connection, signed)

        found = await self._endpoint.read(work)
        if found.status == OrderStatus.PROCESSING:
            self._finalization.resume(found)
        return order_reply(found, signed, 200, self._endpoint.timing.processing_retry)

    async def _reader(self, call: Call, order: str) -> Signed:
        signed = await self._authentication.by_account(call)
        call.transaction = order
        if signed.payload:
            raise malformed("this resource is read with POST-as-GET: the payload must be empty")
        return signed


def order_reply(order: Order, signed: Signed, status: int, retry_after: int | None = None) -> Reply:
    """Return the reply with an order; Retry-After while it is processing."""
    return Reply(
        status,
        encode_order(order, signed.urls),
        location=signed.urls.order(order.id),
        retry_after=retry_after if order.status == OrderStatus.PROCESSING else None,
        facts={"order": order.id, "order_status": order.status},
    )


def _subproblem(finding: Finding, identifiers: tuple[Identifier, ...]) -> Subproblem:
    """Tie a finding to the identifier it is about; to the first when it does not say."""
    named = finding.value.lower().removeprefix("dns:")
    named = named if named.startswith("ip:") else f"dns:{named}"
    identifier = next((each for each in identifiers if f"{each.type}:{each.value}" == named), identifiers[0])
    return Subproblem(ErrorType.REJECTED_IDENTIFIER, finding.message, identifier)


def lost(connection: sa.Connection, authorization: Authorization, error: dict[str, object]) -> None:
    """Make the unfinished orders invalid that rely on an authorization which is lost (RFC 8555 section 7.1.6)."""
    sources = states.sources(states.ORDER, states.OrderEvent.AUTHORIZATION_LOST)
    listing: tuple[str, ...] = (authorization.order,)
    if not authorization.order:  # it came before any order, and any number of them may rely on it
        listing = orders.relying_on(connection, authorization.account, authorization.id, sources)
    for order in listing:
        orders.move_order(connection, order, sources, OrderStatus.INVALID, error)
