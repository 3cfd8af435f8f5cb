"""EST over HTTP (RFC 7030 section 3.2): paths, methods and header fields; outcomes become replies."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from cryptography.hazmat.primitives.serialization import Encoding

from server.est import codec, fullcmc, problems
from server.est.cmc.responses import Responder
from server.est.csrattrs import Form, attributes_of, write_csrattrs
from server.est.generated import GeneratedKeys
from server.est.keygen import KeyGenerator, NewKey
from server.est.messages import FETCHED, Layout, Malformed, Operation
from server.est.service import EstEndpoint, Submission, enroll
from server.http import BodyTooLarge, address, expect, note, peer, read_body
from server.outcome import Issued, Pending, Problem, Reason, Refused
from server.store import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from server.est.messages import Reply

__all__ = ["DEFAULT_LABEL", "EstEndpoint", "GeneratedKeys", "KeyGenerator", "Responder", "mount"]

DEFAULT_LABEL = "default"


_NO_STORE = Problem(Reason.STORE_UNAVAILABLE, "The record can't be read at the moment.", retry_after=5)


def mount(app: web.Application, endpoints: Mapping[str, EstEndpoint]) -> None:
    """Serve EST under ``/.well-known/est/``, for each label and without one (RFC 7030 section 3.2.2).

    Without a label it is the endpoint ``default``, or the first where none is called so: the RFC demands that the
    service exists without a label. The replies to cacerts are made here, once.
    """
    services: dict[str | None, _Service] = {label: _Service(endpoint) for label, endpoint in endpoints.items()}
    for label, endpoint in endpoints.items():
        services |= {alias.label: services[label] for alias in endpoint.config.aliases}
    services[None] = services.get(DEFAULT_LABEL) or next(iter(services.values()))

    async def dispatch(request: web.Request) -> web.Response:
        target = codec.parse_target(request.rel_url.raw_path)
        service = services.get(target.label) if target else None
        if target is None or service is None:
            return _response(problems.not_found())
        note(request, endpoint=service.name, operation=target.operation.value)
        if request.method not in target.operation.methods:
            served = service.serves(target.operation)
            return _response(problems.method_not_allowed(target.operation.methods) if served else problems.not_found())
        if target.operation in FETCHED:
            return _response(await service.fetch(request, target.operation))
        if target.operation is Operation.SERVERKEYGEN and not service.generates():
            return _response(problems.not_found())
        if target.operation is Operation.FULLCMC:
            return _response(await service.full_cmc(request))
        return _response(await service.enroll(request, target.operation))

    app.router.add_route("*", codec.PREFIX + "{path:.*}", dispatch, expect_handler=expect)


def _response(reply: Reply) -> web.Response:
    """Return the reply for aiohttp, which sends it with Content-Length: strongSwan and libest read nothing else."""
    return web.Response(status=reply.status, headers=reply.headers, body=reply.body)


class _Service:
    """One endpoint, with what is the same in all its replies made once."""

    def __init__(self, endpoint: EstEndpoint) -> None:
        self.name = str(endpoint.name)
        self._endpoint = endpoint
        self._layout = Layout(endpoint.config.base64_layout)
        self._form = Form(endpoint.config.csrattrs)
        self._wants_both = endpoint.config.authenticate.require == "both"
        certificates = (*endpoint.chain(), *endpoint.links)
        chain = [certificate.public_bytes(Encoding.DER) for certificate in certificates]
        self._cacerts = {wrapped: codec.cacerts_reply(chain, wrapped=wrapped) for wrapped in (False, True)}
        self._pem = codec.cacerts_in_pem(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
        self._above = tuple(chain[: len(endpoint.chain()) - 1]) if endpoint.config.include_chain else ()

    async def fetch(self, request: web.Request, operation: Operation) -> Reply:
        """Answer what anybody may fetch."""
        if operation is Operation.CACERTS:
            return self.cacerts(request)
        if operation is Operation.EECERTS:
            return await self.eecerts(request)
        return self.csrattrs(request) if operation is Operation.CSRATTRS else await self.crls(request)

    def cacerts(self, request: web.Request) -> Reply:
        """Answer cacerts (section 4.1), which asks for no authentication."""
        if codec.wants_pem(request.headers.get(hdrs.ACCEPT)):
            return self._pem
        return self._cacerts[self._is_wrapped(request)]

    def csrattrs(self, request: web.Request) -> Reply:
        """Answer csrattrs (section 4.5), which asks for no authentication, by the profile as it is now."""
        expected = self._endpoint.expected()
        demanded = attributes_of(self._endpoint.config)
        found = write_csrattrs(expected, self._form, demanded) if expected is not None else None
        return codec.csrattrs_reply(found, wrapped=self._is_wrapped(request))

    async def crls(self, request: web.Request) -> Reply:
        """Answer crls (RFC 8295) to anybody, as the list is published everywhere."""
        try:
            newest = await self._endpoint.newest_crl()
        except StoreUnavailable:
            return problems.reply(_NO_STORE, realm=None)
        return codec.crls_reply(newest, wrapped=self._is_wrapped(request))

    async def eecerts(self, request: web.Request) -> Reply:
        """Answer eecerts (RFC 8295) to anybody: whom devices talk to is told by those devices' configuration."""
        if self._endpoint.peers is None:
            return problems.not_found()
        try:
            found = await self._endpoint.peers()
        except StoreUnavailable:
            return problems.reply(_NO_STORE, realm=None)
        return codec.eecerts_reply(found, wrapped=self._is_wrapped(request))

    def serves(self, operation: Operation) -> bool:
        """Whether an operation is there, by whatever method."""
        match operation:
            case Operation.SERVERKEYGEN:
                return self.generates()
            case Operation.FULLCMC:
                return self._endpoint.responder is not None
            case Operation.EECERTS:
                return self._endpoint.peers is not None
            case _:
                return True

    def generates(self) -> bool:
        """Whether keys are made here (section 4.4)."""
        return self._endpoint.generator is not None and self._endpoint.expected() is not None

    def _new_key(self, request: web.Request) -> NewKey | None:
        generator, expected = self._endpoint.generator, self._endpoint.expected()
        if generator is None or expected is None:
            return None
        shape = self._endpoint.config.key_of_server(expected.key)
        identity = peer(request)
        direct = identity.source == "tls"
        return NewKey(generator, shape, identity.leaf, direct=direct, cipher_bits=identity.cipher_bits)

    async def enroll(self, request: web.Request, operation: Operation) -> Reply:
        """Answer simpleenroll, simplereenroll (section 4.2) or serverkeygen (section 4.4)."""
        new_key = self._new_key(request) if operation is Operation.SERVERKEYGEN else None
        submission = self._submission(request, operation, new_key)
        match await enroll(self._endpoint, submission):
            case Issued(certificate=certificate, request_id=identifier):
                note(request, outcome="issued", enrollment=identifier)
                sent, wrapped = (certificate, *self._above), self._is_wrapped(request)
                if new_key is not None:
                    return codec.generated_reply(*sent, part=new_key.part(), wrapped=wrapped)
                return codec.issued_reply(*sent, wrapped=wrapped)
            case Pending(request_id=identifier, retry_after=seconds):
                note(request, outcome="pending", enrollment=identifier)
                return codec.pending_reply(seconds)
            case Refused(problem=problem, request_id=identifier):
                note(request, **problem.notes(), enrollment=identifier)
                return self._refusal(problem, operation)

    async def full_cmc(self, request: web.Request) -> Reply:
        """Answer fullcmc (section 4.3): 200 when anything was granted, 202 when something waits, else why not."""
        responder = self._endpoint.responder
        if responder is None:
            return problems.not_found()
        found = await fullcmc.answer(self._endpoint, self._submission(request, Operation.FULLCMC))
        statuses = ",".join(each.info.status.name.lower() for each in found.results)
        identifiers = ",".join(each.request_id for each in found.results if each.request_id is not None)
        note(request, outcome=statuses, enrollment=identifiers)
        reasons = dict.fromkeys(each.problem.reason.value for each in found.results if each.problem is not None)
        if reasons:
            note(request, reason=",".join(reasons))
        status, fields = self._http(found.results)
        response = responder.seal(found.response)
        return codec.cmc_reply(response, status, fields, wrapped=self._is_wrapped(request))

    def _http(self, results: Sequence[fullcmc.Result]) -> tuple[int, tuple[tuple[str, str], ...]]:
        waiting = [each.retry_after for each in results if each.retry_after is not None]
        refused = [each.problem for each in results if each.problem is not None]
        if len(waiting) + len(refused) < len(results):
            return 200, ()
        if waiting:
            return 202, (("Retry-After", str(min(waiting))),)
        plain = self._refusal(refused[0])
        return plain.status, tuple(each for each in plain.headers if each[0] != hdrs.CONTENT_TYPE)

    def _refusal(self, problem: Problem, operation: Operation = Operation.SIMPLEENROLL) -> Reply:
        return problems.reply(
            problem,
            realm=self._endpoint.realm,
            password_would_do=operation is not Operation.SIMPLEREENROLL and not self._wants_both,
            legacy=self._endpoint.config.legacy_status,
        )

    def _submission(self, request: web.Request, operation: Operation, new_key: NewKey | None = None) -> Submission:
        lenient = self._endpoint.config.lenient_content_type
        return Submission(
            operation=operation,
            authorization=tuple(request.headers.getall(hdrs.AUTHORIZATION, ())),
            peer=peer(request),
            address=address(request),
            body=partial(_body, request, operation, lenient=lenient),
            note=partial(note, request),
            new_key=new_key,
        )

    def _is_wrapped(self, request: web.Request) -> bool:
        headers = request.headers
        return codec.is_wrapped(self._layout, user_agent=headers.get(hdrs.USER_AGENT), accept=headers.get(hdrs.ACCEPT))


async def _body(request: web.Request, operation: Operation, *, lenient: bool = False) -> bytes:
    """Return the body. Raises Malformed when it is too large, or does not claim to be what the operation takes."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    if operation is Operation.FULLCMC:
        fits, problem = codec.is_cms(content_type), problems.CMS_MEDIA_TYPE
    else:
        fits, problem = codec.is_pkcs10(content_type), problems.MEDIA_TYPE
    if not lenient and not fits:
        raise Malformed(problem.reason, problem.message)
    try:
        return await read_body(request)
    except BodyTooLarge as error:
        raise Malformed(Reason.TOO_LARGE, "The request body is larger than this service takes.") from error
