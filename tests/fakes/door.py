"""The door with a real store in front of a CA for tests, and a store that fails when told to."""

from __future__ import annotations

import secrets
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca.csr import Csr, parse_csr
from ca.lint import Linter
from policies.request import EndpointName, EnrollmentRequest, Kind, PasswordEvidence, Requester
from server.enrollment import Enrollment
from server.store import Store, StoreUnavailable
from tests.fakes.issuer import NOW, FakeIssuer, make_issuer
from tests.fakes.scripted_policy import ScriptedPolicy

if TYPE_CHECKING:
    from datetime import datetime

HERE = EndpointName.parse("est/default")
ISSUER = make_issuer()


@cache
def csr_for(name: str) -> Csr:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return parse_csr(made.public_bytes(serialization.Encoding.DER))


def ask(name: str = "pump", key: str | None = None, now: datetime = NOW, **more: Any) -> EnrollmentRequest:
    who = Requester(f"password:{name}", (PasswordEvidence(name),), "192.0.2.7")
    return EnrollmentRequest(key or name, Kind.ENROLL, HERE, None, csr_for(name), who, now, **more)


class FlakyStore(Store):
    """Fails once before each work named in `before`, and once after the commit of each named in `after`."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner._writer, inner._reader)
        self.before: list[str] = []
        self.after: list[str] = []

    async def write(self, work: Any) -> Any:
        return await self._flaky("write", super().write, work)

    async def write_together(self, work: Any, item: Any) -> Any:
        return await self._flaky(work.__name__, super().write_together, work, item)

    async def _flaky(self, name: str, do: Any, *arguments: Any) -> Any:
        for names, early in ((self.before, True), (self.after, False)):
            if name in names:
                names.remove(name)
                if not early:
                    await do(*arguments)
                raise StoreUnavailable("as told")
        return await do(*arguments)


class Door(Enrollment):
    """An enrollment whose time stands still until `now` is changed; `issuer` and `policy` can be looked at."""

    def __init__(self, store: Store, **changes: Any) -> None:
        self.now, self.policy, self.issuer = NOW, ScriptedPolicy(), FakeIssuer(ISSUER)
        self.record, numbers, word = store, count(1), secrets.token_hex(4)
        arguments: dict[str, Any] = {
            "decide": self.policy.decide,
            "issuers": {"issuing": self.issuer},
            "linter": Linter(),
            "serial_number": x509.random_serial_number,
            "request_id": lambda: f"{next(numbers):06}-{word}",
        }
        super().__init__(store=store, clock=lambda: self.now, **(arguments | changes))
