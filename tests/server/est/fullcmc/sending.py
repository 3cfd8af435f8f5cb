"""Somebody who sends full CMC requests to a running application."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec

from policies.request import EndpointName
from server.clock import system_clock
from server.credentials.sealing import Sealer
from server.store.credentials import CredentialKind
from tests.fakes.credential import credential, keep
from tests.server.est import cmc_client as client
from tests.server.est.lab import csr

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

    from server.store import Store
    from tests.server.est.cmc_client import Response
    from tests.server.est.lab import Answer, Holder, Lab

SEALING_KEY = "11" * 32
EST_GUARDED = EndpointName.parse("est/guarded")
ENDPOINTS = """
est/default:
  profiles: [iot-device, guarded]
  authenticate: {one_time_passwords: true, certificates: true, registration_authorities: [gateway]}
  fullcmc: {sealing_key: {file: secrets/sealing.key}}
est/guarded:
  profiles: [guarded]
  authenticate: {one_time_passwords: true, certificates: true}
  fullcmc: {sealing_key: {file: secrets/sealing.key}}
est/linked:
  profiles: [iot-device]
  linking: required
  authenticate: {one_time_passwords: true, certificates: true}
  fullcmc: {sealing_key: {file: secrets/sealing.key}}
est/gateways:
  profiles: [behind-gateway, gateway, iot-device]
  authenticate: {one_time_passwords: true, certificates: true, registration_authorities: [gateway]}
  fullcmc: {}
est/wide:
  profiles: [behind-gateway, gateway, iot-device]
  authenticate:
    one_time_passwords: true
    certificates: true
    certificates_from: [est/default]
    registration_authorities: [gateway]
  fullcmc: {}
est/strict:
  profiles: [behind-gateway, gateway, iot-device]
  authenticate:
    one_time_passwords: true
    certificates: true
    certificates_from: [est/gateways]
    registration_authorities: [gateway]
    require: both
  fullcmc: {sealing_key: {file: secrets/sealing.key}}
est/closed:
  profiles: [iot-device]
  authenticate: {one_time_passwords: true}
"""
PROFILES = """
version: 1
profiles:
  gateway:
    endpoints: ["est/*"]
    issuer: issuing
    evidence: {any: [password]}
    key: {allowed: ["ec:P-256"]}
    subject: {allowed: {CN: {like: ["*"], required: true}}}
    extended_key_usage: {forced: [clientAuth, cmcRA]}
    validity: {default: 30d}
  behind-gateway:
    endpoints: ["est/*"]
    issuer: issuing
    evidence: {any: [ra]}
    key: {allowed: ["ec:P-256"]}
    subject: {allowed: {CN: {like: ["valve-*"], required: true}}}
    extended_key_usage: {forced: [clientAuth]}
    validity: {default: 30d}
  guarded:
    endpoints: ["est/*"]
    issuer: issuing
    approval: manual
    evidence: {any: [password, certificate]}
    key: {allowed: ["ec:P-256"]}
    subject: {allowed: {CN: {like: ["*"], required: true}}}
    extended_key_usage: {forced: [clientAuth]}
    validity: {default: 30d}
    renewal: {evidence: {any: [certificate]}}
"""


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends messages to the running application."""

    running: Lab

    @property
    def store(self) -> Store:
        return self.running.application.services.store

    async def post(
        self,
        message: bytes,
        *,
        label: str = "default",
        basic: tuple[str, str] | None = None,
        holder: Holder | None = None,
    ) -> Answer:
        path = f"{label}/fullcmc"
        return await self.running.post(path, message, basic=basic, holder=holder, content_type=client.TYPE)

    async def ask(self, message: bytes, status: int = 200, **fields: object) -> Response:
        """Send a message; the reply has the status, and its signature holds."""
        answer = await self.post(message, **fields)  # type: ignore[arg-type]
        assert answer.status == status, client.opened(answer)
        return client.opened(answer)

    async def one_time_password(self, secret: str = "otp", username: str = "pump", **fields: Any) -> tuple[str, str]:
        await keep(self.store, credential(secret, username=username, **fields))
        return username, secret

    async def shared_secret(self, secret: str = "shared", username: str = "pump", **fields: Any) -> str:
        identifier = f"shared-{username}"
        sealed = Sealer(bytes.fromhex(SEALING_KEY)).seal(secret.encode(), identifier)
        kind = CredentialKind.CMC_SECRET
        made = {"id": identifier, "kind": kind, "sealed": sealed, "username": username, **fields}
        await keep(self.store, credential(None, **made))
        return secret

    async def certificate(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        *,
        dns: tuple[str, ...] = (),
        label: str = "default",
        profile: str | None = None,
        requester: str | None = None,
    ) -> x509.Certificate:
        """Return a certificate for a name."""
        endpoint = EndpointName.parse(f"est/{label}")
        secret, username = secrets.token_hex(8), requester or name
        where = await self.one_time_password(secret, username, endpoint=endpoint, profile=profile)
        message = client.signed(client.pki_data([client.pkcs10(1, csr(name, dns=dns, key=key))]), key)
        return (await self.ask(message, basic=where, label=label)).issued_for(key)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def by_itself(requests: Iterable[object], key: ec.EllipticCurvePrivateKey, *controls: object) -> bytes:
    """Return a message that is signed with the key of one of its requests."""
    return client.signed(client.pki_data(requests, controls), key)


def by(
    certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, requests: Iterable[object] = (), *controls: object
) -> bytes:
    """Return a message that is signed with a certificate, now."""
    return client.signed(client.pki_data(requests, controls), key, certificate, time=system_clock())
