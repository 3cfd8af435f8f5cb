"""Everything that EST sends, read by pyasn1 and the modules of the RFCs, which know nothing of this project.

The modules are the standards' own ASN.1. What is read must be DER to the last octet: it is encoded again and compared.
"""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1_alt_modules import rfc5280, rfc5652, rfc5753, rfc5958, rfc8951, rfc9908

from server.est import keygen
from server.est.csrattrs import REQUEST_TEMPLATE
from tests.fakes.credential import credential, keep
from tests.server.est.lab import csr, first_crl, lab
from tests.server.est.test_csrattrs import EXAMPLES, vector
from tests.server.est.test_csrattrs_routes import get
from tests.server.est.test_keygen import AES, OAEP, RSA_ENCRYPTION, ask, holder_with, parts, request, wishes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server.est.lab import Holder, Lab

ENDPOINTS = """
est/default:
  profiles: [iot-device]
  authenticate: {one_time_passwords: true, certificates: true}
  csrattrs: both
  serverkeygen: {shared_keys: shared.yaml}
"""
SHARED, KEY_PAIR = keygen.DECRYPT_KEY, keygen.ASYMMETRIC_DECRYPT_KEY


def read(octets: bytes, kind: Any) -> Any:
    """Return what the octets hold, all of them, in DER."""
    found, rest = decode(octets, asn1Spec=kind)
    assert not rest
    assert encode(found) == octets
    return found


def signed_data(octets: bytes) -> Any:
    message = read(octets, rfc5652.ContentInfo())
    assert message["contentType"] == rfc5652.id_signedData
    return read(bytes(message["content"]), rfc5652.SignedData())


def certificates(signed: Any) -> list[Any]:
    return [read(encode(each["certificate"]), rfc5280.Certificate()) for each in signed["certificates"]]


async def test_certificates_and_lists_are_degenerate_signed_data(folder: Path) -> None:
    (folder / "shared.yaml").write_text("keys: {}\n")
    async with lab(folder, ENDPOINTS) as running:
        await first_crl(running)
        chain, lists = [b64decode((await get(running, path))[2]) for path in ("cacerts", "crls")]
        issued = await running.post("simpleenroll", csr("pump"), basic=await _password(running))
    for octets, count in ((chain, 2), (b64decode(issued.body), 1)):
        signed = signed_data(octets)
        assert (int(signed["version"]), len(signed["digestAlgorithms"]), len(signed["signerInfos"])) == (1, 0, 0)
        assert signed["encapContentInfo"]["eContentType"] == rfc5652.id_data
        assert not signed["encapContentInfo"]["eContent"].isValue
        assert len(certificates(signed)) == count
    signed = signed_data(lists)
    assert not signed["certificates"].isValue
    (found,) = signed["crls"]
    read(encode(found["crl"]), rfc5280.CertificateList())


async def _password(running: Lab) -> tuple[str, str]:
    await keep(running.application.services.store, credential("otp", username="pump"))
    return "pump", "otp"


async def test_csrattrs_are_what_rfc_9908_defines(folder: Path) -> None:
    (folder / "shared.yaml").write_text("keys: {}\n")
    async with lab(folder, ENDPOINTS) as running:
        found = read(b64decode((await get(running))[2]), rfc8951.CsrAttrs())
    templates = [each["attribute"] for each in found if each.getName() == "attribute"]
    (template,) = (each for each in templates if str(each["attrType"]) == REQUEST_TEMPLATE)
    inner = read(bytes(template["attrValues"][0]), rfc9908.CertificationRequestInfoTemplate())
    assert int(inner["version"]) == 0
    ((named,),) = inner["subject"]["rdnSequence"]
    assert (str(named["type"]), named["value"].isValue) == ("2.5.4.3", False)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_such(name: str) -> None:
    read(vector(name), rfc8951.CsrAttrs())


RSA, EC = (holder_with(key) for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())))


@pytest.mark.parametrize(
    ("attributes", "holder", "recipient"),
    [
        (wishes(SHARED, b"\xca\xfe", AES[256]), None, "kekri"),
        (wishes(KEY_PAIR, b"the device's key", AES[256], RSA_ENCRYPTION), RSA, "ktri"),
        (wishes(KEY_PAIR, b"the device's key", AES[128], OAEP), RSA, "ktri"),
        (wishes(KEY_PAIR, b"the device's key", AES[128]), EC, "kari"),
    ],
)
async def test_an_encrypted_key_is_enveloped_data(
    folder: Path, attributes: dict[str, bytes], holder: Holder | None, recipient: str
) -> None:
    (folder / "shared.yaml").write_text(f'keys: {{"cafe": "{"00" * 32}"}}\n')
    async with lab(folder, ENDPOINTS) as running:
        _, octets, certificate = parts(await ask(running, request(attributes=attributes), holder))
    message = read(octets, rfc5652.ContentInfo())
    assert message["contentType"] == rfc5652.id_envelopedData
    enveloped = read(bytes(message["content"]), rfc5652.EnvelopedData())
    (info,) = enveloped["recipientInfos"]
    assert (info.getName(), int(enveloped["version"])) == (recipient, 2)
    assert enveloped["encryptedContentInfo"]["contentType"] == rfc5652.id_signedData
    if recipient == "kekri":
        assert bytes(info["kekri"]["kekid"]["keyIdentifier"]) == b"\xca\xfe"
    if recipient == "ktri":
        assert bytes(info["ktri"]["rid"]["subjectKeyIdentifier"]) == b"the device's key"
    if recipient == "kari":
        (to,) = info["kari"]["recipientEncryptedKeys"]
        assert bytes(to["rid"]["rKeyId"]["subjectKeyIdentifier"]) == b"the device's key"
        assert info["kari"]["originator"].getName() == "originatorKey"
        assert info["kari"]["keyEncryptionAlgorithm"]["algorithm"] == rfc5753.dhSinglePass_stdDH_sha256kdf_scheme
    read(certificate.public_bytes(Encoding.DER), rfc5280.Certificate())


async def test_a_plain_key_is_pkcs8(folder: Path) -> None:
    (folder / "shared.yaml").write_text("keys: {}\n")
    async with lab(folder, ENDPOINTS) as running:
        _, octets, certificate = parts(await ask(running, request()))
    found = read(octets, rfc5958.OneAsymmetricKey())
    assert int(found["version"]) == 0
    assert load_der_private_key(octets, None).public_key() == certificate.public_key()
