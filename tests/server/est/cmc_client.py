"""A client of fullcmc that shares no code with the server: pyasn1-alt-modules write and read PKIData and PKIResponse,
asn1crypto the SignedData around them."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from asn1crypto import cms, core
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pyasn1.codec.der.decoder import decode
from pyasn1.codec.der.encoder import encode
from pyasn1.type import char, univ, useful
from pyasn1_alt_modules import rfc5280, rfc5652, rfc6402

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.server.est.lab import Answer

    Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

CMC = "1.3.6.1.5.5.7.7."
PKI_DATA, PKI_RESPONSE = "1.3.6.1.5.5.7.12.2", "1.3.6.1.5.5.7.12.3"
NO_SIGNATURE = "1.3.6.1.5.5.7.6.2"
SHA256, HMAC_SHA256 = "2.16.840.1.101.3.4.2.1", "1.2.840.113549.2.9"
TYPE = "application/pkcs7-mime; smime-type=CMC-request"


# --- requests ----------------------------------------------------------------------------------------------------


def spki(key: Key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def control(part: int, number: int, value: object) -> object:
    """Return a TaggedAttribute of the arc id-cmc."""
    found = rfc6402.TaggedAttribute()
    found["bodyPartID"], found["attrType"] = part, univ.ObjectIdentifier(f"{CMC}{number}")
    found["attrValues"][0] = univ.Any(encode(value))
    return found


def transaction(part: int, number: int) -> object:
    return control(part, 5, univ.Integer(number))


def nonce(part: int, octets: bytes) -> object:
    return control(part, 6, univ.OctetString(octets))


def identification(part: int, name: str) -> object:
    return control(part, 2, char.UTF8String(name))


def query(part: int, token: bytes) -> object:
    return control(part, 21, univ.OctetString(token))


def witness(
    secret: str, data: bytes, *, identification: str = "", hash_: str = SHA256, mac: str = HMAC_SHA256
) -> object:
    """Return an IdentityProofV2, with an identification beside it, or a PopLinkWitnessV2."""
    key = hashlib.sha256((secret + identification).encode()).digest()
    found = rfc6402.IdentifyProofV2()
    found["proofAlgID"]["algorithm"] = univ.ObjectIdentifier(hash_)
    found["macAlgId"]["algorithm"] = univ.ObjectIdentifier(mac)
    found["witness"] = hmac.digest(key, data, "sha256")
    return found


def revoke(
    part: int,
    certificate: x509.Certificate,
    *,
    reason: int = 1,
    passphrase: str | None = None,
    since: str | None = None,
    issuer: x509.Name | None = None,
) -> object:
    name = certificate.issuer if issuer is None else issuer
    found = rfc6402.RevokeRequest()
    found["issuerName"], _ = decode(name.public_bytes(), asn1Spec=rfc5280.Name())
    found["serialNumber"], found["reason"] = certificate.serial_number, reason
    if since is not None:
        found["invalidityDate"] = useful.GeneralizedTime(since)
    if passphrase is not None:
        found["passphrase"] = passphrase.encode()
    return control(part, 17, found)


def get_crl(part: int, issuer: x509.Name, *, time: str | None = None, more: bool = False) -> object:
    found = rfc6402.GetCRL()
    found["issuerName"], _ = decode(issuer.public_bytes(), asn1Spec=rfc5280.Name())
    if more:
        found["cRLName"]["uniformResourceIdentifier"] = "http://localhost/crl"
        found["reasons"] = "110000000"
    if time is not None:
        found["time"] = useful.GeneralizedTime(time)
    return control(part, 16, found)


def pkcs10(part: int, octets: bytes) -> object:
    found = rfc6402.TaggedRequest()
    found["tcr"]["bodyPartID"] = part
    request, _ = decode(octets, asn1Spec=rfc6402.CertificationRequest())
    for position in range(len(request)):
        found["tcr"]["certificationRequest"].setComponentByPosition(position, request[position])
    return found


def crmf(
    part: int,
    key: ec.EllipticCurvePrivateKey,
    name: str,
    dns: Sequence[str] = (),
    *,
    pop: str = "signature",
    signer: ec.EllipticCurvePrivateKey | None = None,
    controls: Iterable[tuple[str, object]] = (),
    issuer: x509.Name | None = None,
    days: bool = False,
) -> object:
    """Return a CRMF request; `pop` says how its key is proven, `signer` that another key does it."""
    found = rfc6402.TaggedRequest()
    request = found["crm"]["certReq"]
    request["certReqId"] = part
    template = request["certTemplate"]
    subject, _ = decode(x509.Name.from_rfc4514_string(f"CN={name}").public_bytes(), asn1Spec=rfc5280.Name())
    template["subject"][0] = subject[0]
    public, _ = decode(spki(key), asn1Spec=rfc5280.SubjectPublicKeyInfo())
    for field in ("algorithm", "subjectPublicKey"):
        template["publicKey"][field] = public[field]
    if issuer is not None:
        template["issuer"][0] = decode(issuer.public_bytes(), asn1Spec=rfc5280.Name())[0][0]
    if days:
        template["validity"]["notAfter"]["utcTime"] = useful.UTCTime("401231235959Z")
    if dns:
        template["extensions"][0]["extnID"] = rfc5280.id_ce_subjectAltName
        template["extensions"][0]["extnValue"] = x509.SubjectAlternativeName(map(x509.DNSName, dns)).public_bytes()
    for number, (oid, value) in enumerate(controls):
        request["controls"][number]["type"] = univ.ObjectIdentifier(oid)
        request["controls"][number]["value"] = univ.Any(encode(value))
    if pop == "signature":
        made = found["crm"]["popo"]["signature"]
        made["algorithmIdentifier"]["algorithm"] = univ.ObjectIdentifier("1.2.840.10045.4.3.2")
        made["signature"] = univ.BitString.fromOctetString(
            (signer or key).sign(encode(request), ec.ECDSA(hashes.SHA256()))
        )
    elif pop == "raVerified":
        found["crm"]["popo"]["raVerified"] = ""
    elif pop == "keyEncipherment":
        found["crm"]["popo"]["keyEncipherment"]["subsequentMessage"] = "encrCert"
    return found


def request_sequence(requests: Iterable[object]) -> bytes:
    """Return what identityProofV2 is over."""
    return _pki_data(requests)[1]


def _pki_data(requests: Iterable[object], controls: Iterable[object] = ()) -> tuple[bytes, bytes]:
    data = rfc6402.PKIData()
    for field in ("controlSequence", "reqSequence", "cmsSequence", "otherMsgSequence"):
        data[field].clear()
    for number, each in enumerate(controls):
        data["controlSequence"][number] = each
    for number, each in enumerate(requests):
        data["reqSequence"][number] = each
    return encode(data), encode(data["reqSequence"])


def pki_data(requests: Iterable[object] = (), controls: Iterable[object] = ()) -> bytes:
    return _pki_data(requests, controls)[0]


def signed(
    content: bytes,
    key: Key | None,
    certificate: x509.Certificate | None = None,
    *,
    others: Iterable[x509.Certificate] = (),
    time: datetime | None = None,
    content_type: str = PKI_DATA,
    digest: str = "sha256",
    identifier: bytes | None = None,
) -> bytes:
    """Return a full request: signed with a certificate's key, with the key of the request itself, or by nobody."""
    attributes = cms.CMSAttributes(
        [
            {"type": "content_type", "values": [content_type]},
            {"type": "message_digest", "values": [hashlib.new(digest, content).digest()]},
            *([{"type": "signing_time", "values": [cms.Time({"utc_time": time})]}] if time is not None else ()),
        ]
    )
    octets = attributes.dump()
    if certificate is not None:
        loaded = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
        numbers = {"issuer": loaded.issuer, "serial_number": loaded.serial_number}
        sid = cms.SignerIdentifier("issuer_and_serial_number", numbers)
    else:
        named = identifier if identifier is not None else (_identifier(key) if key is not None else b"")
        sid = cms.SignerIdentifier("subject_key_identifier", named)
    bag = [each for each in (certificate, *others) if each is not None]
    message: bytes = cms.ContentInfo(
        {
            "content_type": "signed_data",
            "content": {
                "version": "v3",
                "digest_algorithms": [{"algorithm": digest}],
                "encap_content_info": {"content_type": content_type, "content": core.ParsableOctetString(content)},
                **(
                    {"certificates": [asn1_x509.Certificate.load(each.public_bytes(Encoding.DER)) for each in bag]}
                    if bag
                    else {}
                ),
                "signer_infos": [
                    {
                        "version": "v3" if certificate is None else "v1",
                        "sid": sid,
                        "digest_algorithm": {"algorithm": digest},
                        "signed_attrs": attributes,
                        "signature_algorithm": {"algorithm": _algorithm(key, digest)},
                        "signature": _sign(key, octets, digest),
                    }
                ],
            },
        }
    ).dump()
    return message


def _identifier(key: Key) -> bytes:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest


def _algorithm(key: Key | None, digest: str) -> str:
    if key is None:
        return NO_SIGNATURE
    return f"{digest}_rsa" if isinstance(key, rsa.RSAPrivateKey) else f"{digest}_ecdsa"


def _sign(key: Key | None, octets: bytes, digest: str) -> bytes:
    hashed = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256()}[digest]  # noqa: S303 - to be refused
    if key is None:
        return hashlib.new(digest, octets).digest()
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, padding.PKCS1v15(), hashed)
    return key.sign(octets, ec.ECDSA(hashed))


# --- responses ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """One CMCStatusInfoV2."""

    status: str
    parts: tuple[int, ...]
    text: str
    fail: str | None
    token: bytes | None


@dataclass(frozen=True, slots=True)
class Response:
    """A verified full response.

    Attributes:
        statuses: in order.
        controls: DER of the other controls, by the last number of their types.
        certificates: all that the bag holds.
        crls: the revocation lists.
        signer: of the message.
    """

    statuses: tuple[Told, ...]
    controls: dict[int, bytes]
    certificates: tuple[x509.Certificate, ...]
    crls: tuple[bytes, ...]
    signer: x509.Certificate

    def issued_for(self, key: Key) -> x509.Certificate:
        (found,) = [each for each in self.certificates if each.public_key() == key.public_key()]
        return found


def opened(answer: Answer) -> Response:
    """Return what a reply says, its signature verified."""
    assert answer.fields["Content-Type"] == "application/pkcs7-mime; smime-type=CMC-response"
    return read_response(b64decode(answer.body))


def read_response(octets: bytes) -> Response:
    info, rest = decode(octets, asn1Spec=rfc5652.ContentInfo())
    assert not rest
    signed_data, _ = decode(info["content"], asn1Spec=rfc5652.SignedData())
    assert str(signed_data["encapContentInfo"]["eContentType"]) == PKI_RESPONSE
    content = bytes(signed_data["encapContentInfo"]["eContent"])
    certificates = tuple(
        x509.load_der_x509_certificate(encode(each["certificate"])) for each in signed_data["certificates"]
    )
    crls = tuple(encode(each["crl"]) for each in signed_data["crls"]) if signed_data["crls"].isValue else ()
    (signer_info,) = signed_data["signerInfos"]
    serial = int(signer_info["sid"]["issuerAndSerialNumber"]["serialNumber"])
    (signer,) = [each for each in certificates if each.serial_number == serial]
    attributes = univ.SetOf(componentType=rfc5652.Attribute())
    attributes.extend(signer_info["signedAttrs"])
    found = {str(each["attrType"]): bytes(each["attrValues"][0]) for each in attributes}
    assert decode(found["1.2.840.113549.1.9.4"])[0] == hashlib.sha256(content).digest()
    assert str(decode(found["1.2.840.113549.1.9.3"])[0]) == PKI_RESPONSE
    key = signer.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(bytes(signer_info["signature"]), encode(attributes), ec.ECDSA(hashes.SHA256()))
    return _read_content(content, certificates, crls, signer)


def _read_content(
    content: bytes, certificates: tuple[x509.Certificate, ...], crls: tuple[bytes, ...], signer: x509.Certificate
) -> Response:
    response, rest = decode(content, asn1Spec=rfc6402.PKIResponse())
    assert not rest
    statuses, controls = [], {}
    for each in response["controlSequence"]:
        number, (value,) = int(str(each["attrType"]).removeprefix(CMC)), each["attrValues"]
        if number == 25:
            statuses.append(_told(bytes(value)))
        else:
            controls[number] = bytes(value)
    return Response(tuple(statuses), controls, certificates, crls, signer)


def _told(octets: bytes) -> Told:
    info, rest = decode(octets, asn1Spec=rfc6402.CMCStatusInfoV2())
    assert not rest
    fail = token = None
    other = info["otherInfo"]
    if other.isValue and other.getName() == "failInfo":
        fail = other["failInfo"].prettyPrint()
    elif other.isValue:
        token = bytes(other["pendInfo"]["pendToken"])
        datetime.strptime(str(other["pendInfo"]["pendTime"]), "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    text = str(info["statusString"]) if info["statusString"].isValue else ""
    parts = tuple(int(each["bodyPartID"]) for each in info["bodyList"])
    return Told(info["cMCStatus"].prettyPrint(), parts, text, fail, token)
