"""What other EST servers got wrong, tried on a real connection."""

from __future__ import annotations

import http.client
import ssl
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs7
from cryptography.x509.oid import AttributeOID, ExtendedKeyUsageOID, NameOID

from server.bench.process import free_ports
from server.clock import system_clock
from server.deployment.folder import Ports
from server.deployment.making import create
from tests.wire.running import serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.wire.running import RunningServer

BASE = "/.well-known/est"
_numbers = count(1)


class Device:
    """A device that talks EST over one kept-alive connection."""

    def __init__(self, server: RunningServer, folder: Path, name: str | None = None) -> None:
        self.server = server
        self.folder = folder
        self.name = name or f"device-{next(_numbers)}.test"
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate: x509.Certificate | None = None
        self.connection = self.connect()

    def connect(self, tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> http.client.HTTPSConnection:
        """Return a new connection, with the certificate when there is one."""
        context = ssl.create_default_context(cafile=str(self.server.root_pem))
        context.minimum_version = context.maximum_version = tls
        if self.certificate is not None:
            path = self.folder / f"{self.name}.pem"
            key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(key + self.certificate.public_bytes(Encoding.PEM))
            context.load_cert_chain(path)
        url = urlsplit(self.server.https_url)
        return http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=20)

    def presents(self, certificate: x509.Certificate | None) -> Self:
        """Connect anew with a certificate."""
        self.certificate = certificate
        self.connection.close()
        self.connection = self.connect()
        return self

    def csr(
        self,
        name: str | None = None,
        *extensions: tuple[x509.ExtensionType, bool],
        challenge_password: str | None = None,
        san: x509.SubjectAlternativeName | None = None,
    ) -> bytes:
        name = name or self.name
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = x509.CertificateSigningRequestBuilder(subject).add_extension(
            san or x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        if challenge_password is not None:
            builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge_password.encode())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def post(
        self,
        operation: str,
        csr: bytes,
        *,
        password: bool = False,
        connection: http.client.HTTPSConnection | None = None,
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/pkcs10"}
        if password:
            user = f"{self.server.est_username}:{self.server.est_password}"
            headers["Authorization"] = f"Basic {b64encode(user.encode()).decode()}"
        connection = connection or self.connection
        connection.request("POST", f"{BASE}/{operation}", b64encode(csr), headers)
        response = connection.getresponse()
        return response.status, response.read()

    def enroll(self, label: str = "default") -> Self:
        """Enroll by password and present the certificate from now on."""
        status, body = self.post(f"{label}/simpleenroll", self.csr(), password=True)
        assert status == 200, body
        return self.presents(certificate_of(body))


def certificate_of(body: bytes) -> x509.Certificate:
    (certificate,) = pkcs7.load_pem_pkcs7_certificates(b"-----BEGIN PKCS7-----\n" + body + b"-----END PKCS7-----\n")
    return certificate


@pytest.fixture
def device(server: RunningServer, tmp_path: Path) -> Iterator[Device]:
    made = Device(server, tmp_path)
    yield made
    made.connection.close()


@pytest.fixture
def other(server: RunningServer, tmp_path: Path) -> Iterator[Device]:
    made = Device(server, tmp_path)
    yield made
    made.connection.close()


def test_a_certificate_revoked_in_the_middle_of_a_connection_is_refused_from_then_on(device: Device) -> None:
    device.enroll()
    assert device.certificate is not None
    serial = f"{device.certificate.serial_number:x}"
    kept_alive = device.connection

    assert device.post("simplereenroll", device.csr())[0] == 200
    device.server.said("cert", "revoke", serial)
    status, body = device.post("simplereenroll", device.csr())

    assert device.connection is kept_alive
    assert status == 403
    assert b"revoked" in body
    assert device.post("simpleenroll", device.csr()) == (401, b"")


@pytest.mark.parametrize("operation", ["simpleenroll", "simplereenroll"])
def test_one_devices_certificate_does_not_get_anothers_names(device: Device, other: Device, operation: str) -> None:
    device.enroll()
    other.enroll()

    status, body = device.post(operation, device.csr(other.name))

    assert status == 403
    assert other.name.encode() not in body or b"[" in body  # a rule is named, nothing else is told


def test_a_renewal_for_more_alternative_names_is_refused(device: Device) -> None:
    device.enroll()
    more = x509.SubjectAlternativeName([x509.DNSName(device.name), x509.DNSName(f"more.{device.name}")])

    assert device.post("simplereenroll", device.csr(san=more))[0] == 403


def test_a_certificate_of_another_ca_with_our_names_is_refused(device: Device) -> None:
    device.enroll()
    ours = device.certificate
    assert ours is not None
    forged = (
        x509.CertificateBuilder(ours.issuer, ours.subject, device.key.public_key(), ours.serial_number)
        .not_valid_before(ours.not_valid_before_utc)
        .not_valid_after(ours.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(device.name)]), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")]), critical=False)
        .sign(device.key, hashes.SHA256())
    )
    status, body = device.presents(forged).post("simplereenroll", device.csr())

    assert status == 403
    assert b"not issued by this service" in body


def test_a_request_is_no_proof_without_its_own_key(device: Device, other: Device) -> None:
    csr = device.csr()
    stolen = csr.replace(device.name.encode(), device.name[::-1].encode())
    status, body = other.post("simpleenroll", stolen, password=True)

    assert status == 400
    assert b"proof of possession" in body


@pytest.mark.parametrize(
    "extension",
    [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")]), False),  # id-kp-cmcRA
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
        (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),  # noqa: FBT003 - its bits
    ],
    ids=["CA", "cmcRA", "anyExtendedKeyUsage", "keyCertSign"],
)
def test_powers_that_a_request_asks_for_are_not_copied(
    device: Device, extension: tuple[x509.ExtensionType, bool]
) -> None:
    assert device.post("simpleenroll", device.csr(None, extension), password=True)[0] == 403


# --- linking identity and proof of possession --------------------------------------------------------------------


def test_a_request_bound_to_its_connection_is_taken_there_only(device: Device, other: Device) -> None:
    first, second = device.connect(ssl.TLSVersion.TLSv1_2), device.connect(ssl.TLSVersion.TLSv1_2)
    first.connect()
    unique = first.sock.get_channel_binding("tls-unique")
    csr = device.csr(challenge_password=b64encode(unique or b"").decode())

    replayed, why = device.post("simpleenroll", csr, password=True, connection=second)
    taken, _ = device.post("simpleenroll", csr, password=True, connection=first)
    first.close()
    second.close()

    assert (replayed, taken) == (400, 200)
    assert b"RFC 7030 section 3.5" in why


def test_tls_1_3_has_no_unique_value_that_a_request_could_be_bound_to(device: Device) -> None:
    device.connection.connect()
    finished = device.connection.sock.get_channel_binding("tls-unique") or b"nothing"
    csr = device.csr(challenge_password=b64encode(finished).decode())

    assert device.post("simpleenroll", csr, password=True)[0] == 400


# --- many at once, many labels -----------------------------------------------------------------------------------


def test_the_same_request_many_times_at_once_is_one_certificate(device: Device) -> None:
    csr = device.csr()

    def enroll(_: int) -> bytes:
        connection = device.connect()
        status, body = device.post("simpleenroll", csr, password=True, connection=connection)
        connection.close()
        assert status == 200, body
        return body

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(enroll, range(16)))) == 1


@pytest.fixture(scope="module")
def two_labels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with est/default and est/plant, the same but for the label."""
    deployment = create(
        tmp_path_factory.mktemp("labels") / "deployment", ports=Ports(*free_ports(4)), clock=system_clock
    )
    text = deployment.config.read_text()
    head, mark, tail = text.partition("  est/default:")
    body = tail[: tail.index("\n  scep/")]
    deployment.config.write_text(f"{head}  est/plant:{body}\n{mark}{tail}")
    running = serve(deployment)
    yield running
    assert running.process.stop() == 0


@pytest.mark.parametrize("issued", ["default", "plant"])
@pytest.mark.parametrize("used", ["default", "plant"])
def test_a_certificate_counts_at_the_label_that_issued_it_only(
    two_labels: RunningServer, tmp_path: Path, issued: str, used: str
) -> None:
    device = Device(two_labels, tmp_path).enroll(issued)
    status, _ = device.post(f"{used}/simplereenroll", device.csr())
    device.connection.close()

    assert status == (200 if issued == used else 403)
