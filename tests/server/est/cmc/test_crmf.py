"""CRMF requests as another implementation writes them."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from pyasn1.type import char

from ca import der
from ca.csr import read_recorded_csr
from server.est.cmc import codec
from server.est.cmc.messages import CertificationRequest, CmcFault, FailInfo
from server.est.linking import OTP_CHALLENGE
from tests.server.est import cmc_client as client

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())


def only(request: object) -> CertificationRequest | CmcFault:
    data = codec.decode_pki_data(client.pki_data([request]))
    assert len(data.requests) + len(data.faults) == 1
    return data.requests[0] if data.requests else data.faults[0]


def test_it_goes_on_record_as_pkcs10_and_is_read_back() -> None:
    found = only(client.crmf(7, KEY, "pump-17", ["pump-17.example"]))
    assert isinstance(found, CertificationRequest)
    again = read_recorded_csr(found.csr.der)
    assert (again.subject, again.names, again.spki) == (found.csr.subject, found.csr.names, client.spki(KEY))


def test_its_controls_are_attributes_of_the_request() -> None:
    found = only(client.crmf(7, KEY, "x", controls=[(OTP_CHALLENGE, char.UTF8String("otp"))]))
    assert isinstance(found, CertificationRequest)
    assert [each.oid for each in found.csr.attributes] == [OTP_CHALLENGE]


def test_an_issuer_that_it_names_is_told() -> None:
    issuer = x509.Name.from_rfc4514_string("CN=Issuing CA")
    found = only(client.crmf(7, KEY, "x", issuer=issuer))
    assert isinstance(found, CertificationRequest)
    assert found.issuer == issuer.public_bytes()


@pytest.mark.parametrize(
    ("pop", "fail"),
    [
        ("none", FailInfo.POP_REQUIRED),
        ("raVerified", FailInfo.POP_FAILED),
        ("keyEncipherment", FailInfo.POP_FAILED),
    ],
)
def test_other_proofs_of_possession_than_a_signature_are_refused(pop: str, fail: FailInfo) -> None:
    found = only(client.crmf(7, KEY, "x", pop=pop))
    assert isinstance(found, CmcFault)
    assert (found.fail, found.parts) == (fail, (7,))


def test_the_signature_of_another_key_proves_nothing() -> None:
    found = only(client.crmf(7, KEY, "x", signer=OTHER))
    assert isinstance(found, CmcFault)
    assert (found.fail, found.parts) == (FailInfo.POP_FAILED, (7,))


def test_what_is_not_for_requesters_is_refused_by_name() -> None:
    found = only(client.crmf(7, KEY, "x", days=True))
    assert isinstance(found, CmcFault)
    assert "a validity" in str(found)


def tagged(request: bytes, *rest: bytes) -> bytes:
    crm = der.tlv(0xA1, request, *rest)
    return der.sequence(der.sequence(), der.sequence(crm), der.sequence(), der.sequence())


SIGNED = der.tlv(0xA1, der.sequence(der.oid("1.2.840.10045.4.3.2")), der.bit_string(b"x"))
WITH_INPUT = der.tlv(0xA1, der.tlv(0xA0, der.null()), der.sequence(), der.bit_string(b"x"))
SUBJECT = der.tlv(0xA5, x509.Name.from_rfc4514_string("CN=x").public_bytes())
PUBLIC_KEY = der.tlv(0xA6, der.read(client.spki(KEY)).content)


@pytest.mark.parametrize(
    ("octets", "fail"),
    [
        (tagged(der.sequence(der.integer(7), der.sequence()), SIGNED), FailInfo.BAD_REQUEST),
        (tagged(der.sequence(der.integer(7), der.sequence(SUBJECT)), SIGNED), FailInfo.BAD_REQUEST),
        (tagged(der.sequence(der.integer(7), der.sequence(SUBJECT, SUBJECT)), SIGNED), FailInfo.BAD_REQUEST),
        (
            tagged(der.sequence(der.integer(7), der.sequence(SUBJECT, PUBLIC_KEY)), der.tlv(0xA4, b"")),
            FailInfo.BAD_REQUEST,
        ),
        (tagged(der.sequence(der.integer(7), der.sequence(SUBJECT, PUBLIC_KEY)), WITH_INPUT), FailInfo.POP_FAILED),
        (
            tagged(
                der.sequence(der.integer(7), der.sequence(SUBJECT, PUBLIC_KEY), der.sequence(), der.sequence()), SIGNED
            ),
            FailInfo.BAD_REQUEST,
        ),
        (
            tagged(der.sequence(der.integer(7), der.sequence(SUBJECT, PUBLIC_KEY)), SIGNED),
            FailInfo.POP_FAILED,
        ),
    ],
    ids=["empty", "no key", "two subjects", "unknown proof", "POPOSigningKeyInput", "four fields", "no signature"],
)
def test_what_is_no_request_is_that_requests_fault(octets: bytes, fail: FailInfo) -> None:
    (found,) = codec.decode_pki_data(octets).faults
    assert (found.fail, found.parts) == (fail, (7,))
