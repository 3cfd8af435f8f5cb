"""An ACME endpoint on a loopback socket with the real door, record, policy and CA behind it, and a client."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ca.lint import Linter
from policies.profile import Ceilings, IssuerFacts, parse_profiles
from policies.profile_set import ProfileSet
from server.acme.challenges.connector import Connector
from server.acme.challenges.http01 import Http01
from server.acme.challenges.networks import Networks
from server.acme.challenges.resolver import LoopbackNames, SystemResolver
from server.acme.nonces import open_nonces
from server.acme.routes import AcmeEndpoint, mount
from server.acme.service import Timing
from server.config import Limits
from server.enrollment import Enrollment
from server.http import create_app
from server.store import Store
from server.store.requests import StoredRequest, list_requests
from tests.fakes.acme import Signer, b64, json_bytes, new_key
from tests.fakes.database import empty_database
from tests.fakes.issuer import NOW, FakeIssuer, make_issuer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric import ec

    from ca.backends.local import LocalIssuer
    from ca.issuer import Issuer, Permit
    from ca.plan import CertificatePlan

ORIGIN = "https://acme.test:8443"
PROFILE = Path("policies/profiles/tls-server.yaml")
PROFILE_TEXT = PROFILE.read_text()
QUICK = Timing(retries=(0.05, 0.05), sweep=0.1, attempt_lease=timedelta(seconds=2), settle=1.0, finalize=5.0)


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any

    @property
    def error(self) -> str:
        return str(self.body["type"].removeprefix("urn:ietf:params:acme:error:"))

    @property
    def location(self) -> str:
        return str(self.headers["Location"])


@dataclass
class Client:
    """Talks to one endpoint; URLs are those of the server, whatever socket it is really on."""

    lab: Lab
    signer: Signer = field(default_factory=Signer)
    kid: str | None = None
    prefix: str = "/acme"

    def url(self, path: str) -> str:
        return f"{ORIGIN}{self.prefix}{path}"

    async def nonce(self) -> str:
        answer = await self.lab.request("HEAD", self.url("/new-nonce"))
        return str(answer.headers["Replay-Nonce"])

    async def post(self, url: str, payload: object = b"", *, signer: Signer | None = None, **header: Any) -> Answer:
        """POST; a payload of bytes goes as it is (b"" for POST-as-GET); header members can be set, None removes one."""
        octets = payload if isinstance(payload, bytes) else json_bytes(payload)
        identity = {"kid": self.kid} if self.kid else {"jwk": (signer or self.signer).jwk}
        if "nonce" not in header:
            header["nonce"] = await self.nonce()
        members = {"url": url, **identity, **header}
        return await self.lab.post_jws(url, (signer or self.signer).sign(octets, **members))

    async def register(self, **payload: Any) -> Answer:
        answer = await self.post(self.url("/new-account"), {"termsOfServiceAgreed": True, **payload})
        if "Location" in answer.headers:
            self.kid = answer.location
        return answer

    async def order(self, *names: str) -> Answer:
        identifiers = [{"type": "dns", "value": name} for name in names]
        return await self.post(self.url("/new-order"), {"identifiers": identifiers})

    async def authorize(self, order: Answer) -> None:
        """Answer the challenge of every authorization and wait until they are all valid."""
        for url in order.body["authorizations"]:
            challenge = (await self.post(url)).body["challenges"][0]
            self.lab.served[challenge["token"]] = f"{challenge['token']}.{self.signer.thumbprint}"
            await self.post(challenge["url"], {})
        for url in order.body["authorizations"]:
            assert (await self.until(url, "valid")).body["status"] == "valid"

    async def until(self, url: str, *wanted: str) -> Answer:
        answer = await self.post(url)
        for _ in range(500):
            if answer.body["status"] in wanted:
                return answer
            await asyncio.sleep(0.02)
            answer = await self.post(url)
        raise AssertionError(f"{url} stays {answer.body}")

    async def finalize(self, order: Answer, csr: bytes) -> Answer:
        return await self.post(order.body["finalize"], {"csr": b64(csr)})

    async def ready(self, *names: str) -> Answer:
        order = await self.order(*names)
        await self.authorize(order)
        return order

    async def issue(self, *names: str, key: ec.EllipticCurvePrivateKey | None = None) -> x509.Certificate:
        done = await self.finalize(await self.ready(*names), make_csr(*names, key=key))
        assert done.body["status"] == "valid", done.body
        return x509.load_pem_x509_certificates((await self.post(done.body["certificate"])).body)[0]


def make_csr(*names: str, cn: str | None = None, key: Any = None, extra: tuple[x509.GeneralName, ...] = ()) -> bytes:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, cn)] if cn else [])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names or extra:
        sans = x509.SubjectAlternativeName([*(x509.DNSName(name) for name in names), *extra])
        builder = builder.add_extension(sans, critical=False)
    return builder.sign(key or new_key(), SHA256()).public_bytes(Encoding.DER)


class GatedIssuer(FakeIssuer):
    """Signs while `open` is set, else waits for it; `asked` tells that it was asked."""

    def __init__(self, inner: LocalIssuer) -> None:
        super().__init__(inner)
        self.asked = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()

    async def issue(self, permit: Permit, plan: CertificatePlan, serial: int) -> bytes:
        self.asked.set()
        await self.open.wait()
        return await super().issue(permit, plan, serial)


@dataclass
class Lab:
    store: Store
    issuer: GatedIssuer
    enrollment: Enrollment
    policies: ProfileSet
    served: dict[str, str] = field(default_factory=dict)
    now: list[datetime] = field(default_factory=lambda: [NOW])
    http01_port: int = 0
    networks: tuple[IPv4Network, ...] = ()
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    endpoints: dict[str, AcmeEndpoint] = field(default_factory=dict)
    server: TestServer | None = None
    session: aiohttp.ClientSession | None = None

    def endpoint(self, label: str = "default", **changes: Any) -> AcmeEndpoint:
        connector = Connector(LoopbackNames(SystemResolver()), Networks(self.networks))
        made = AcmeEndpoint(
            label=label,
            external_urls=(ORIGIN, "https://other.test"),
            store=self.store,
            enrollment=self.enrollment,
            nonces=open_nonces(None, lambda: int(self.now[0].timestamp())),
            challenges=(Http01(connector, self.http01_port, 2.0),),
            clock=lambda: self.now[0],
            objections_to_names=self.policies.objections_to_names,
            timing=QUICK,
        )
        return replace(made, **changes)

    async def serve(self, *endpoints: AcmeEndpoint) -> None:
        """Start the server, again with other endpoints if it runs."""
        if self.server is not None:
            await self.server.close()

        async def readiness() -> dict[str, str]:
            return {}

        app = create_app("https", Limits(), readiness, lambda: "id")
        mount(app, {each.label: each for each in endpoints or (self.endpoint(),)})
        self.server = TestServer(app, host="127.0.0.1")
        await self.server.start_server()

    async def request(self, method: str, url: str, **options: Any) -> Answer:
        assert self.server is not None
        assert self.session is not None
        target = self.server.make_url(url.removeprefix(ORIGIN).removeprefix("https://other.test"))
        async with self.session.request(method, target, **options) as response:
            data = await response.read()
            is_json = response.content_type.endswith("json")
            return Answer(
                response.status, response.headers, await response.json(content_type=None) if is_json else data
            )

    async def post_jws(self, url: str, jws: object, content_type: str = "application/jose+json") -> Answer:
        body = jws if isinstance(jws, bytes) else json_bytes(jws)
        return await self.request("POST", url, data=body, headers={"Content-Type": content_type})

    async def client(self, **options: Any) -> Client:
        """A client with an account."""
        client = Client(self, **options)
        assert (await client.register()).status == 201
        return client

    async def refusals(self) -> list[StoredRequest]:
        return [row for row in await self.store.read(list_requests) if row.problem is not None]


async def make_lab(folder: Path, profile: str = PROFILE_TEXT, ca: Callable[[GatedIssuer], Issuer] | None = None) -> Lab:
    """A lab with a profile, whose CA may have something in front of it."""
    url = empty_database(Path(mkdtemp(dir=folder), "acme.db"))  # some tests have two labs in their folder
    store = await Store.open(url)
    issuer = GatedIssuer(make_issuer())
    own = issuer.chain()[0]
    facts = IssuerFacts(own.not_valid_before_utc, own.not_valid_after_utc)
    profiles = parse_profiles(profile, str(PROFILE))
    policies = ProfileSet(profiles, ceilings=Ceilings(timedelta(days=400), 2048), issuers={"issuing": facts})
    now = [NOW]
    enrollment = Enrollment(
        store=store,
        decide=policies.decide,
        issuers={"issuing": issuer if ca is None else ca(issuer)},
        linter=Linter(),
        clock=lambda: now[0],
        serial_number=x509.random_serial_number,
        request_id=lambda: new_key().private_numbers().private_value.to_bytes(32).hex()[:20],
    )
    lab = Lab(store, issuer, enrollment, policies, now=now)
    await _serve_challenges(lab)
    lab.session = await lab.stack.enter_async_context(aiohttp.ClientSession())
    await lab.serve()
    return lab


async def _serve_challenges(lab: Lab) -> None:
    async def answer(request: web.Request) -> web.Response:
        token = request.match_info["token"]
        if token not in lab.served:
            raise web.HTTPNotFound
        return web.Response(text=lab.served[token] + "\n")

    app = web.Application()
    app.router.add_get("/.well-known/acme-challenge/{token}", answer)
    responder = TestServer(app, host="127.0.0.1")
    await responder.start_server()
    lab.stack.push_async_callback(responder.close)
    lab.http01_port = responder.port or 0
    lab.networks = (IPv4Network("127.0.0.0/8"),)


async def tear(lab: Lab) -> None:
    assert lab.server is not None
    await lab.server.close()
    await lab.enrollment.drain()
    await lab.stack.aclose()
    await lab.store.close()
