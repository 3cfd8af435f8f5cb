"""EST with nothing but curl and openssl, as a person at a shell does it."""

from __future__ import annotations

from base64 import b64encode
from itertools import count
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from tests.wire.devices import accept, device, dns_names, openssl, refusals
from tests.wire.running import require_program, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.wire.devices import Device
    from tests.wire.running import RunningServer

PKCS10 = ("-H", "Content-Type: application/pkcs10")
_numbers = count(1)


@pytest.fixture
def pump(tmp_path: Path) -> Device:
    return device(tmp_path / "pump", f"curl-pump-{next(_numbers)}.example")


def curl(server: RunningServer, *arguments: str | Path) -> str:
    program = require_program("curl")
    return run(program, "--silent", "--show-error", "--cacert", server.root_pem, *arguments).stdout


def post(server: RunningServer, path: str, body: Path, *arguments: str | Path) -> tuple[int, str]:
    """Post a file; return status and text."""
    write = ("--write-out", "\n%{http_code}")
    text = curl(server, "--data-binary", f"@{body}", *write, *arguments, f"{server.est_url}/{path}")
    body_text, _, status = text.rpartition("\n")
    return int(status), body_text


def password(server: RunningServer) -> tuple[str, ...]:
    return "--user", f"{server.est_username}:{server.est_password}"


def unpack(reply: Path, certificates: Path) -> None:
    """Write the certificates of an EST reply to a PEM file."""
    der = reply.with_suffix(".der")
    openssl("base64", "-d", "-in", reply, "-out", der)
    certificates.write_text(openssl("pkcs7", "-inform", "DER", "-in", der, "-print_certs"))


def enroll(server: RunningServer, pump: Device, *arguments: str | Path, path: str = "simpleenroll") -> x509.Certificate:
    """Enroll with the device's request; return the certificate."""
    reply = pump.folder / "device-cert.p7"
    status, text = post(server, path, pump.csr, *PKCS10, *arguments, "-o", reply)
    assert status == 200, text + reply.read_text()
    unpack(reply, pump.certificate)
    return accept(server, pump.certificate)


def refused(server: RunningServer, body: Path, status: int, *arguments: str | Path) -> str:
    """Post a body that must be refused with this status; return the text."""
    found, text = post(server, "simpleenroll", body, *PKCS10, *arguments)
    assert found == status
    return text


# --- enrolled ----------------------------------------------------------------------------------------------------


def test_the_line_of_the_readme_enrolls_a_device(server: RunningServer, pump: Device) -> None:
    certificate = enroll(server, pump, *password(server))

    assert dns_names(certificate) == [pump.name]


def test_a_certificate_is_renewed_over_its_own_tls_connection(server: RunningServer, pump: Device) -> None:
    first = enroll(server, pump, *password(server))
    old = (
        "--cert",
        pump.certificate.rename(pump.folder / "old.pem"),
        "--key",
        pump.key.rename(pump.folder / "old.key"),
    )
    second = enroll(server, pump.ask(), *old, path="simplereenroll")

    assert second.subject == first.subject
    assert dns_names(second) == dns_names(first)
    assert second.serial_number != first.serial_number
    assert second.public_key() != first.public_key()


def test_iot_edge_renews_through_simpleenroll_with_its_certificate(server: RunningServer, pump: Device) -> None:
    enroll(server, pump, *password(server))
    old = (
        "--cert",
        pump.certificate.rename(pump.folder / "old.pem"),
        "--key",
        pump.key.rename(pump.folder / "old.key"),
    )

    enroll(server, pump.ask(), *old)


def test_the_same_request_again_brings_the_same_certificate(server: RunningServer, pump: Device) -> None:
    assert enroll(server, pump, *password(server)) == enroll(server, pump, *password(server))


@pytest.mark.parametrize("encode", [b64encode, bytes], ids=["base64", "DER"])
def test_a_request_is_taken_as_base64_and_as_der(
    server: RunningServer, pump: Device, encode: Callable[[bytes], bytes]
) -> None:
    der = pump.folder / "device.csr.der"
    openssl("req", "-in", pump.csr, "-outform", "DER", "-out", der)
    pump.csr.write_bytes(encode(der.read_bytes()))

    enroll(server, pump, *password(server))


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_both_versions_of_tls_enroll(server: RunningServer, pump: Device, tls: str) -> None:
    enroll(server, pump, *password(server), f"--tlsv{tls}", "--tls-max", tls)


@pytest.mark.parametrize(
    "key",
    [("rsa:2048",), ("ec", "-pkeyopt", "ec_paramgen_curve:P-384"), ("ed25519",)],
    ids=["RSA-2048", "P-384", "Ed25519"],
)
def test_keys_of_every_kind_are_certified(server: RunningServer, pump: Device, key: tuple[str, ...]) -> None:
    enroll(server, pump.ask(key=key), *password(server))


def test_the_label_is_served_beside_the_service_without_one(server: RunningServer, pump: Device) -> None:
    enroll(server, pump, *password(server), path="default/simpleenroll/")


@pytest.mark.parametrize("path", ["cacerts", "default/cacerts", "cacerts/"])
def test_cacerts_gives_the_chain_to_anybody(server: RunningServer, tmp_path: Path, path: str) -> None:
    reply = tmp_path / "cacerts.p7"
    curl(server, "-o", reply, f"{server.est_url}/{path}")
    unpack(reply, tmp_path / "cacerts.pem")
    given = x509.load_pem_x509_certificates((tmp_path / "cacerts.pem").read_bytes())

    assert set(given) == set(x509.load_pem_x509_certificates(server.chain_pem.read_bytes()))
    assert x509.load_pem_x509_certificate(server.root_pem.read_bytes()) in given


# --- refused, and found on record --------------------------------------------------------------------------------


def test_a_wrong_password_is_refused_with_401_and_on_record(server: RunningServer, pump: Device) -> None:
    user = f"stranger-{pump.name}"

    assert refused(server, pump.csr, 401, "--user", f"{user}:guess") == ""
    assert refusals(server, user)[0]["reason"] == "bad-credentials"


def test_without_a_password_the_answer_is_401(server: RunningServer, pump: Device) -> None:
    headers = curl(server, "--include", *PKCS10, "--data-binary", f"@{pump.csr}", f"{server.est_url}/simpleenroll")

    assert headers.startswith("HTTP/1.1 401 ")
    assert 'WWW-Authenticate: Basic realm="est/default"' in headers


def test_a_forbidden_name_is_refused_with_the_rule_and_on_record(server: RunningServer, pump: Device) -> None:
    pump.ask(pump.name, f"{pump.name}.bank.invalid")
    text = refused(server, pump.csr, 403, *password(server))
    (refusal,) = refusals(server, pump.name)

    assert "[" in text  # the rule's identifier
    assert refusal["reason"] == "policy"


def test_a_weak_key_is_refused_with_the_rule_and_on_record(server: RunningServer, pump: Device) -> None:
    pump.ask(key=("rsa:1024",))
    text = refused(server, pump.csr, 403, *password(server))
    (refusal,) = refusals(server, pump.name)

    assert "key" in text
    assert refusal["reason"] == "policy"


def test_garbage_is_refused_with_400_and_on_record(server: RunningServer, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage\x00\xff" * 30)
    before = refusals(server, "malformed")

    assert "neither base64" in refused(server, garbage, 400, *password(server))
    assert refusals(server, "malformed")[0] not in before


def test_a_request_that_was_tampered_with_is_refused_with_400(server: RunningServer, pump: Device) -> None:
    der = pump.folder / "device.csr.der"
    openssl("req", "-in", pump.csr, "-outform", "DER", "-out", der)
    octets = der.read_bytes()
    der.write_bytes(octets[:-1] + bytes([octets[-1] ^ 1]))

    assert refused(server, der, 400, *password(server))


def test_an_oversized_body_is_refused_with_413_and_on_record(server: RunningServer, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"A" * 1_000_000)
    before = refusals(server, "too-large")

    assert "larger" in refused(server, large, 413, *password(server))
    assert refusals(server, "too-large")[0] not in before


def test_a_body_posted_as_a_form_is_refused_with_the_field_that_is_missing(server: RunningServer, pump: Device) -> None:
    status, text = post(server, "simpleenroll", pump.csr, *password(server))

    assert status == 415
    assert "Content-Type: application/pkcs10" in text


def test_simplereenroll_without_a_certificate_is_refused_with_403(server: RunningServer, pump: Device) -> None:
    status, text = post(server, "simplereenroll", pump.csr, *PKCS10, *password(server))

    assert status == 403
    assert "simpleenroll" in text


def test_csrattrs_tells_anybody_what_to_ask_for(server: RunningServer, tmp_path: Path) -> None:
    reply, request = tmp_path / "csrattrs.b64", tmp_path / "csrattrs.der"
    curl(server, "--fail", "-o", reply, f"{server.est_url}/csrattrs")
    openssl("base64", "-d", "-in", reply, "-out", request)
    told = openssl("asn1parse", "-inform", "DER", "-in", request)
    assert ":id-ecPublicKey" in told
    assert ":prime256v1" in told
    assert ":commonName" in told
    assert "Error" not in told
