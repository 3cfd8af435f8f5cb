"""A record with certificates of one CA, put there without the door, and a publisher of its lists."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from cryptography import x509

from ca.backends.local import LocalIssuer
from ca.ceremony import Credential, generate_key, make_root
from ca.names import DistinguishedName
from server.audit import Action, AuditEvent
from server.status import records
from server.status.addresses import IssuerAddresses
from server.status.publisher import Publisher, Publishing
from server.status.records import Scope
from server.store.revocations import Revocation, release, revoke
from server.store.tables import certificates, requests
from tests.fakes.issuer import NOW

if TYPE_CHECKING:
    from server.store import Store

ADDRESSES = IssuerAddresses("issuing", "http://pki.example", 4)
DAY = timedelta(days=1)


def make_ca(kind: str = "P-256") -> Credential:
    return make_root(DistinguishedName.from_text("CN=Status CA"), now=NOW - DAY, key=generate_key(kind))


@dataclass
class Lab:
    """A store, a CA, a publisher; time stands still until `now` is changed."""

    store: Store
    ca: Credential
    settings: Publishing
    now: datetime = NOW

    @classmethod
    def make(cls, store: Store, kind: str = "P-256", **settings: Any) -> Lab:
        ca = make_ca(kind)
        usual = Publishing(LocalIssuer(ca.key, ca.certificate), DAY, 7 * DAY, timedelta(seconds=5), addresses=ADDRESSES)
        return cls(store, ca, replace(usual, **settings))

    def publisher(self, owner: str = "me") -> Publisher:
        return Publisher(self.store, {"issuing": self.settings}, lambda: self.now, owner, pause=0.01)

    async def add(self, serial: int, not_after: timedelta = 30 * DAY, der: bytes | None = None) -> None:
        identifier, octets = f"request-{serial}", der or serial.to_bytes(20, "big")
        request = {"id": identifier, "state": "issued", "endpoint": "est/default", "received_at": self.now}
        row = {
            "serial": serial,
            "issuer": "issuing",
            "der": octets,
            "fingerprint": sha256(octets).digest(),
            "endpoint": "est/default",
            "profile": "test",
            "requester": "password:x",
            "subject": f"CN={serial}",
            "names": "",
            "not_before": self.now,
            "not_after": self.now + not_after,
            "issued_at": self.now,
            "request_id": identifier,
        }

        def insert(connection: sa.Connection) -> None:
            connection.execute(sa.insert(requests).values(request))
            connection.execute(sa.insert(certificates).values(row))

        await self.store.write(insert)

    async def revoke(
        self, serial: int, reason: x509.ReasonFlags = x509.ReasonFlags.superseded, since: datetime | None = None
    ) -> str:
        event = AuditEvent(self.now, Action.REVOKED, "admin:test", serial=serial).row()
        what = Revocation(serial, reason, self.now, since)
        return await self.store.write(lambda connection: revoke(connection, what, event))

    async def release(self, serial: int) -> str:
        event = AuditEvent(self.now, Action.RELEASED, "admin:test", serial=serial).row()
        return await self.store.write(lambda connection: release(connection, serial, self.now, event))

    async def publish(self, after: timedelta = timedelta()) -> int:
        self.now += after
        return await self.publisher().publish_due()

    async def crl(self, shard: int = 0, *, delta: bool = False) -> x509.CertificateRevocationList:
        found = await self.store.read(lambda c: records.octets(c, Scope("issuing", shard), delta=delta))
        assert found is not None
        crl = await asyncio.to_thread(x509.load_der_x509_crl, found[1])
        assert crl.is_signature_valid(self.ca.certificate.public_key())  # type: ignore[arg-type]
        return crl
