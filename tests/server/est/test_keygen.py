"""Keys that the server makes: opened with openssl, which knows nothing of this project."""

from __future__ import annotations

import asyncio
import subprocess
from base64 import b64decode, b64encode
from contextlib import nullcontext
from dataclasses import replace
from email import message_from_bytes
from email.message import Message
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    pkcs7,
)
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from ca import der
from ca.csr import MalformedCsr, Proof, parse_keyless
from ca.keys import POST_QUANTUM, KeyShape, key_shape
from policies.document import DocumentErrors
from server.app.material import load_material
from server.clock import system_clock
from server.cms.certificates import SIGNED_DATA, content_info
from server.cms.key_package import KEY_PACKAGE
from server.config import load_config
from server.est import keygen
from server.est.capabilities import ANY, read_capabilities
from server.est.keygen import read_protection
from server.est.messages import Malformed
from server.outcome import Reason
from server.store.requests import list_requests
from server.store.tables import requests
from tests.fakes.credential import credential, keep, kept
from tests.server.est.lab import Device, Holder, csr, lab
from tests.wire.running import require_program

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.server.est.lab import Answer, Lab

AES = {128: "2.16.840.1.101.3.4.1.2", 192: "2.16.840.1.101.3.4.1.22", 256: "2.16.840.1.101.3.4.1.42"}
COFACTOR_DH = "1.3.132.1.14.2"
WRAP = {128: "2.16.840.1.101.3.4.1.5", 256: "2.16.840.1.101.3.4.1.45"}
RSA_ENCRYPTION, OAEP = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7"
ENDPOINT = """
est/default:
  profiles: [iot-device]
  authenticate: {{one_time_passwords: true, certificates: true}}
  serverkeygen: {{{more}}}
"""


def openssl(*arguments: object) -> str:
    program = require_program("openssl")
    done = subprocess.run([program, *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def request(name: str = "pump", *, attributes: Mapping[str, bytes] | None = None, spoil: bool = False) -> bytes:
    """A request whose own key and signature must not matter."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
    made = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    info, algorithm, signature = der.children(der.read(made))
    fields = [part.raw for part in der.children(info)[:3]]
    wanted = (der.sequence(der.oid(oid), der.set_of(value)) for oid, value in (attributes or {}).items())
    octets = der.bit_string(b"nothing") if spoil else signature.raw
    return der.sequence(der.sequence(*fields, der.tlv(der.context(0), *wanted)), algorithm.raw, octets)


def wishes(kind: str, identifier: bytes, *capabilities: str) -> dict[str, bytes]:
    listed = der.sequence(*(der.sequence(der.oid(each)) for each in capabilities))
    return {kind: der.octet_string(identifier), keygen.CAPABILITIES: listed}


def parts(answer: Answer) -> tuple[str, bytes, x509.Certificate]:
    """The type of the key part, what it holds, and the certificate."""
    assert answer.status == 200, answer
    message = message_from_bytes(f"Content-Type: {answer.fields['Content-Type']}\r\n\r\n".encode() + answer.body)
    assert message.get_content_type() == "multipart/mixed"
    assert not message.defects
    payload = message.get_payload()
    assert isinstance(payload, list)
    first, second = payload
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert second["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
    (certificate,) = pkcs7.load_der_pkcs7_certificates(b64decode(str(second.get_payload())))
    return first["Content-Type"], b64decode(str(first.get_payload())), certificate


async def ask(running: Lab, body: bytes, holder: Holder | None = None) -> Answer:
    await keep(running.application.services.store, credential("otp", username="pump"))
    return await running.post("serverkeygen", body, basic=("pump", "otp"), holder=holder)


def holder_with(key: Any, **usages: bool) -> Holder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "maker")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 7)
        .not_valid_before(system_clock().replace(microsecond=0))
        .not_valid_after(system_clock().replace(microsecond=0, year=2040))
        .add_extension(x509.SubjectKeyIdentifier(b"the device's key"), critical=False)
    )
    if usages:
        words = "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign"
        bits = {
            word: usages.get(word, False) for word in [*words.split(), "crl_sign", "encipher_only", "decipher_only"]
        }
        builder = builder.add_extension(x509.KeyUsage(**bits), critical=True)
    return Holder(key, (builder.sign(key, hashes.SHA256()),))


def open_package(folder: Path, sealed: bytes, root: Path, *way: object) -> Any:
    """Decrypt, verify who made the key, and return it; openssl does all of it."""
    (folder / "sealed.der").write_bytes(sealed)
    openssl("cms", "-decrypt", "-inform", "DER", "-in", folder / "sealed.der", "-out", folder / "inner.der", *way)
    signed = content_info(SIGNED_DATA, (folder / "inner.der").read_bytes())
    (folder / "signed.der").write_bytes(signed)
    assert der.oid(KEY_PACKAGE) in signed
    verify = ("cms", "-verify", "-inform", "DER", "-in", folder / "signed.der", "-purpose", "any", "-CAfile", root)
    openssl(*verify, "-out", folder / "package.der")
    (one,) = der.children(der.read((folder / "package.der").read_bytes()))
    (folder / "key.der").write_bytes(one.raw)
    assert "Private-Key" in openssl("pkey", "-inform", "DER", "-in", folder / "key.der", "-noout", "-text")
    return load_der_private_key(one.raw, None)


async def test_a_device_without_a_key_gets_one_with_its_certificate(folder: Path) -> None:
    async with lab(folder, ENDPOINT.format(more="")) as running:
        answer = await ask(running, request(spoil=True))
        kind, octets, certificate = parts(answer)
        (asked,) = await running.application.services.store.read(
            lambda connection: connection.execute(sa.select(requests.c.asked)).scalars().all()
        )
    assert kind == "application/pkcs8"
    assert load_der_private_key(octets, None).public_key() == certificate.public_key()
    assert certificate.subject.rfc4514_string() == "CN=pump"
    assert answer.fields["Cache-Control"] == "no-store"
    assert answer.body.startswith(b"--")
    assert '"proof":"server-generated"' in asked


async def test_the_key_is_nowhere_on_disk_and_in_no_log(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with lab(folder, ENDPOINT.format(more="")) as running:
        _, octets, certificate = parts(await ask(running, request()))
        held = await asyncio.to_thread(everything_in, folder)
    key = load_der_private_key(octets, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    secret = key.private_numbers().private_value.to_bytes(32)
    assert certificate.public_bytes(Encoding.DER) in held
    assert secret not in held
    assert secret.hex().encode() not in held
    out = "".join(capsys.readouterr())
    assert "serverkeygen" in out
    assert secret.hex() not in out
    assert b64encode(octets).decode() not in out


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_each_request_gets_a_key_of_its_own(folder: Path) -> None:
    body = request()
    async with lab(folder, ENDPOINT.format(more="key: rsa:2048")) as running:
        await keep(running.application.services.store, credential("more", username="pump", uses_left=2))
        replies = [await running.post("serverkeygen", body, basic=("pump", "more")) for _ in range(2)]
    first, second = (parts(answer)[2] for answer in replies)
    assert first.public_key() != second.public_key()
    assert isinstance(first.public_key(), rsa.RSAPublicKey)


@pytest.mark.parametrize(("kind", "allowed"), [("ec:P-384", True), ("ml-dsa-44", False), ("rsa:8192", False)])
def test_keys_that_every_profile_would_refuse_are_told_at_start(folder: Path, kind: str, *, allowed: bool) -> None:
    """Else each request would cost a key, and the device be told that the key is not allowed that it never had."""
    file = folder / "server.yaml"
    head, _, _ = file.read_text().partition("\nendpoints:")
    indented = ENDPOINT.format(more=f"key: {kind}").replace("\n", "\n  ")
    file.write_text(f"{head}\nendpoints:{indented}\n")
    said = f"no profile of est/default allows {kind} keys"
    with nullcontext() if allowed else pytest.raises(DocumentErrors, match=said):
        load_material(load_config(file))


async def test_it_is_off_unless_configured(folder: Path) -> None:
    endpoint = "est/default: {profiles: [iot-device], authenticate: {one_time_passwords: true}}"
    async with lab(folder, endpoint) as running:
        assert (await ask(running, request())).status == 404


@pytest.mark.parametrize("bits", [128, 192, 256])
async def test_a_shared_key_opens_it(folder: Path, tmp_path: Path, bits: int) -> None:
    secret = bytes(range(bits // 8))
    (folder / "shared.yaml").write_text(f'keys: {{"cafe": "{secret.hex()}"}}\n')
    async with lab(folder, ENDPOINT.format(more="shared_keys: shared.yaml, encryption: required")) as running:
        attributes = wishes(keygen.DECRYPT_KEY, bytes.fromhex("cafe"), AES[bits])
        kind, sealed, certificate = parts(await ask(running, request(attributes=attributes)))
    assert kind == "application/pkcs7-mime; smime-type=server-generated-key"
    way = ("-secretkey", secret.hex(), "-secretkeyid", "cafe")
    key = open_package(tmp_path, sealed, folder / "ca" / "root.pem", *way)
    assert key.public_key() == certificate.public_key()


@pytest.mark.parametrize(
    ("capability", "usage"), [(RSA_ENCRYPTION, {}), (OAEP, {}), (OAEP, {"key_encipherment": True})]
)
async def test_an_rsa_key_opens_it(folder: Path, tmp_path: Path, capability: str, usage: dict[str, bool]) -> None:
    holder = holder_with(rsa.generate_private_key(65537, 2048), **usage)
    async with lab(folder, ENDPOINT.format(more="")) as running:
        attributes = wishes(keygen.ASYMMETRIC_DECRYPT_KEY, b"the device's key", AES[256], capability)
        _, sealed, certificate = parts(await ask(running, request(attributes=attributes), holder))
    assert der.oid(capability) in sealed
    key = open_package(tmp_path, sealed, folder / "ca" / "root.pem", *_recipient(tmp_path, holder))
    assert key.public_key() == certificate.public_key()


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
async def test_an_ec_key_opens_it(folder: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    """Also when the device is known by its certificate alone, not by its connection."""
    holder = holder_with(ec.generate_private_key(curve), key_agreement=True)
    (folder / "devices.pem").write_bytes(holder.chain[0].public_bytes(Encoding.PEM))
    async with lab(folder, ENDPOINT.format(more="recipients: devices.pem")) as running:
        attributes = wishes(keygen.ASYMMETRIC_DECRYPT_KEY, b"the device's key", AES[128], AES[256])
        _, sealed, certificate = parts(await ask(running, request(attributes=attributes)))
    key = open_package(tmp_path, sealed, folder / "ca" / "root.pem", *_recipient(tmp_path, holder))
    assert key.public_key() == certificate.public_key()


def _recipient(folder: Path, holder: Holder) -> tuple[object, ...]:
    pem, key = folder / "device.pem", folder / "device.key"
    pem.write_bytes(holder.chain[0].public_bytes(Encoding.PEM))
    key.write_bytes(holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return "-recip", pem, "-inkey", key


IDENTIFIED = wishes(keygen.ASYMMETRIC_DECRYPT_KEY, b"the device's key", AES[256])


@pytest.mark.parametrize(
    ("attributes", "more", "said"),
    [
        ({}, "encryption: required", b"encrypted only"),
        (wishes(keygen.DECRYPT_KEY, b"unknown", AES[256]), "", b"not known here"),
        (wishes(keygen.ASYMMETRIC_DECRYPT_KEY, b"unknown", AES[256]), "", b"not known here"),
        ({keygen.DECRYPT_KEY: der.octet_string(b"x")}, "", b"SMIMECapabilities is missing"),
        ({**IDENTIFIED, **wishes(keygen.DECRYPT_KEY, b"x")}, "", b"both a shared key and a key pair"),
        ({**IDENTIFIED, keygen.CAPABILITIES: der.null()}, "", b"can't be read"),
        (wishes(keygen.DECRYPT_KEY, b"", AES[256]), "", b"empty or too long"),
        (IDENTIFIED, "", b"not for encryption"),
    ],
)
async def test_what_cant_be_protected_as_asked_is_refused_and_costs_nothing(
    folder: Path, attributes: dict[str, bytes], more: str, said: bytes
) -> None:
    holder = holder_with(ec.generate_private_key(ec.SECP256R1()), digital_signature=True)
    async with lab(folder, ENDPOINT.format(more=more)) as running:
        await keep(running.application.services.store, credential("once", id="once", username="pump"))
        body = request(attributes=attributes)
        answer = await running.post("serverkeygen", body, basic=("pump", "once"), holder=holder, tls=SSL.TLS1_2_VERSION)
        assert answer.status in {400, 403}
        assert said in answer.body
        assert (await kept(running.application.services.store, "once")).uses_left == 1


async def test_a_cipher_that_is_not_here_is_refused(folder: Path) -> None:
    (folder / "shared.yaml").write_text(f'keys: {{"cafe": "{"00" * 16}"}}\n')
    async with lab(folder, ENDPOINT.format(more="shared_keys: shared.yaml")) as running:
        attributes = wishes(keygen.DECRYPT_KEY, bytes.fromhex("cafe"), "1.2.840.113549.3.7")
        answer = await ask(running, request(attributes=attributes))
    assert answer.status == 400
    assert b"AES-CBC" in answer.body


@pytest.mark.parametrize(
    ("kind", "listed", "cipher"),
    [
        ("kek", (WRAP[128],), AES[256]),
        ("kek", (WRAP[128], AES[128]), AES[128]),
        ("kek", (WRAP[256],), None),
        ("ec", (WRAP[128],), AES[128]),
        ("ec", (WRAP[128], WRAP[256], AES[128], AES[256]), AES[256]),
        ("ec", (WRAP[128], AES[256]), AES[256]),
        ("ec", (WRAP[256], AES[128]), AES[128]),
        ("ec", (COFACTOR_DH, WRAP[128]), AES[128]),
        ("rsa", (OAEP,), AES[256]),
        ("rsa", (OAEP, "2.16.840.1.101.3.4.1.46"), None),
    ],
)
async def test_a_list_of_what_enciphers_keys_alone_leaves_the_content_to_the_server(
    folder: Path, tmp_path: Path, kind: str, listed: tuple[str, ...], cipher: str | None
) -> None:
    """Section 4.4.1: the key encipherment algorithms that the client is willing to use."""
    secret = bytes(range(16))
    (folder / "shared.yaml").write_text(f'keys: {{"cafe": "{secret.hex()}"}}\n')
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    holder = holder_with(key)
    if kind == "kek":
        attributes = wishes(keygen.DECRYPT_KEY, bytes.fromhex("cafe"), *listed)
        way: tuple[object, ...] = ("-secretkey", secret.hex(), "-secretkeyid", "cafe")
    else:
        attributes = wishes(keygen.ASYMMETRIC_DECRYPT_KEY, b"the device's key", *listed)
        way = _recipient(tmp_path, holder)
    async with lab(folder, ENDPOINT.format(more="shared_keys: shared.yaml")) as running:
        answer = await ask(running, request(attributes=attributes), holder)
    if cipher is None:
        assert answer.status == 400
        return
    _, sealed, certificate = parts(answer)
    assert [size for size, each in AES.items() if der.oid(each) in sealed] == [
        size for size, each in AES.items() if each == cipher
    ]
    opened = open_package(tmp_path, sealed, folder / "ca" / "root.pem", *way)
    assert opened.public_key() == certificate.public_key()


async def test_a_certificate_that_cant_be_read_is_no_recipient_and_no_fault_of_the_server(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "maker")])
    begin = system_clock().replace(microsecond=0)
    broken = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.14"), b"\x01\x02junk")
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, begin, begin.replace(year=2040))
    holder = Holder(key, (builder.add_extension(broken, critical=False).sign(key, hashes.SHA256()),))
    async with lab(folder, ENDPOINT.format(more="")) as running:
        answer = await ask(running, request(attributes=IDENTIFIED), holder)
    assert (answer.status, b"can't be read" in answer.body) == (400, True)


async def test_what_a_person_must_approve_gets_no_key(folder: Path) -> None:
    file = folder / "policies" / "iot-device.yaml"
    head, _, _ = file.read_text().partition("\ntests:")
    file.write_text(head + "\n    approval: manual\n")
    async with lab(folder, ENDPOINT.format(more="")) as running:
        answer = await ask(running, request())
        (recorded,) = await running.application.services.store.read(list_requests)
        followed = await running.post("simpleenroll", csr("pump"), basic=("pump", "otp"))
    assert followed.status == 202  # as it is told to do: the password was not used up in vain
    assert answer.status == 403
    assert b"not stored" in answer.body
    assert recorded.state == "refused"


async def test_who_is_nobody_or_asks_for_what_is_forbidden_is_refused_as_ever(folder: Path) -> None:
    async with lab(folder, ENDPOINT.format(more="")) as running:
        assert (await running.post("serverkeygen", request())).status == 401
        refused = await ask(running, csr("pump", dns=("www.google.com",)))
    assert refused.status == 403


@pytest.mark.parametrize(
    ("key", "ciphers", "status"),
    [
        ("ec:P-384", b"ECDHE+AESGCM", 200),
        ("ec:P-384", b"ECDHE+AES128+AESGCM", 403),
        ("ec:P-256", b"ECDHE+AES128+AESGCM", 200),
    ],
)
async def test_a_key_does_not_leave_over_a_weaker_cipher(folder: Path, key: str, ciphers: bytes, status: int) -> None:
    async with lab(folder, ENDPOINT.format(more=f'key: "{key}"')) as running:
        await keep(running.application.services.store, credential("otp", username="pump"))

        def work() -> Answer:
            with Device(running.ports["https"], tls=SSL.TLS1_2_VERSION, ciphers=ciphers) as device:
                return device.post("serverkeygen", request(), basic=("pump", "otp"))

        answer = await asyncio.to_thread(work)
    assert answer.status == status
    assert (b"weaker than the key" in answer.body) == (status == 403)


@pytest.mark.parametrize(
    ("shape", "bits"),
    [
        (KeyShape("rsa", 3072), 128),
        (KeyShape("rsa", 4096), 192),
        (KeyShape("rsa", 7680), 192),
        (KeyShape("rsa", 8192), 256),
        (KeyShape("ec", 256, "P-256"), 128),
        (KeyShape("ec", 384, "P-384"), 192),
        (KeyShape("ec", 521, "P-521"), 256),
        (KeyShape("ed25519", 256), 128),
        (KeyShape("ml-dsa-44", 0), 128),
        (KeyShape("ml-dsa-65", 0), 192),
        (KeyShape("ml-dsa-87", 0), 256),
        (KeyShape("ml-kem-768", 0), 192),
        (KeyShape("ml-kem-1024", 0), 256),
    ],
    ids=lambda given: given.curve or f"{given.kind}-{given.bits}" if isinstance(given, KeyShape) else "",
)
def test_a_key_has_a_strength(shape: KeyShape, bits: int) -> None:
    assert keygen.strength(shape) == bits


RSA_KEY, EC_KEY = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("key", "usage", "opens"),
    [
        (RSA_KEY, "key_encipherment", True),
        (RSA_KEY, "key_agreement", False),
        (RSA_KEY, "digital_signature", False),
        (EC_KEY, "key_agreement", True),
        (EC_KEY, "key_encipherment", False),
        (ec.generate_private_key(ec.SECP256K1()), "key_agreement", False),
    ],
)
def test_no_key_is_encrypted_to_one_that_is_for_something_else(key: Any, usage: str, *, opens: bool) -> None:
    """RFC 5280 section 4.2.1.3: the bit that an RSA key must have is not the one that an EC key must have."""
    assert (keygen.recipient_of(holder_with(key, **{usage: True}).chain[0]) is not None) is opens


def test_a_certificate_without_an_identifier_of_its_key_is_known_by_the_hash_of_it() -> None:
    """RFC 5280 section 4.2.1.2, method 1: SHA-1 over the bits of the key."""
    name, begin = x509.Name([]), system_clock().replace(microsecond=0)
    builder = x509.CertificateBuilder(name, name, EC_KEY.public_key(), 7, begin, begin.replace(year=2040))
    digest = hashes.Hash(hashes.SHA1())  # noqa: S303 - a name, no proof
    digest.update(EC_KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))
    assert keygen.key_identifier(builder.sign(EC_KEY, hashes.SHA256())) == digest.finalize()
    assert keygen.key_identifier(holder_with(EC_KEY).chain[0]) == b"the device's key"


IDENTIFIER = der.octet_string(b"k")


@pytest.mark.parametrize(
    ("extensions", "written", "instead"),
    [
        ({"2.5.29.14": b"junk"}, "", ""),
        ({"2.5.29.98": IDENTIFIER, "2.5.29.99": IDENTIFIER}, "2.5.29.98", "2.5.29.99"),
        ({"2.5.29.17": der.sequence(der.tlv(0xA3, der.sequence()))}, "", ""),
        ({"2.5.29.14": IDENTIFIER}, "1.2.840.10045.2.1", "1.2.840.10045.2.9"),
    ],
    ids=["no octets", "twice", "a name of a rare kind", "a key of an unknown kind"],
)
def test_a_certificate_that_nobody_has_judged_may_hold_anything(
    extensions: dict[str, bytes], written: str, instead: str
) -> None:
    """Whoever presents one by TLS has made it as it likes."""
    name, begin = x509.Name([]), system_clock().replace(microsecond=0)
    builder = x509.CertificateBuilder(name, name, EC_KEY.public_key(), 7, begin, begin.replace(year=2040))
    for oid, value in extensions.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
        builder = builder.add_extension(extension, critical=False)
    octets = builder.sign(EC_KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    if written:
        octets = octets.replace(der.oid(written), der.oid(instead))
    wanted = keygen.Protection(b"k", is_shared=False, capabilities=ANY)
    generator = keygen.KeyGenerator(lambda: (EC_KEY, ()))
    with pytest.raises(Malformed, match="can't be read") as refused:
        generator.recipient(wanted, x509.load_der_x509_certificate(octets), direct=True)
    assert refused.value.reason is Reason.MALFORMED


def test_what_a_key_pair_can_not_decrypt_is_said_and_not_that_its_certificate_is_bad() -> None:
    sha224 = der.sequence(der.tlv(0xA0, der.sequence(der.oid("2.16.840.1.101.3.4.2.4"), der.null())))
    listed = read_capabilities(der.sequence(der.sequence(der.oid(OAEP), sha224)))
    wanted = keygen.Protection(b"the device's key", is_shared=False, capabilities=listed)
    generator = keygen.KeyGenerator(lambda: (EC_KEY, ()), recipients=holder_with(RSA_KEY).chain)
    with pytest.raises(Malformed, match="RSAES-OAEP") as refused:
        generator.recipient(wanted, None, direct=True)
    assert refused.value.reason is Reason.BAD_ALGORITHM


async def test_a_key_that_is_encrypted_may_leave_over_a_weaker_cipher() -> None:
    generator = keygen.KeyGenerator(lambda: (EC_KEY, ()), shared={b"k": bytes(32)})
    new_key = keygen.NewKey(generator, KeyShape("ec", 384, "P-384"), None, direct=True, cipher_bits=128)
    await new_key.make(new_key.decode(request(attributes=wishes(keygen.DECRYPT_KEY, b"k", AES[256]))))
    with pytest.raises(Malformed, match="weaker than the key"):
        await new_key.make(new_key.decode(request()))


async def test_a_key_is_given_away_once() -> None:
    generator = keygen.KeyGenerator(lambda: (EC_KEY, ()))
    new_key = keygen.NewKey(generator, KeyShape("ec", 256, "P-256"), None, direct=True)
    asked = new_key.decode(request())
    with pytest.raises(RuntimeError):
        new_key.part()
    made = await new_key.make(asked)
    key = load_der_private_key(new_key.part().octets, None)
    assert key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == made.spki
    with pytest.raises(RuntimeError):
        new_key.part()


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", POST_QUANTUM)
def test_post_quantum_keys_are_made_and_can_be_handed_out(kind: str) -> None:
    key = keygen._generate(KeyShape(kind, POST_QUANTUM[kind][1]))
    assert key_shape(key.public_key()).kind == kind
    octets = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert load_der_private_key(octets, None).public_key() == key.public_key()


@pytest.mark.parametrize(
    "shape",
    [
        KeyShape("rsa", 2048),
        KeyShape("ec", 256, "P-256"),
        KeyShape("ec", 384, "P-384"),
        KeyShape("ec", 521, "P-521"),
        KeyShape("ed25519", 256),
    ],
    ids=lambda shape: shape.curve or shape.kind,
)
def test_a_key_is_made_as_it_is_wanted(shape: KeyShape) -> None:
    public = keygen._generate(shape).public_key()
    assert key_shape(public) == shape
    if isinstance(public, rsa.RSAPublicKey):
        assert public.public_numbers().e == 65537


def test_the_requests_own_key_may_be_anything() -> None:
    made = request()
    spki = der.children(der.children(der.read(made))[0])[2].raw
    odd = made.replace(
        der.children(der.read(spki))[0].raw, b"\x30\x13" + der.children(der.read(spki))[0].content[:-1] + b"\x63"
    )
    found = parse_keyless(odd, spki)
    assert (found.proof, found.spki) == (Proof.SERVER_GENERATED, spki)
    for broken in (b"", b"\x30\x00", made[:-1], b"\x00" * (64 * 1024 + 1)):
        with pytest.raises(MalformedCsr):
            parse_keyless(broken, spki)


def test_a_request_that_says_nothing_wants_no_more_than_tls() -> None:
    made = request()
    spki = der.children(der.children(der.read(made))[0])[2].raw
    assert read_protection(parse_keyless(made, spki)) is None
    long = request(attributes=wishes(keygen.DECRYPT_KEY, b"k" * 256, AES[128]))
    with pytest.raises(Malformed):
        read_protection(parse_keyless(long, spki))
    for identifier in (b"k", b"k" * 255):
        found = read_protection(parse_keyless(request(attributes=wishes(keygen.DECRYPT_KEY, identifier)), spki))
        assert found is not None
        assert found.identifier == identifier
    asked = parse_keyless(request(attributes=wishes(keygen.DECRYPT_KEY, b"k", AES[128])), spki)
    with pytest.raises(Malformed, match="twice"):
        read_protection(replace(asked, attributes=asked.attributes * 2))


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("odd", [keygen.DECRYPT_KEY, keygen.ASYMMETRIC_DECRYPT_KEY, keygen.CAPABILITIES])
def test_what_names_a_key_and_what_opens_it_has_one_value(odd: str, count: int) -> None:
    kind = keygen.DECRYPT_KEY if odd == keygen.CAPABILITIES else odd
    asked = parse_keyless(request(attributes=wishes(kind, b"k", AES[128])), keygen._spki(EC_KEY))
    attributes = [replace(each, values=each.values * count) if each.oid == odd else each for each in asked.attributes]
    with pytest.raises(Malformed, match="can't be read"):
        read_protection(replace(asked, attributes=tuple(attributes)))
