"""A SCEP endpoint with the real door, record, credentials and CA behind it; only the policy is on a script."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from argon2 import PasswordHasher
from cryptography import x509

from ca.backends.local import LocalIssuer
from ca.ceremony import make_issuing_ca, make_ra_certificate, make_root
from ca.lint import Linter
from ca.names import DistinguishedName
from policies.request import EndpointName
from server.config import ScepEndpointConfig
from server.credentials import Authenticators, Credentials
from server.credentials.redeeming import digest_of
from server.enrollment import Enrollment
from server.scep.authorization import Challenges
from server.scep.keyring import Keyring
from server.scep.ra import RaKey
from server.scep.service import ScepEndpoint
from server.store import Store
from server.store.credentials import CredentialKind, StoredCredential, add
from server.store.requests import StoredRequest, list_requests
from server.store.tables import certificates
from tests.fakes.database import empty_database
from tests.fakes.scripted_policy import ScriptedPolicy
from tests.server.scep.device import NOW, enrollment, read_reply, rsa_key

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from server.scep.authorization import Authorizer
    from server.scep.lookups import CurrentCrl
    from server.scep.messages import Answer
    from tests.server.scep.device import Message, Reply

CHALLENGE = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("sesame")
FILES = {"certificate": "ra.pem", "key": "ra.key", "passphrase_file": None}


def _named(name: str) -> DistinguishedName:
    return DistinguishedName.from_text(f"CN={name}")


ROOT = make_root(_named("Root"), now=NOW)
ISSUING = make_issuing_ca(ROOT, _named("Issuing"), now=NOW)
RA = make_ra_certificate(ISSUING, _named("RA"), now=NOW, key=rsa_key("ra"))


@dataclass
class Lab:
    database: Path
    store: Store
    policy: ScriptedPolicy
    enrollment: Enrollment
    credentials: Credentials
    ra: RaKey
    issuer: LocalIssuer
    keys: Keyring | None = None
    current_crl: CurrentCrl | None = None
    proxies: frozenset[bytes] = frozenset()
    authorizers: tuple[Authorizer, ...] | None = None
    endpoints: list[ScepEndpoint] = field(default_factory=list)
    now: list[datetime] = field(default_factory=lambda: [NOW])

    @property
    def ra_der(self) -> bytes:
        return self.ra.addressed.der

    def pass_time(self, time: timedelta) -> None:
        self.now[0] += time

    def endpoint(self, label: str = "default", **config: Any) -> ScepEndpoint:
        settings = {"profiles": ("scripted",), "ra": FILES, "challenge": {"static": "challenge"}, **config}
        made = ScepEndpoint(
            label=label,
            config=ScepEndpointConfig.model_validate(settings),
            store=self.store,
            enrollment=self.enrollment,
            credentials=self.credentials,
            keys=self.keys or Keyring(self.ra),
            proxies=self.proxies,
            authorizers=(Challenges(self.credentials),) if self.authorizers is None else self.authorizers,
            chain=self.issuer.chain,
            clock=lambda: self.now[0],
            nonce=lambda: b"n" * 16,
            current_crl=self.current_crl,
        )
        self.endpoints.append(made)
        return made

    async def send(self, message: Message | bytes, endpoint: ScepEndpoint | None = None) -> Answer:
        data = message if isinstance(message, bytes) else message.encode()
        return await (endpoint or self.endpoint()).pki_operation(data, "192.0.2.7")

    async def ask(self, message: Message, endpoint: ScepEndpoint | None = None) -> Reply:
        """Send a message and return the reply as the client understands it."""
        answer = await self.send(message, endpoint)
        assert (answer.status, answer.content_type) == (200, "application/x-pki-message"), answer.body
        return read_reply(answer.body, message.key)

    async def enroll(self, endpoint: ScepEndpoint | None = None, **changes: Any) -> x509.Certificate:
        reply = await self.ask(enrollment(self.ra_der, **changes), endpoint)
        assert reply.status == "0", reply.text
        return x509.load_der_x509_certificate(reply.certificates[0])

    async def make_challenge(self, secret: str, **bound: Any) -> None:
        """Make a one-time challenge for the default endpoint, which takes no other from then on."""
        here = EndpointName.parse("scep/default")
        values: dict[str, Any] = {"uses_left": 1, "expires_at": NOW + timedelta(hours=1), **bound}
        credential = StoredCredential(
            id="c1",
            kind=CredentialKind.SCEP_CHALLENGE,
            endpoint=here,
            created_by="admin:test",
            created_at=NOW,
            digest=digest_of(secret),
            **values,
        )
        event = {"at": NOW, "action": "credential", "actor": "admin:test", "detail": ""}
        await self.store.write(lambda connection: add(connection, credential, event))
        self.credentials._endpoints = {here: Authenticators({}, None, frozenset({here}), stored=True)}

    async def requests(self) -> tuple[StoredRequest, ...]:
        """What is on record, the newest first."""
        return await self.store.read(list_requests)

    async def issued(self) -> int:
        """How many certificates there are."""
        count = sa.select(sa.func.count()).select_from(certificates)
        return await self.store.read(lambda c: c.execute(count).scalar_one())

    async def tear(self) -> None:
        for endpoint in self.endpoints:
            await endpoint.drain()
        self.credentials.close()
        await self.store.close()


async def make_lab(folder: Path) -> Lab:
    url = empty_database(folder / "scep.db")
    store = await Store.open(url, busy_timeout=0.1)
    now = [NOW]
    numbers = count(1000)
    issuer = LocalIssuer(ISSUING.key, ISSUING.certificate, [ROOT.certificate])
    policy = ScriptedPolicy()
    here, other = EndpointName.parse("scep/default"), EndpointName.parse("scep/other")
    credentials = Credentials(
        store=store,
        endpoints={
            here: Authenticators({}, CHALLENGE, frozenset({here})),
            other: Authenticators({}, CHALLENGE, frozenset({other})),
        },
        issuers={"issuing": ISSUING.certificate},
        clock=lambda: now[0],
        seconds=monotonic,
        key=bytes(32),
    )
    door = Enrollment(
        store=store,
        decide=policy.decide,
        issuers={"issuing": issuer},
        linter=Linter(),
        clock=lambda: now[0],
        serial_number=lambda: next(numbers) << 64,
        request_id=lambda: f"request-{next(numbers)}",
    )
    ra = RaKey(RA.certificate, rsa_key("ra"))
    return Lab(folder / "scep.db", store, policy, door, credentials, ra, issuer, now=now)
