"""An application in this process, on free ports of loopback, and certificates that its own door issued."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ca.csr import parse_csr
from policies.request import EndpointName, EnrollmentRequest, Kind, PasswordEvidence, Requester
from server.app.addresses import bind_listeners
from server.app.application import Application
from server.app.material import load_material
from server.clock import system_clock
from server.outcome import Issued

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from server.clock import Clock
    from server.config import Config

EST = EndpointName.parse("est/default")


@asynccontextmanager
async def running(config: Config, clock: Clock = system_clock) -> AsyncIterator[tuple[Application, dict[str, int]]]:
    """Yield a started application and the port of each listener."""
    sockets = {name: each[0] for name, each in bind_listeners(config).items()}
    application = await Application.build(config, load_material(config), sockets, clock=clock)
    try:
        await application.start()
        yield application, {name: sock.getsockname()[1] for name, sock in sockets.items()}
    finally:
        await application.stop()


async def enrolled(
    application: Application, name: str = "device-1", key: ec.EllipticCurvePrivateKey | None = None
) -> x509.Certificate:
    """Return a certificate that the door issued through est/default."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    request = EnrollmentRequest(
        key=name,
        kind=Kind.ENROLL,
        endpoint=EST,
        profile=None,
        csr=parse_csr(csr.public_bytes(serialization.Encoding.DER)),
        requester=Requester("password:someone", (PasswordEvidence("someone"),)),
        now=system_clock(),
    )
    outcome = await application.services.enrollment.submit(request)
    assert isinstance(outcome, Issued), outcome
    return x509.load_der_x509_certificate(outcome.certificate)
