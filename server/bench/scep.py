"""SCEP PKCSReq (RFC 8894 section 3.3.1) with a challenge password, by POST."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import AttributeOID, NameOID

from server.bench import scep_message
from server.bench.connection import Connection
from server.bench.load import EnrollmentFailed

if TYPE_CHECKING:
    from types import TracebackType

    from server.clock import Clock


@dataclass(frozen=True, slots=True)
class ScepJob:
    """A request ready to be sent, and whose it is."""

    signer: x509.Certificate
    key: rsa.RSAPrivateKey
    message: bytes


class ScepClient:
    """A client with a challenge password.

    Args:
        url: the SCEP endpoint.
        challenge: the challenge password.
        clock: for the validity of the self-signed certificates that sign requests.
        keys: RSA keys take long to make, so this many serve all requests, in turn, each request a transaction of its
            own. They are more than a server keeps, so that each request finds it as little prepared as a new device.
    """

    def __init__(self, url: str, challenge: str, *, clock: Clock, keys: int = 80) -> None:
        self._url = url
        self._challenge = challenge
        made = (rsa.generate_private_key(65537, 2048) for _ in range(keys))
        self._signers = itertools.cycle((key, _self_signed(key, clock)) for key in made)
        self._recipient: x509.Certificate | None = None

    async def __aenter__(self) -> Self:
        """Ask for the RA's certificate (RFC 8894 section 4.2)."""
        self._connection = Connection()
        try:
            reply = await self._connection.request("GET", f"{self._url}?operation=GetCACert")
            self._recipient = _recipient(reply.expect(HTTPStatus.OK).body)
        except EnrollmentFailed:
            await self._connection.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""
        await self._connection.close()

    def prepare(self) -> ScepJob:
        """Make a CSR with a name of its own, encrypt it for the RA and sign it."""
        if self._recipient is None:
            raise EnrollmentFailed("the RA's certificate is asked for when the client is entered")
        key, signer = next(self._signers)
        csr = self._request(key, f"bench-{secrets.token_hex(8)}")
        envelope = scep_message.envelope(csr, self._recipient)
        return ScepJob(signer, key, scep_message.pkcs_req(envelope, key, signer, transaction=secrets.token_hex(16)))

    def _request(self, key: rsa.RSAPrivateKey, name: str) -> bytes:
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{name}.example")]), critical=False)
            .add_attribute(AttributeOID.CHALLENGE_PASSWORD, self._challenge.encode("ascii"))
            .sign(key, hashes.SHA256())
        )
        return csr.public_bytes(Encoding.DER)

    async def send(self, job: ScepJob) -> bytes:
        """Enroll; the reply is a CertRep with status SUCCESS."""
        headers = {"Content-Type": "application/x-pki-message"}
        url = f"{self._url}?operation=PKIOperation"
        reply = (await self._connection.request("POST", url, body=job.message, headers=headers)).expect(HTTPStatus.OK)
        if scep_message.SUCCESS not in reply.body:  # to read all of it takes time that the server could use
            raise EnrollmentFailed(f"CertRep without success: {scep_message.cert_rep(reply.body).attributes}")
        return reply.body

    def certificate(self, job: ScepJob, reply: bytes) -> x509.Certificate:
        """Decrypt the reply and return the certificate for the job's key."""
        try:
            content = pkcs7.pkcs7_decrypt_der(scep_message.cert_rep(reply).content, job.signer, job.key, [])
        except ValueError as error:
            raise EnrollmentFailed("the CertRep holds no certificate") from error
        for certificate in scep_message.certificates(content):
            if certificate.public_key() == job.key.public_key():
                return certificate
        raise EnrollmentFailed("the certificate is for another key")


def _self_signed(key: rsa.RSAPrivateKey, clock: Clock) -> x509.Certificate:
    """Return what signs a first request: a throw-away certificate for the key itself (RFC 8894 section 2.3)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = clock()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )


def _recipient(body: bytes) -> x509.Certificate:
    """Return the certificate to encrypt for: the RA's, which may encipher keys and is no CA."""
    try:
        for certificate in scep_message.certificates(body):
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
            if usage.key_encipherment and not usage.key_cert_sign:
                return certificate
    except x509.ExtensionNotFound as error:
        raise EnrollmentFailed("GetCACert gave a certificate that says nothing of its key's usage") from error
    raise EnrollmentFailed("GetCACert gave no RA certificate that may encipher keys")
